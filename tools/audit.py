"""`make audit`: checks the locked dependencies for advisories and their licences, offline.

Advisories are read from a copy of https://github.com/pypa/advisory-database on this machine, in
the OSV format (https://ossf.github.io/osv-schema/). Without a copy only hashes and licences are
checked, and the output says so.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.licences import LICENCES, licences, unfit

ROOT = Path(__file__).parent.parent
LOCKS = ("runtime", "nats", "build", "dev")
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_BLOCK = re.compile(r"^[A-Za-z0-9._-]+==(?:[^\n]|\n[ \t])*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Advisory:
    """A security advisory that affects a locked version."""

    name: str
    version: str
    id: str
    summary: str


def locked(text: str) -> dict[str, str]:
    """Map the names that a lock file pins to their versions."""
    return {canonicalize_name(name): version for name, version in _LOCKED.findall(text)}


def unhashed(text: str) -> list[str]:
    """Names that a lock file pins without a hash."""
    return [block.split("==")[0] for block in _BLOCK.findall(text) if "--hash=sha256:" not in block]


def known(name: str, version: str, directory: Path) -> Iterator[Advisory]:
    """Advisories in a copy of the database that affect a version."""
    for path in sorted((directory / "vulns" / name).glob("*.yaml")):
        said: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not said.get("withdrawn") and any(
            _concerns(one, name, version) for one in said.get("affected", ())
        ):
            words = str(said.get("summary") or said.get("details", "")).splitlines()
            yield Advisory(name, version, str(said["id"]), words[0] if words else "")


def _concerns(affected: Mapping[str, Any], name: str, version: str) -> bool:
    if canonicalize_name(affected.get("package", {}).get("name", "")) != name:
        return False
    if version in affected.get("versions", ()):
        return True
    ecosystem = (one for one in affected.get("ranges", ()) if one.get("type") == "ECOSYSTEM")
    return any(_within(one["events"], Version(version)) for one in ecosystem)


def _within(events: list[Mapping[str, str]], version: Version) -> bool:
    """Whether a version is affected, by the last event at or before it."""
    inside = False
    for event in events:
        if "introduced" in event:
            inside = inside or version >= Version(event["introduced"])
        elif "fixed" in event:
            inside = inside and version < Version(event["fixed"])
        elif "last_affected" in event:
            inside = inside and version <= Version(event["last_affected"])
    return inside


def main() -> int:
    """Print the findings; return 1 if there are any, else 0."""
    parser = argparse.ArgumentParser(prog="audit")
    parser.add_argument("--advisories", default="", help="copy of pypa/advisory-database")
    options = parser.parse_args()
    wrong = []
    texts = {
        name: (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8") for name in LOCKS
    }
    for name, text in texts.items():
        wrong += [f"{name}.txt: {one} has no hash" for one in unhashed(text)]
    wrong += unfit()
    if LICENCES.read_text(encoding="utf-8") != licences():
        wrong.append("docs/licences.md is not current: run `python -m tools.licences`")
    pinned = {item for text in texts.values() for item in locked(text).items()}
    if options.advisories:
        directory = Path(options.advisories)
        if not (directory / "vulns").is_dir():
            parser.error(f"{directory} has no folder `vulns`: no copy of the advisory database")
        found = [one for name, version in sorted(pinned) for one in known(name, version, directory)]
        wrong += [f"{one.name} {one.version}: {one.id}: {one.summary}" for one in found]
        print(f"{len(pinned)} locked distributions, {len(found)} advisories hold for them")
    else:
        print(
            f"{len(pinned)} locked distributions; not compared with advisories:"
            " make audit ADVISORIES=… names a copy of https://github.com/pypa/advisory-database"
        )
    for one in wrong:
        print(one, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
