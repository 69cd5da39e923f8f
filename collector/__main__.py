"""The `collector` command; also `python -m collector`."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command of the command line."""
    # Imports make many objects and hardly any garbage: looking for it after every 700 objects
    # takes an eighth of a short command's time.
    gc.set_threshold(20_000, 20, 50)
    from collector.cli import main as run  # noqa: PLC0415 - after the line above

    run()


if __name__ == "__main__":
    main()
