"""The command `kmem`, also as `python -m kmem`; nothing heavy is imported before Ctrl-C can be answered."""

import os
import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        from kmem.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("kmem: stopped.\n")
        _leave(130)
    except SystemExit as done:
        if done.code:
            _leave(int(done.code))
        raise


def _leave(code: int) -> None:
    """Exit at once: a native library whose threads are still starting can abort in its destructors and change the exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
