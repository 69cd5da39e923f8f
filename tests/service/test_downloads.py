"""The downloads as a reader gets them, with real numbers of a fleet that was counted."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.public.datasets import DATASETS, Dataset
from collector.public.models import MODELS
from collector.schema import NODE_DIMENSIONS, SERVER_DIMENSIONS, WHOLE_DIMENSIONS
from tests.conftest import Databases
from tests.dates import open_day, start_ns, today
from tests.length import repeat
from tests.public_site import problem_of, run_collector, served
from tests.sender import Reply, get, request

K = 5
OLD = date(2020, 2, 29)
"""A final day whose raw reports have long expired."""

Row = dict[str, str]


@dataclass(frozen=True)
class Published:
    """The public side, and every row that it gives, by series."""

    url: str
    rows: dict[str, list[Row]]
    open_day: date

    @property
    def last_day(self) -> date:
        """The last final day."""
        return self.open_day - timedelta(days=1)


def csv_rows(reply: Reply) -> list[Row]:
    assert reply.status == 200, reply.body
    return list(csv.DictReader(io.StringIO(reply.body.decode())))


@pytest.fixture(scope="module")
def site(
    module_databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    """Small fleets, where much must be hidden, and a larger one; and an old day and an open one."""
    opens = open_day()
    state = tmp_path_factory.mktemp("laid") / "state"
    environment = module_databases.environment
    for servers, days, last, seed in ((6, 6, 45, 1), (40, 8, 35, 2), (250, 16, 1, 3)):
        run_collector(
            environment,
            state,
            *("--history", "--force", "--servers", str(servers), "--seed", str(seed)),
            *("--days", str(days + 1), "--to", str(opens - timedelta(days=last - 1))),
            module="tools.simulation",
        )
    run_collector(
        environment,
        state,
        "rollup",
        *("--from", str(opens - timedelta(days=52))),
        *("--to", str(opens - timedelta(days=1))),
    )
    old, now = start_ns(OLD), start_ns(opens)
    module_databases.server.write(
        module_databases.daily,
        f"daily_usage nodes=9i,servers=9i,reports=9i,final=1i,imported=1i {old}\n"
        f"daily_packages,package=\\=cmd()|x,version=none servers=9i {old}\n"
        f"daily_usage nodes=7i,servers=7i,reports=7i,final=0i {now}\n"
        f"daily_nodes,dimension=arch,value=x86_64,within=all,within_value=all nodes=7i {now}",
    )
    with served(module_databases) as url:
        rows = {item.path: csv_rows(get(url, f"/v1/{item.path}.csv")) for item in DATASETS}
        yield Published(url, rows, opens)


def usage_of(site: Published) -> dict[str, dict[str, int]]:
    """The counts of each complete day that was counted from reports."""
    days: dict[str, dict[str, int]] = defaultdict(dict)
    for row in site.rows["daily"]:
        if row["final"] == "true" and row["day"] != str(OLD):
            days[row["day"]][row["measure"]] = int(row["count"])
    return days


def tables_of(site: Published, path: str) -> dict[str, dict[tuple[str, str, str], dict[str, int]]]:
    """Each day's tables: by dimension, within and its value, the counts of values."""
    days: dict[str, dict[tuple[str, str, str], dict[str, int]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in site.rows[path]:
        if row["final"] == "true":
            table = days[row["day"]][row["dimension"], row["within"], row["within_value"]]
            assert row["value"] not in table
            table[row["value"]] = int(row["count"])
    return days


# What every published number keeps to


def test_days_with_much_and_with_little_are_published(site: Published) -> None:
    totals = [counts["nodes"] for counts in usage_of(site).values()]
    assert len(totals) >= 30
    assert min(totals) < 20
    assert max(totals) > 200
    assert any(row["value"] == "other" for row in site.rows["daily/nodes"])


@pytest.mark.parametrize(("path", "unit"), [("daily/nodes", "nodes"), ("daily/servers", "servers")])
def test_tables_sum_and_isolate_fewer_than_k_nowhere(site: Published, path: str, unit: str) -> None:
    dimensions = NODE_DIMENSIONS if unit == "nodes" else (*SERVER_DIMENSIONS, *WHOLE_DIMENSIONS)
    usage = usage_of(site)
    for day, tables in tables_of(site, path).items():
        total = usage[day][unit]
        for (dimension, within, within_value), counts in tables.items():
            assert dimension in dimensions
            if within == "all":
                whole = total
            else:
                whole = tables[within, "all", "all"][within_value]
                assert within_value != "other"
            assert sum(counts.values()) == whole
            for value, count in counts.items():
                assert count >= K or (value == "other" and whole < K)
                if within != "all" and value != "other":
                    # Read the other way round, the same cell.
                    assert tables[within, dimension, value][within_value] == count
                    assert value in tables[dimension, "all", "all"]


@pytest.mark.parametrize("path", ["daily/nodes", "daily/servers"])
def test_distribution_less_its_releases_isolates_nobody(site: Published, path: str) -> None:
    for tables in tables_of(site, path).values():
        for (dimension, within, value), counts in tables.items():
            if dimension != "release":
                continue
            distros = tables["distro", within, value]
            releases: dict[str, int] = defaultdict(int)
            for release, count in counts.items():
                if release != "other":
                    releases[release if release in distros else release.rpartition(" ")[0]] += count
            for distro, count in distros.items():
                if distro != "other":
                    loss = count - releases[distro]
                    assert loss == 0 or loss >= K, (distro, loss)


def test_usage_gives_nothing_away_beside_the_tables(site: Published) -> None:
    for day, counts in usage_of(site).items():
        channels = tables_of(site, "daily/nodes")[day]["channel", "all", "all"]
        shown = {n: counts[n] for n in ("dahdi", "simpleusb", "usbradio", "voter") if n in counts}
        for name, count in shown.items():
            assert count == channels.get(name, 0)
            assert count == 0 or count >= K
        rest = counts["nodes"] - sum(shown.values())
        assert counts["other_channels"] == rest
        assert rest == 0 or rest >= K or counts["nodes"] < K
        for registered in ("registered_http", "registered_iax", "unregistered"):
            if registered in counts:
                assert counts[registered] == 0 or counts[registered] >= K
                left = counts["nodes"] - counts[registered]
                assert left == 0 or left >= K


def test_packages_and_upgrades_are_at_least_k(site: Published) -> None:
    usage = usage_of(site)
    packages: dict[tuple[str, str], int] = defaultdict(int)
    for row in site.rows["daily/packages"]:
        assert int(row["count"]) >= K
        packages[row["day"], row["package"]] += int(row["count"])
    for (day, _), servers in packages.items():
        assert day == str(OLD) or servers == usage[day]["servers"]
    assert all(int(row["count"]) >= K for row in site.rows["upgrades"])


def test_page_and_reports_show_what_is_published(site: Published) -> None:
    tables = tables_of(site, "daily/nodes")[str(site.last_day)]
    page = get(site.url, "/").body.decode()
    for dimension in ("asl_version", "arch", "channel"):
        counts = tables[dimension, "all", "all"]
        if len(counts) <= 8:
            for count in counts.values():
                assert f'<td class="num">{count:,}</td>' in page
    basic = get(site.url, "/reports/basic").body.decode()
    assert f"Distinct Nodes:{usage_of(site)[str(site.last_day)]['nodes']:>5}" in basic
    assert str(K - 1) not in [line.rpartition(":")[2].strip() for line in basic.splitlines()]


@settings(max_examples=repeat(20, 200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filter_gives_those_rows_and_no_others(site: Published, data: st.DataObject) -> None:
    dataset = data.draw(st.sampled_from(DATASETS))
    row = data.draw(st.sampled_from(site.rows[dataset.path]))
    names = data.draw(st.sets(st.sampled_from(("from", "to", *dataset.filters))))
    asked = {
        name: row["day"] if name in ("from", "to") else row[name]
        for name in names
        if row.get(name, "x").isprintable()
    }
    words = "&".join(f"{name}={_quoted(value)}" for name, value in asked.items())
    expected = [
        item
        for item in site.rows[dataset.path]
        if all(item[name] == value for name, value in asked.items() if name in dataset.filters)
        and asked.get("from", "") <= item["day"] <= asked.get("to", "9")
    ]
    if any(value.startswith("'") for value in asked.values()):
        return
    assert csv_rows(get(site.url, f"/v1/{dataset.path}.csv?{words}")) == expected


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


# Forms


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda item: item.path)
def test_json_is_what_its_model_says_and_the_same_as_csv(site: Published, dataset: Dataset) -> None:
    reply = get(site.url, f"/v1/{dataset.path}.json")
    assert reply.headers["content-type"] == "application/json"
    row, whole = MODELS[dataset]
    found = whole.model_validate_json(reply.body)
    assert found.licence == "CC0-1.0"
    rows = reply.json["rows"]
    for item in rows[::50]:
        row.model_validate_json(json.dumps(item))
    assert [list(item) for item in rows[:1]] == [list(dataset.heading())]

    def as_text(value: Any) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    told = [{name: as_text(value) for name, value in item.items()} for item in rows]
    assert [
        {name: value.removeprefix("'") for name, value in item.items()}
        for item in site.rows[dataset.path]
    ] == told


def test_every_row_has_unit_window_and_final(site: Published) -> None:
    windows = {row["measure"]: row["window"] for row in site.rows["daily"]}
    assert windows["nodes"] == "1d"
    assert windows["nodes_30d"] == "30d"
    for rows in site.rows.values():
        assert all(row["unit"] and row["window"] for row in rows)
        assert all((row["final"] == "false") == (row["day"] == str(site.open_day)) for row in rows)


def test_text_that_a_spreadsheet_would_run_is_made_harmless(site: Published) -> None:
    old = [row for row in site.rows["daily/packages"] if row["day"] == str(OLD)]
    assert [row["package"] for row in old] == ["'=cmd()|x"]
    found = get(site.url, f"/v1/daily/packages/{OLD}.json").json["rows"]
    assert [row["package"] for row in found] == ["=cmd()|x"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv"),
        ("application/json", "application/json"),
        ("text/html,*/*", "application/json"),
        ("text/csv;q=0.2, application/json;q=0.1", "text/csv"),
        ("text/csv;q=0, */*", "application/json"),
        ("", "application/json"),
    ],
)
def test_accept_chooses_the_form(site: Published, accept: str, kind: str) -> None:
    reply = request(site.url, "GET", "/v1/freshness", headers={"Accept": accept})
    assert reply.headers["content-type"].startswith(kind)
    reply = request(site.url, "GET", f"/v1/daily?from={site.last_day}", headers={"Accept": accept})
    assert reply.headers["content-type"].startswith(kind)


def test_gzip_holds_the_same(site: Published) -> None:
    path = "/v1/daily/nodes.csv"
    plain = get(site.url, path)
    packed = request(site.url, "GET", path, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 5
    refused = request(site.url, "GET", path, headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


def test_head_has_the_headers_and_no_body(site: Published) -> None:
    head = request(site.url, "HEAD", "/v1/daily.csv")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["etag"] == get(site.url, "/v1/daily.csv").headers["etag"]


# Validators


def test_known_version_is_not_sent_again(site: Published) -> None:
    path = f"/v1/daily/nodes.json?to={site.last_day}"
    tag = get(site.url, path).headers["etag"]
    for told in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = request(site.url, "GET", path, headers={"If-None-Match": told})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["access-control-allow-origin"] == "*"
    assert request(site.url, "GET", path, headers={"If-None-Match": '"other"'}).status == 200


def test_tag_differs_by_form_filter_and_span(site: Published) -> None:
    paths = (
        "/v1/daily.json",
        "/v1/daily.csv",
        "/v1/daily.csv?measure=nodes",
        f"/v1/daily.csv?to={site.last_day}",
        "/v1/daily/nodes.csv",
    )
    assert len({get(site.url, path).headers["etag"] for path in paths}) == len(paths)


def test_file_of_a_day_is_for_ever_once_its_raw_reports_are_gone(site: Published) -> None:
    old = get(site.url, f"/v1/daily/{OLD}.csv")
    assert {row["day"] for row in csv_rows(old)} == {str(OLD)}
    assert {row["imported"] for row in csv_rows(old)} == {"true"}
    assert "immutable" in old.headers["cache-control"]
    recent = get(site.url, f"/v1/daily/{site.last_day}.csv")
    assert recent.status == 200
    assert "immutable" not in recent.headers["cache-control"]
    name = recent.headers["content-disposition"]
    assert name == f'attachment; filename="allstarlink-daily-{site.last_day}.csv"'


def test_day_that_is_not_complete_has_no_file(site: Published) -> None:
    for day in (site.open_day, "2019-01-01", "2026-02-30", "0000-00-00"):
        reply = get(site.url, f"/v1/daily/{day}.csv")
        assert problem_of(reply) == (404, "not-found"), day


# What is asked wrongly


@pytest.mark.parametrize(
    "query",
    [
        "form=2026-01-01",
        "from=2026-1-1",
        "from=20260101",
        "from=2026-W01-1",
        "to=tomorrow",
        "from=",
        "from=2026-02-01&to=2026-01-01",
        "from=2026-01-01&from=2026-01-02",
        "measure=node",
        "measure=",
        "dimension=arch",
    ],
)
def test_wrong_parameter_is_refused_in_words(site: Published, query: str) -> None:
    reply = get(site.url, f"/v1/daily?{query}")
    assert problem_of(reply) == (400, "invalid-parameter")
    assert reply.headers["access-control-allow-origin"] == "*"


def test_words_for_days_are_understood(site: Published) -> None:
    rows = csv_rows(get(site.url, "/v1/daily.csv?from=yesterday&to=today&measure=nodes"))
    yesterday = today() - timedelta(days=1)
    stored = (site.last_day, site.open_day)
    assert [row["day"] for row in rows] == [str(day) for day in stored if day >= yesterday]


@pytest.mark.parametrize("value", ["a'; DROP DATABASE x", "\\", "%27%20OR%201=1", "%E2%98%83"])
def test_value_cannot_leave_its_place_in_the_query(site: Published, value: str) -> None:
    path = "/v1/daily/nodes.csv?within_value=" + "".join(
        c if c.isalnum() or c == "%" else _quoted(c) for c in value
    )
    assert csv_rows(get(site.url, path)) == []


def test_span_without_days_is_an_empty_answer(site: Published) -> None:
    reply = get(site.url, "/v1/daily/nodes.json?from=1990-01-01&to=1990-12-31")
    assert reply.json == {
        "series": "daily/nodes",
        "licence": "CC0-1.0",
        "from": None,
        "to": None,
        "rows": [],
    }
    assert csv_rows(get(site.url, "/v1/daily.csv?from=1990-01-01&to=1990-12-31")) == []


# Others


def test_page_of_another_origin_may_ask(site: Published) -> None:
    for path in ("/v1/daily", "/v1/freshness", "/badge/nodes.json", "/openapi.json"):
        asked = request(
            site.url,
            "OPTIONS",
            path,
            headers={"Origin": "https://example.org", "Access-Control-Request-Method": "GET"},
        )
        assert asked.status == 204
        assert asked.headers["access-control-allow-origin"] == "*"
        assert "If-None-Match" in asked.headers["access-control-allow-headers"]
        assert get(site.url, path).headers["access-control-allow-origin"] == "*"


def test_freshness_tells_the_last_complete_day(site: Published) -> None:
    found = get(site.url, "/v1/freshness").json
    assert found["last_final_day"] == str(site.last_day)
    assert found["open_day"] == str(site.open_day)
    assert found["first_day"] == str(OLD)
    assert found["late"] is False
    (row,) = csv_rows(get(site.url, "/v1/freshness.csv"))
    assert row["late"] == "false"
    assert row["last_final_day"] == str(site.last_day)


def test_badges_tell_the_nodes_of_the_last_complete_day(site: Published) -> None:
    nodes = usage_of(site)[str(site.last_day)]["nodes"]
    told = get(site.url, "/badge/nodes.json").json
    assert told["schemaVersion"] == 1
    assert told["message"] == f"{nodes:,}"
    picture = get(site.url, "/badge/nodes.svg")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert f"{nodes:,}" in picture.body.decode()


def test_licence_is_in_every_download(site: Published) -> None:
    for dataset in DATASETS:
        link = get(site.url, f"/v1/{dataset.path}.csv?from=yesterday").headers["link"]
        assert "publicdomain/zero" in link
        assert 'rel="license"' in link
