"""How every dashboard looks: rules that hold on a desk and on a phone, in both themes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tools.dashboards.asked import COMMUNITY, LIBRENMS, OPS, Json, boards

PUBLIC = [*boards(COMMUNITY), *boards(LIBRENMS)]
ALL = [*PUBLIC, *boards(OPS)]
ROW, FRAME = 38, 58
"""Height in px of a row of the grid, and of a panel's title, border and padding."""
PHONE = 390 - 2 * 16
"""Width in px of a panel on a phone, where Grafana puts each in a row of its own."""
DESK = 1280
LETTER = 7.1
"""Width in px of a letter of a title (14 px) on average."""


def panels(folder: list[Json]) -> Iterator[tuple[str, Json]]:
    for board in folder:
        for panel in board["panels"]:
            if "targets" in panel:
                yield f"{board['uid']} / {panel['title']}", panel


def width(panel: Json) -> float:
    """A panel's width in px on a small desk, without its padding."""
    columns: int = panel["gridPos"]["w"]
    return (DESK - 32) / 24 * columns - 8 - 16


def shown(title: str) -> str:
    """A title with examples in the place of its variables."""
    return re.sub(r"\$\w+", "example", title.replace("$package", "asl3-menu"))


def test_a_title_fits_its_panel_on_a_desk_and_on_a_phone() -> None:
    for told, panel in panels(ALL):
        letters = len(shown(panel["title"]))
        assert letters * LETTER <= width(panel), told
        # In a long title the letters are nearer to their average width.
        assert letters * 6.8 <= PHONE - 16, told


def test_a_title_of_the_community_says_what_is_counted() -> None:
    units = r"Nodes|Servers|Reports|New|Lapsed|New and lapsed nodes"
    for told, panel in panels(boards(COMMUNITY)):
        if panel["title"] == "Last full day":
            continue
        assert re.match(rf"({units})\b", panel["title"]), told
        assert panel["title"][-1] != ".", told


def test_a_number_of_the_community_says_its_day_and_stands_on_no_line() -> None:
    seen = 0
    for told, panel in panels(boards(COMMUNITY)):
        if panel["type"] in ("stat", "bargauge"):
            seen += 1
            assert re.search(r"\bday\b|\bd\b|today", panel["title"]), told
        if panel["type"] == "stat":
            assert panel["options"]["graphMode"] == "none", told
            # By itself a number fills its panel, whatever it says; a text in its place must fit.
            size = panel["options"].get("text", {}).get("valueSize", 0)
            assert panel["gridPos"]["h"] <= 3 or size, told
            assert size <= 22, told
    assert seen > 10


def test_a_date_is_not_broken_into_lines() -> None:
    for told, panel in panels(ALL):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "stat" and unit.startswith("time:"):
            size = panel["options"].get("text", {}).get("valueSize", 0)
            if size:
                # Its letters are 0.6 as wide as they are high.
                assert not re.search(r"[- ]", unit), told
                assert len(unit[5:]) * 0.6 * size < width(panel), told


def test_a_panel_without_data_says_why() -> None:
    for told, panel in panels(ALL):
        said = panel["fieldConfig"]["defaults"].get("noValue", "")
        assert said, told
        # A stat shows it in its panel's width.
        assert len(said) <= 50, told


def test_bars_have_room_for_their_names_and_numbers() -> None:
    seen = 0
    for told, panel in panels(boards(COMMUNITY)):
        if panel["type"] != "bargauge":
            continue
        found = re.search(r"top\(\"\w+\", \"\w+\", (\d+)\)", panel["targets"][0]["query"])
        # The rest and `other` come after the greatest; packages are some fifteen.
        bars = int(found[1]) + 2 if found else 15
        assert (ROW * panel["gridPos"]["h"] - FRAME) / bars >= 24, told
        assert panel["options"]["text"]["valueSize"] <= 16, told
        seen += 1
    assert seen >= 10


def test_a_legend_has_a_dozen_entries_at_most_and_takes_no_width() -> None:
    for told, panel in panels(boards(COMMUNITY)):
        if panel["type"] != "timeseries":
            continue
        assert panel["options"]["legend"]["placement"] == "bottom", told
        split = [target for target in panel["targets"] if "GROUP BY" in target["query"]]
        for target in split:
            if "!= 'other'" in target["query"]:
                assert re.search(r"[=!]~ /\^\$\{\w+:regex\}\$/", target["query"]), told
    for board in boards(COMMUNITY):
        for variable in board["templating"]["list"]:
            if variable["hide"] == 2 and (
                most := re.search(r"top\(.*?, (\d+)\)", variable["query"])
            ):
                assert int(most[1]) + 2 <= 14


def test_a_stack_is_in_the_order_of_size() -> None:
    seen = 0
    for told, panel in panels(boards(COMMUNITY)):
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        if custom.get("stacking", {}).get("mode", "none") == "none":
            continue
        seen += 1
        steps = [(step["id"], step["options"]) for step in panel["transformations"]]
        names = [name for name, _ in steps]
        merged = names.index("merge")
        # Each answer by size, then by day, so that the last day's greatest comes first.
        sorts = [options["sort"][0] for name, options in steps[:merged] if name == "sortBy"]
        assert [each["field"] for each in sorts] in (["nodes", "Time"], ["servers", "Time"]), told
        assert all(each["desc"] for each in sorts), told
        assert names[merged + 1] == "groupingToMatrix", told
        assert custom["fillOpacity"] == 100, told
    assert seen >= 9


def test_every_variable_of_a_query_is_on_its_dashboard() -> None:
    for board in ALL:
        known = {each["name"] for each in board["templating"]["list"]}
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                text = target.get("query") or target.get("rawSql") or target["expr"]
                used = set(re.findall(r"\$\{?(\w+)", text)) - {"timeFilter"}
                assert {name for name in used if not name.startswith("__")} <= known, text


@pytest.mark.parametrize("board", boards(COMMUNITY), ids=lambda board: board["uid"])
def test_the_first_sentence_fits_its_panel(board: Json) -> None:
    says = board["panels"][0]
    text = re.sub(r"<[^>]*>", "", says["options"]["content"])
    lines = -(-len(text) * 6 // (PHONE - 16))
    # Letters of 12 px, 6 px wide, in lines of 15.6 px.
    assert lines * 15.6 <= ROW * says["gridPos"]["h"] - 24
    assert says["gridPos"]["h"] <= 2
