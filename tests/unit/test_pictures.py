"""The demo's table and charts, as text of 80 columns."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from rich.console import Console, RenderableType

from collector.public.series import UsageDay
from tools.demo.pictures import bars, beside, day_table, live_table, node_chart

START = date(2026, 3, 1)


def days(count: int, *, windows: bool = True) -> list[UsageDay]:
    fields = [
        {"nodes": 1400 + n, "servers": 900, "reports": 950, "final": int(n < count - 1)}
        for n in range(count)
    ]
    for n, day in enumerate(fields if windows else []):
        day["nodes_7d"] = 1450 + n
    return [UsageDay(START + timedelta(days=n), day) for n, day in enumerate(fields)]


def drawn(picture: RenderableType) -> list[str]:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(picture)
    return [row.rstrip() for row in capture.get().splitlines()]


def test_table_has_a_row_a_day_and_marks_the_open_one() -> None:
    rows = drawn(day_table(days(7)))
    assert rows[0].split() == ["day", "(UTC)", "nodes", "in", "7", "days", "servers", "reports"]
    assert rows[2].split() == ["2026-03-01", "1,400", "1,450", "900", "950"]
    assert "2026-03-07 so far" in rows[-1]
    assert len(rows) == 2 + 7


def test_table_marks_what_a_day_does_not_have() -> None:
    week = days(2)
    del week[0].fields["servers"]
    assert drawn(day_table(week))[2].split()[-2:] == ["-", "950"]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("count", [1, 3, 8, 89])
def test_chart_fits_and_says_what_its_lines_are(count: int, *, ascii_only: bool) -> None:
    rows = drawn(node_chart(days(count), ascii_only=ascii_only))
    assert max(map(len, rows)) < 80
    assert "lower line: in the day" in rows[0]
    assert "not from 0" in rows[0]
    assert ("upper line" in rows[0]) == (count > 7)
    assert "01 Mar" in rows[-1]
    assert "".join(rows).isascii() == ascii_only
    assert ("*" in "".join(rows)) == ascii_only
    assert ("x" in "".join(rows)) == (ascii_only and count > 7)


def test_chart_of_a_series_without_windows_has_one_line() -> None:
    assert "upper" not in "".join(drawn(node_chart(days(20, windows=False), ascii_only=False)))


def test_chart_of_small_counts_begins_at_0() -> None:
    few = [UsageDay(START + timedelta(days=n), {"nodes": n % 2}) for n in range(5)]
    rows = drawn(node_chart(few, ascii_only=True))
    assert "not from 0" not in rows[0]
    assert any(row.startswith("0|") for row in rows)


def test_bars_go_from_great_to_small_with_other_at_the_end() -> None:
    rows = drawn(bars({"a": 10, "other": 60, "b": 30}, ascii_only=True))
    assert [row.split()[0] for row in rows] == ["b", "a", "other"]
    assert [row.count("#") for row in rows] == [5, 2, 10]
    assert [row.split()[-1] for row in rows] == ["30%", "10%", "60%"]


def test_bars_stand_beside_each_other_under_their_titles() -> None:
    counts = {"asl3-3.6.1": 1994, "Git master of somebody": 7}
    rows = drawn(
        beside({"left": bars(counts, ascii_only=False), "right": bars({}, ascii_only=False)})
    )
    assert rows[0].split() == ["left", "right"]
    assert "█" in rows[1]
    assert max(map(len, rows)) < 80


def test_table_of_asterisks_says_what_is_known_of_each() -> None:
    rows = drawn(live_table({"office": {"channels": 1200.0, "calls": 0.0}, "edge": {}}))
    assert rows[0].split()[:3] == ["Asterisk", "channels", "calls"]
    assert rows[2].split()[:3] == ["office", "1,200", "0"]
    assert set(rows[3].split()[1:]) == {"-"}
    assert max(map(len, rows)) <= 78
