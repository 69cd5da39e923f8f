"""The table of docs/reliability.md: what the suites recorded, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import PAGE, Row, Suite, record, recorded, table, with_table

ROW = Row(
    fault="kill -9 of the collector",
    rounds=100,
    sent=12_345,
    acknowledged=12_000,
    in_influxdb=12_004,
    lost=0,
    doubled=0,
    refused=0,
    unanswered=345,
    recovery_s=1.26,
)


def test_what_was_recorded_is_found_again_the_newest_of_each_fault(tmp_path: Path) -> None:
    record(Suite.CHAOS, Row(**{**vars(ROW), "rounds": 1}), place=tmp_path)
    record(Suite.CHAOS, ROW, place=tmp_path)
    assert recorded(Suite.CHAOS, place=tmp_path) == [ROW]
    assert recorded(Suite.HOSTILE, place=tmp_path) == []


def test_table_has_a_line_a_fault() -> None:
    written = table([ROW], ran="Today.")
    assert written.splitlines()[0] == "Today."
    assert (
        "| kill -9 of the collector | 100 | 12 345 | 12 000 | 12 004 | 0 | 0 | 0 | 345 | 1.3 |"
        in written
    )


def test_table_goes_between_the_marks_of_its_suite_and_changes_nothing_else() -> None:
    page = "a\n<!-- chaos -->\nold\n<!-- end of chaos -->\nb\n"
    written = with_table(page, Suite.CHAOS, "new")
    assert written == "a\n<!-- chaos -->\n\nnew\n\n<!-- end of chaos -->\nb\n"
    with pytest.raises(ValueError, match="marks of hostile"):
        with_table(page, Suite.HOSTILE, "new")


@pytest.mark.parametrize("suite", list(Suite))
def test_page_has_a_place_for_each_suite(suite: Suite) -> None:
    assert "new" in with_table(PAGE.read_text(encoding="utf-8"), suite, "new")
