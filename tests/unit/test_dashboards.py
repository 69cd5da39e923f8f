"""Every dashboard: made from its source, whole, and in the words of schema.py and metrics.py."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from itertools import combinations

import pytest
from prometheus_client.metrics import MetricWrapperBase

from collector.metrics import Metrics
from collector.schema import LIVE, MEASUREMENTS, NODE_DIMENSIONS
from tools.dashboards import live_host
from tools.dashboards.__main__ import BOARDS, dashboards, files
from tools.dashboards.asked import COMMUNITY, LIBRENMS, OPS, ROOT, Json, boards, queries
from tools.dashboards.kinds import lines
from tools.dashboards.model import Dashboard
from tools.dashboards.palette import GREY

SOURCES = {
    "usage-daily": "influxdb",
    "usage-raw": "influxdb",
    "asterisk-live": "influxdb",
    "telemetrics": "influxdb",
    "records": "postgres",
    "prometheus": "prometheus",
}
MEANT_FOR_93 = {"text", "stat", "bargauge", "timeseries", "table", "barchart"}
PUBLIC = [*boards(COMMUNITY), *boards(LIBRENMS)]
ALL = [*PUBLIC, *boards(OPS)]


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
                assert variable["datasource"]["uid"] == (
                    "asterisk-live" if board["tags"] == ["asterisk"] else "usage-daily"
                )


def test_the_community_asks_the_public_database_alone() -> None:
    for board in PUBLIC:
        assert set(re.findall(r'"uid": "([a-z-]+)"', json.dumps(board["panels"]))) == {
            "usage-daily"
        }
    sources = (ROOT / "provisioning/community/datasources/usage.yaml").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^    uid: (.*)$", sources) == ["usage-daily"]


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


def unknown_names(influxql: str) -> set[str]:
    """The names in a query that neither its measurements nor itself declare."""
    fields = {m.name: {f.name for f in m.fields} | {t.name for t in m.tags} for m in MEASUREMENTS}
    fields |= telegraf()
    lists = re.findall(r'FROM ("\w+"(?:, "\w+")*)', influxql)
    measurements = {name for each in lists for name in re.findall(r"\w+", each)}
    assert measurements, influxql
    assert measurements <= fields.keys(), influxql
    aliases = set(re.findall(r'AS "([\w ]+)"', influxql))
    known = set.union(*(fields[name] for name in measurements)) | measurements | aliases
    return set(re.findall(r'"([^"]+)"', influxql)) - known


def test_every_name_in_influxql_is_in_the_schema() -> None:
    for board in ALL:
        for query in queries(board):
            if SOURCES[query.source] == "influxdb":
                assert not unknown_names(query.text), str(query)


def telegraf() -> dict[str, set[str]]:
    """Fields and tags that deploy/telegraf/telegraf.conf lets through, by measurement."""
    inputs = tomllib.loads((ROOT / "deploy/telegraf/telegraf.conf").read_text(encoding="utf-8"))
    return {
        name: {word for each in plugins for word in (*each["fieldinclude"], *each["taginclude"])}
        for name, plugins in inputs["inputs"].items()
    }


def test_telegraf_sends_what_the_panels_draw_and_nothing_else() -> None:
    drawn: dict[str, set[str]] = {}
    for board in boards(OPS):
        for query in queries(board):
            for name in set(re.findall(r'FROM "(\w+)"', query.text)) & set(live_host.MEASUREMENTS):
                drawn.setdefault(name, set()).update(re.findall(r'"([^"]+)"', query.text))
    sent = telegraf()
    assert drawn.keys() == sent.keys() == set(live_host.MEASUREMENTS)
    for name, words in sent.items():
        assert words == drawn[name] - {name}, name
        assert "asterisk" in words
    assert not sent.keys() & {measurement.name for measurement in MEASUREMENTS}


def test_telegraf_writes_the_live_database_under_the_asterisks_name_alone() -> None:
    conf = tomllib.loads((ROOT / "deploy/telegraf/telegraf.conf").read_text(encoding="utf-8"))
    assert conf["global_tags"].keys() == {"asterisk"}
    assert conf["agent"]["omit_hostname"] is True
    (output,) = conf["outputs"]["influxdb_v2"]
    assert output["bucket"] == LIVE
    text = (ROOT / "deploy/telegraf/telegraf.conf").read_text(encoding="utf-8")
    commented = "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if re.match(r"# ( |\[\[)", line)
    )
    (older,) = tomllib.loads(commented[commented.index("[[") :])["outputs"]["influxdb"]
    assert older["database"] == LIVE
    assert older["skip_database_creation"] is True
    page = (ROOT / "docs/senders/asterisk-statsd.md").read_text(encoding="utf-8")
    for variable in re.findall(r"\$\{([A-Z_]+)", json.dumps(conf)):
        assert variable in page


MANY_VALUED = {tag.name for each in MEASUREMENTS for tag in each.tags} - {"asterisk", "state"}


def test_every_query_of_the_live_database_is_bounded() -> None:
    asked = 0
    for board in boards(OPS):
        for query in queries(board):
            if query.source != "asterisk-live":
                continue
            asked += 1
            assert "=~ /^${asterisk:regex}$/" in query.text, str(query)
            for part in re.split(r" FROM (?=\")", query.text)[1:]:
                assert re.search(r"WHERE (\$timeFilter|time > \$\{__to\}ms)", part), str(query)
            # A tag may have hundreds of values: a panel asks for the first or the greatest.
            outer = re.sub(r"\(SELECT [^()]*(\([^()]*\)[^()]*)*\)", "", query.text)
            grouped = set(re.findall(r'"(\w+)"', outer.partition("GROUP BY")[2]))
            if grouped & MANY_VALUED:
                assert re.search(r"SLIMIT \d+$", query.text), str(query)
            assert "SELECT *" not in query.text
    assert asked > 30


def test_every_live_dashboard_offers_one_asterisk_or_all_and_marks_what_may_be_wrong() -> None:
    for board in boards(OPS):
        if board["tags"] != ["asterisk"]:
            continue
        first = board["templating"]["list"][0]
        assert (first["name"], first["includeAll"], first["allValue"]) == ("asterisk", True, ".*")
        assert board["refresh"] in board["timepicker"]["refresh_intervals"]
        for panel in panels(board):
            unsure = [t for t in panel["targets"] if '"uncertain" >= 0' in t["query"]]
            for target in unsure:
                assert target["alias"].endswith(", may be wrong")
                last = panel["fieldConfig"]["overrides"][-1]
                assert last["matcher"] == {"id": "byRegexp", "options": "/, may be wrong$/"}


def test_every_gauge_that_may_be_wrong_is_drawn_with_its_mark() -> None:
    gauges = {m.name for m in MEASUREMENTS if "uncertain" in {f.name for f in m.fields}}
    drawn: set[str] = set()
    for board in boards(OPS):
        for panel in panels(board):
            for target in panel["targets"]:
                if panel["type"] == "timeseries" and '"uncertain" >= 0' in target.get("query", ""):
                    drawn |= set(re.findall(r'FROM "(\w+)"', target["query"]))
    # Of endpoints a table shows the busiest now; the bars of what may be wrong name them.
    assert gauges - drawn == {"endpoint_channels", "statsd_traffic"}


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
            queries = [target["query"] for target in panel["targets"]]
            if not any("= 'other'" in query and "!= 'other'" not in query for query in queries):
                continue
            drawn += 1
            asked = [query for query in queries if "!= 'other'" in query]
            # Named values, the rest of them, and last of all `other`.
            assert queries[: len(asked)] == asked, panel["title"]
            named = {o["matcher"]["options"]: o for o in panel["fieldConfig"]["overrides"]}
            assert named["other"]["properties"][0]["value"]["fixedColor"] == GREY
            if panel["targets"][0]["resultFormat"] == "table":
                assert "merge" in [each["id"] for each in panel["transformations"]]
    assert drawn >= 15


def test_a_value_has_one_colour_on_every_dashboard() -> None:
    colour: dict[str, set[str]] = {}
    for board in PUBLIC:
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
                    "${within_value:raw}" in target["query"]
                    or "'$within' = 'all'" in target["query"]
                )
                assert narrowed or panel["title"] == "Last full day"
            if all("'$within' = 'all'" in target["query"] for target in panel["targets"]):
                assert panel["fieldConfig"]["defaults"]["noValue"]


def test_the_dashboard_of_librenms_has_a_sentence_the_way_to_the_method_and_complete_days() -> None:
    (board,) = boards(LIBRENMS)
    says = board["panels"][0]["options"]["content"]
    assert "counted" in says
    assert 'href="/method"' in says
    assert board["templating"]["list"][0]["name"] == "group"
    for query in queries(board):
        assert '"final" = 1' in query.text, query


def test_a_range_ends_with_the_last_complete_day_in_utc() -> None:
    for board in PUBLIC:
        assert board["time"] == {"from": "now-1y/d", "to": "now-1d/d"}
        assert board["timezone"] == "utc"


def test_every_panel_that_the_runbook_names_is_there() -> None:
    titles = {panel["title"] for board in ALL for panel in board["panels"]}
    named = re.findall(r'"([A-Z][^"]+)"', (ROOT / "docs/runbook.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    assert not [name for name in named if not any(each.startswith(name) for each in titles)]


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
        "librenms",
        "collector-intake",
        "collector-health",
        "collector-storage",
        "asterisk-live",
        "asterisk-calls",
        "asterisk-queues",
        "asterisk-quality",
        "asterisk-attacks",
        "telemetrics-records",
        "telemetrics-builds",
        "telemetrics-stats",
        "telemetrics-crashes",
        "telemetrics-mce",
        "telemetrics-updates",
        "telemetrics-population",
        "collector-runbook",
    ]
