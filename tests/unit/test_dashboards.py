"""Every dashboard: made from its source, whole, and in the words of schema.py and metrics.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations

import pytest
from prometheus_client.metrics import MetricWrapperBase

from collector.metrics import Metrics
from collector.schema import MEASUREMENTS, NODE_DIMENSIONS
from tools.dashboards.__main__ import BOARDS, dashboards, files
from tools.dashboards.asked import COMMUNITY, OPS, ROOT, Json, boards, queries
from tools.dashboards.colours import GREY
from tools.dashboards.kinds import lines
from tools.dashboards.model import Dashboard

SOURCES = {"usage-daily": "influxdb", "usage-raw": "influxdb", "prometheus": "prometheus"}
MEANT_FOR_93 = {"text", "stat", "bargauge", "timeseries", "table", "barchart"}
ALL = [*boards(COMMUNITY), *boards(OPS)]


def panels(board: Json, *, asking: bool = True) -> Iterator[Json]:
    for panel in board["panels"]:
        if not asking or "targets" in panel:
            yield panel


def test_committed_files_equal_what_the_source_gives() -> None:
    for path, content in files().items():
        assert (ROOT / path).read_text(encoding="utf-8") == content, "run `make dashboards`"
    committed = {path.relative_to(ROOT) for path in (ROOT / BOARDS).rglob("*.json")}
    assert committed == {path for path in files() if BOARDS in path.parents}


def test_uids_and_titles_are_unique_and_short_enough_for_grafana() -> None:
    for key in ("uid", "title"):
        names = [board[key] for board in ALL]
        assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z-]{1,40}", board["uid"]) for board in ALL)
    for board in ALL:
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)


def test_every_panel_has_a_title_a_description_a_unit_and_its_own_colours() -> None:
    for board in ALL:
        for panel in panels(board):
            told = f"{board['uid']} / {panel['title']}"
            assert panel["title"], told
            assert len(panel["description"]) > 20, told
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["unit"], told
            assert defaults["color"], told
            colours = [step["color"] for step in defaults["thresholds"]["steps"]]
            # Grafana's own are green, and red from 80 on.
            assert colours, told
            assert defaults["thresholds"]["steps"][0]["value"] is None, told
            if defaults["color"]["mode"] == "thresholds":
                assert len(colours) > 1, told


def test_every_query_names_its_datasource_by_uid() -> None:
    for board in ALL:
        for panel in panels(board):
            for target in panel["targets"]:
                source = target["datasource"]
                assert SOURCES[source["uid"]] == source["type"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                assert variable["datasource"]["uid"] == "usage-daily"


def test_the_community_asks_the_public_database_alone() -> None:
    for board in boards(COMMUNITY):
        assert set(re.findall(r'"uid": "([a-z-]+)"', json.dumps(board["panels"]))) == {
            "usage-daily"
        }


def test_panels_do_not_overlap_and_fill_the_page() -> None:
    for board in ALL:
        places = [panel["gridPos"] for panel in board["panels"]]
        for a, b in combinations(places, 2):
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
            assert beside or above
        for y in {place["y"] for place in places}:
            assert sum(place["w"] for place in places if place["y"] == y) == 24
        # At 1280 px a 24th is some 52 px: nothing is narrower than a number needs.
        assert all(place["w"] >= 3 for place in places)


def test_a_row_that_does_not_fill_the_page_is_refused() -> None:
    panel = lines("A line", "What it shows.", (), width=12)
    board = Dashboard(
        uid="x",
        title="X",
        description="X.",
        file="x.json",
        tag="x",
        rows=((panel,),),
        range=("", ""),
    )
    with pytest.raises(ValueError, match="12 wide"):
        board.json()


def test_only_panels_are_used_that_grafana_9_3_has() -> None:
    for board in ALL:
        assert {panel["type"] for panel in board["panels"]} <= MEANT_FOR_93
        # Schema 37 is that of 9.3: later ones migrate what is older, not what is newer.
        assert board["schemaVersion"] == 37


def test_every_name_in_influxql_is_in_the_schema() -> None:
    fields = {m.name: {f.name for f in m.fields} | {t.name for t in m.tags} for m in MEASUREMENTS}
    for board in ALL:
        for query in queries(board):
            if query.source == "prometheus":
                continue
            measurements = set(re.findall(r'FROM "(\w+)"', query.text))
            assert measurements
            assert measurements <= fields.keys(), f"{query}: {measurements}"
            aliases = set(re.findall(r'AS "([\w ]+)"', query.text))
            known = set.union(*(fields[name] for name in measurements)) | measurements | aliases
            assert set(re.findall(r'"([^"]+)"', query.text)) <= known, str(query)


def metric_names() -> set[str]:
    declared = [each for each in vars(Metrics()).values() if isinstance(each, MetricWrapperBase)]
    names = set()
    for metric in (next(iter(each.describe())) for each in declared):
        names |= {
            "counter": {f"{metric.name}_total"},
            "histogram": {f"{metric.name}_{end}" for end in ("bucket", "sum", "count")},
        }.get(metric.type, {metric.name})
    return names


def test_every_metric_that_is_asked_for_is_declared() -> None:
    known = metric_names()
    asked = set()
    for board in boards(OPS):
        for query in queries(board):
            if query.source == "prometheus":
                asked |= set(re.findall(r"collector_\w+", query.text))
    assert asked <= known


def test_other_is_grey_and_drawn_last_wherever_values_are_drawn() -> None:
    drawn = 0
    for board in boards(COMMUNITY):
        for panel in panels(board):
            aliases = [target.get("alias") for target in panel["targets"]]
            if "$tag_value" not in aliases and "$tag_version" not in aliases:
                continue
            drawn += 1
            assert aliases[-1] == "other", panel["title"]
            assert "!= 'other'" in panel["targets"][0]["query"]
            last = panel["fieldConfig"]["overrides"][-1]
            assert last["matcher"] == {"id": "byName", "options": "other"}
            assert last["properties"][0]["value"]["fixedColor"] == GREY
            if panel["type"] == "bargauge":
                order = panel["transformations"][-1]
                assert order["id"] == "organize"
                assert order["options"]["indexByName"]["other"] > 2**53
    assert drawn >= 15


def test_a_value_has_one_colour_on_every_dashboard() -> None:
    colour: dict[str, set[str]] = {}
    for board in boards(COMMUNITY):
        for panel in panels(board):
            for override in panel["fieldConfig"]["overrides"]:
                if override["matcher"]["id"] == "byName":
                    for each in override["properties"]:
                        if each["id"] == "color":
                            shades = colour.setdefault(override["matcher"]["options"], set())
                            shades.add(each["value"]["fixedColor"])
    assert all(len(shades) == 1 for shades in colour.values())
    assert len(colour) > 25


def test_every_community_dashboard_has_the_filter_a_sentence_and_the_way_to_the_method() -> None:
    for board in boards(COMMUNITY):
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names[:2] == ["within", "within_value"]
        options = {option["value"] for option in board["templating"]["list"][0]["options"]}
        assert options == {"all", *NODE_DIMENSIONS}
        says = board["panels"][0]
        assert says["type"] == "text"
        assert "counted" in says["options"]["content"]
        assert 'href="/method"' in says["options"]["content"]
        for panel in panels(board):
            for target in panel["targets"]:
                narrowed = (
                    "$within_value" in target["query"] or "'$within' = 'all'" in target["query"]
                )
                assert narrowed or panel["title"] == "Complete up to"
            if all("'$within' = 'all'" in target["query"] for target in panel["targets"]):
                assert panel["fieldConfig"]["defaults"]["noValue"]


def test_a_range_ends_with_the_last_complete_day_in_utc() -> None:
    for board in boards(COMMUNITY):
        assert board["time"] == {"from": "now-1y/d", "to": "now-1d/d"}
        assert board["timezone"] == "utc"


def test_links_between_dashboards_keep_time_and_variables() -> None:
    for board in ALL:
        (link,) = board["links"]
        assert link["type"] == "dashboards"
        assert link["keepTime"]
        assert link["includeVars"]
        assert link["tags"] == board["tags"]
        assert not board["editable"]


def test_the_address_of_the_pages_can_be_another() -> None:
    made = files("https://usage.example")
    overview = json.loads(made[BOARDS / "community/overview.json"])
    assert 'href="https://usage.example/method"' in overview["panels"][0]["options"]["content"]


def test_there_are_the_dashboards_that_were_promised() -> None:
    assert [board.uid for board in dashboards()] == [
        "usage-overview",
        "usage-versions",
        "usage-platforms",
        "usage-channels",
        "usage-packages",
        "collector-intake",
        "collector-health",
        "collector-storage",
        "collector-runbook",
    ]
