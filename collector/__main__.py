"""`python -m collector` is the `collector` command."""

from collector.cli import main

if __name__ == "__main__":
    main()
