"""`python -m kmem` is the same as `kmem`."""

from kmem.cli.main import main

if __name__ == "__main__":
    main()
