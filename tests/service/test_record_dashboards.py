"""Each query of the records dashboards on a real PostgreSQL, as Grafana asks it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.metrics import Metrics
from collector.records.parsers.registry import Parsers, installed
from collector.records.store import RecordsStore
from collector.settings import Settings
from tests import postgresql
from tests.conftest import Databases
from tests.records import record_of
from tools.dashboards.asked import OPS, Query, Span, boards, queries
from tools.dashboards.asked import filled as fill_in

DAY = 86_400 * 10**9
ASKED = {
    str(query): query
    for board in boards(OPS)
    for query in queries(board)
    if query.source == "records"
}


def filled(text: str, since: int, until: int, **chosen: str) -> str:
    """A query as Grafana fills it in."""
    text = re.sub(r"\$__unixEpochNanoFilter\(([^)]*)\)", rf"\1 >= {since} AND \1 <= {until}", text)
    text = re.sub(r"\$__unixEpochNanoGroup\(([^,]*), '1d'\)", rf"floor(\1/{DAY})*{DAY}", text)
    text = text.replace("$__unixEpochNanoTo()", str(until))
    text = re.sub(r"\$\{(\w+):raw\}", lambda found: chosen.get(found[1], ""), text)
    assert "$" not in text
    return text


@pytest.fixture(scope="module")
def filled_store(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[postgresql.PostgreSql, str, int]]:
    """A store with crashes, updates, machine checks and thermal events of the last days."""
    now = time.time_ns()
    parsers = Parsers(installed(Settings()), Metrics())

    def of(n: int, classification: str, payload: str, **more: Any) -> Any:
        return record_of(
            now - n * DAY // 24 - n,
            classification=f"org.clearlinux/{classification}",
            payload=payload.encode(),
            **more,
        )

    def crash(function: str) -> str:
        return f"Process: /bin/x\nSignal: 11\n\nBacktrace (TID 1):\n#0 {function}() - [libx.so]\n"

    records = [of(n, "crash/clr", crash(f"f{n % 12}"), build=str(n % 3)) for n in range(1, 100)]
    records += [of(100 + n, "crash/clr", crash("often")) for n in range(50)]
    records += [
        of(
            200 + n,
            "swupd-client/update",
            f"current_version={n % 2}\nserver_version=9\nresult={n % 5}",
        )
        for n in range(20)
    ]
    records += [
        of(300 + n, "mce/corrected", "CPU 1 BANK 4\nSTATUS 8c MCGSTATUS 0\n") for n in range(5)
    ]
    records += [of(400 + n, "mce/thermal", "CPU 1 heated above trip temperature") for n in range(5)]
    with postgresql.running() as server, server.database() as name:
        store = RecordsStore(server.url(name), directory=tmp_path_factory.mktemp("records"))
        store.prepare()
        store.add(records, [parsers.find(record) for record in records])
        store.close()
        yield server, name, now


def rows(filled_store: tuple[postgresql.PostgreSql, str, int], query: Query, **chosen: str) -> Any:
    server, name, now = filled_store
    return server.run(filled(query.text, now - 30 * DAY, now, **chosen), name)


@pytest.mark.parametrize("name", sorted(ASKED))
def test_every_query_answers(filled_store: Any, name: str) -> None:
    found = rows(filled_store, ASKED[name], id="1")
    assert found, name
    # A stranger to the store finds nothing, and no error.
    assert rows(filled_store, ASKED[name], id="nobody", build="none") is not None


def test_top_ten_has_the_guilties_with_the_most_crashes_of_the_week(filled_store: Any) -> None:
    (name,) = [name for name in ASKED if "Top ten" in name]
    found = rows(filled_store, ASKED[name])
    assert (found[0][0], found[0][1]) == ("often - [libx.so]", 50)
    assert len(found) == 10
    counts = [count for _, count, *_ in found]
    assert counts == sorted(counts, reverse=True)


def test_update_matrix_has_the_totals_of_rows_columns_and_all(filled_store: Any) -> None:
    (name,) = [name for name in ASKED if "from row to column" in name]
    cells = {(old, new): count for old, new, count in rows(filled_store, ASKED[name])}
    assert cells == {
        ("0", "9"): 10,
        ("1", "9"): 10,
        ("0", "total"): 10,
        ("1", "total"): 10,
        ("total", "9"): 20,
        ("total", "total"): 20,
    }


def test_search_finds_by_each_field(filled_store: Any) -> None:
    (name,) = [
        name for name in ASKED if "telemetrics-records / Records received, the newest" in name
    ]
    query = ASKED[name]
    every = len(rows(filled_store, query))
    assert every == 99 + 50 + 20 + 5 + 5
    assert len(rows(filled_store, query, classification="mce/")) == 10
    assert len(rows(filled_store, query, words="heated above")) == 5
    assert len(rows(filled_store, query, severity="1")) == every
    assert len(rows(filled_store, query, severity="2")) == 0
    assert 0 < len(rows(filled_store, query, build="1")) < every


def test_link_of_a_record_names_the_variable_that_the_panels_ask_for() -> None:
    path = Path(OPS) / "telemetrics-records.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    links = re.findall(r"var-(\w+)=", json.dumps(board["panels"]))
    assert set(links) == {"id"}
    assert "id" in {variable["name"] for variable in board["templating"]["list"]}


def test_every_count_is_answered_by_influxdb(databases: Databases) -> None:
    name = f"{databases.prefix}telemetrics"
    databases.server.create(name)
    now = time.time_ns() - 10**9
    lines = [
        f"record,severity={1 + n % 4},domain=org.clearlinux,probe={'hello' if n % 2 else 'crash'},"
        f"arch=x86_64,system_name=clear-linux-os,build={n % 3}"
        f' server="{n % 7:016x}",payload_bytes=5i,external=0i {now - n * DAY // 20}'
        for n in range(50)
    ]
    databases.server.write(name, "\n".join(lines))
    span = Span((now - 30 * DAY) // 10**6, now // 10**6 + 1000)
    asked = {
        str(query): query
        for board in boards(OPS)
        for query in queries(board)
        if query.source == "telemetrics"
    }
    assert len(asked) > 10
    found = {
        text: databases.server.query(fill_in(query.text, {}, span, "1h"), name)
        for text, query in asked.items()
    }
    assert [text for text, rows in found.items() if not rows] == []
    (ids,) = next(rows for text, rows in found.items() if "of the last 3 days" in text)
    assert ids["count"] == 7
