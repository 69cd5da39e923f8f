"""The `collector` command of the Debian package, with the settings of the service.

A setting in the environment stays as it is; the others come from the file that the unit reads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

SETTINGS = Path("/etc/collector/collector.env")


def settings(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and values of a file in the form of systemd's EnvironmentFile=."""
    for line in text.replace("\\\n", "").splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith(("#", ";")):
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            yield name.strip(), value


def main() -> None:
    """Take the settings of the service where it may be, then run the command."""
    try:
        found = dict(settings(SETTINGS.read_text(encoding="utf-8")))
    except FileNotFoundError:
        found = {}
    except PermissionError:
        found = {}
        # systemd has read it for the service itself, and Tab, help and version need none.
        if not {"INVOCATION_ID", "_COLLECTOR_COMPLETE"} & os.environ.keys() and not (
            {"--help", "--version"} & set(sys.argv) or len(sys.argv) == 1
        ):
            print(
                f"collector: only root may read the service's settings, {SETTINGS}: try it with"
                " sudo. Without them, the defaults and those of your environment are used.",
                file=sys.stderr,
            )
    for name, value in found.items():
        os.environ.setdefault(name, value)

    # The settings come first: modules may read the environment when they are imported.
    from collector.cli import main as command  # noqa: PLC0415

    command()


if __name__ == "__main__":
    main()
