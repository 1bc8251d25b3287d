"""The command `kmem`, also as `python -m kmem`; nothing heavy is imported before Ctrl-C can be answered."""

import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        from kmem.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("kmem: stopped.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
