"""Generator of docs/licences.md from the installed packages: `python -m tools.licences`."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
LICENCES = ROOT / "docs" / "licences.md"
_LOCKS = tuple(ROOT / "requirements" / f"{name}.txt" for name in ("runtime", "nats"))
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:[ ]*;[ ]*([^\\\n]*))?", re.MULTILINE)
_CLASSIFIER = "License :: OSI Approved :: "
_FIT = re.compile(
    r"Apache|BSD|MIT|ISC|PSF|Python Software Foundation|MPL-2\.0|Mozilla Public License 2\.0",
    re.IGNORECASE,
)
"""Licences that are compatible with Apache-2.0, the licence of the collector."""


def rows() -> list[tuple[str, str, str]]:
    """Name, version and licence of each locked dependency; empty if not installed."""
    pinned = _PINNED.findall("\n".join(lock.read_text(encoding="utf-8") for lock in _LOCKS))
    return [(name, version, _licence(name)) for name, version, _ in pinned]


def _licence(name: str) -> str:
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return ""
    if "License-Expression" in said:
        return str(said["License-Expression"])
    classified = [
        text.removeprefix(_CLASSIFIER)
        for text in said.get_all("Classifier") or ()
        if text.startswith(_CLASSIFIER)
    ]
    # Some packages put the whole text of the licence there.
    stated = "".join(said.get_all("License") or ()).strip().splitlines()[:1]
    return ", ".join(classified or stated)


def unfit() -> list[str]:
    """The dependencies whose licence is unknown or not compatible."""
    return [
        f"{name} {version}: its licence ({licence}) is none of those that fit Apache-2.0"
        for name, version, licence in rows()
        if licence and not _FIT.search(licence)
    ] + [
        f"{name} {version}: installed, and names no licence"
        for name, version, licence in rows()
        if not licence and _is_installed(name)
    ]


def _is_installed(name: str) -> bool:
    try:
        metadata(name)
    except PackageNotFoundError:
        return False
    return True


def licences() -> str:
    """The whole text of docs/licences.md."""
    table = ["| part | version | licence |", "| --- | --- | --- |"]
    table += [
        f"| {name} | {version} | {licence or 'not on this platform'} |"
        for name, version, licence in rows()
    ]
    return "\n".join(
        [
            "# Licences",
            "",
            "The collector is under Apache-2.0. What it runs on, as locked in"
            " `requirements/runtime.txt` and, for NATS, `requirements/nats.txt`, and what each"
            " part's own metadata says of its licence.",
            "Made by `python -m tools.licences`; a test compares the two. None of it is in this"
            " repository.",
            "",
            *table,
            "",
        ]
    )


def main() -> None:
    """Write the page."""
    LICENCES.write_text(licences(), encoding="utf-8")


if __name__ == "__main__":
    main()
