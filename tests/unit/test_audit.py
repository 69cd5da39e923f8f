"""The audit finds what is known against a version, and the licences' page is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.audit import known, locked, unhashed
from tools.licences import LICENCES, licences, rows, unfit

ADVISORY = """
id: PYSEC-2026-1
details: |-
  It falls over.
  At length.
affected:
- package: {ecosystem: PyPI, name: A_Thing}
  ranges:
  - type: GIT
    events: [{introduced: "0"}]
  - type: ECOSYSTEM
    events: [{introduced: "0"}, {fixed: "1.2"}, {introduced: "2.0"}, {fixed: "2.0.3"}]
  versions: ["0.9", "3.0rc1"]
"""


@pytest.fixture
def advisories(tmp_path: Path) -> Path:
    place = tmp_path / "vulns" / "a-thing"
    place.mkdir(parents=True)
    (place / "PYSEC-2026-1.yaml").write_text(ADVISORY)
    (place / "PYSEC-2026-2.yaml").write_text(
        ADVISORY.replace("2026-1", "2026-2") + "withdrawn: 2026-01-01T00:00:00Z\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("1.1.9", True),
        ("1.2", False),
        ("1.10", False),
        ("2.0", True),
        ("2.0.3", False),
        ("3.0rc1", True),
        ("3.0", False),
    ],
)
def test_advisory_holds_for_the_versions_it_names(
    advisories: Path, version: str, found: bool
) -> None:
    assert [one.id for one in known("a-thing", version, advisories)] == ["PYSEC-2026-1"] * found
    assert not list(known("another", version, advisories))


def test_lock_files_are_read_whole_and_a_missing_hash_is_found() -> None:
    text = 'a.thing==1.2 ; sys_platform == "win32" \\\n    --hash=sha256:ab\nOther==2.0\n'
    assert locked(text) == {"a-thing": "1.2", "other": "2.0"}
    assert unhashed(text) == ["Other"]


def test_licences_page_is_current_and_every_licence_fits() -> None:
    assert LICENCES.read_text(encoding="utf-8") == licences(), "run `python -m tools.licences`"
    assert unfit() == []
    assert len(rows()) > 30
