"""The records store, in SQLite and in PostgreSQL."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url

from collector.delivery.records import RecordsTarget
from collector.metrics import Metrics
from collector.outbox import Pending
from collector.records import FILE
from collector.records.errors import (
    RecordsDenied,
    RecordsError,
    RecordsRejected,
    RecordsUnavailable,
)
from collector.records.purge import Purge
from collector.records.record import from_line, from_row, text_of
from collector.records.store import Finding, RecordsStore
from collector.records.tables import FINDINGS, METADATA, RECORDS
from tests import postgresql
from tests.postgresql import PostgreSql
from tests.records import record_of
from tests.sender import GUARD_S

OWNER = "00000000000000aa"
OTHER = "00000000000000bb"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSql]:
    with postgresql.running() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/{FILE}"
        return
    found: PostgreSql = request.getfixturevalue("server")
    with found.database() as name:
        yield found.url(name)


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[RecordsStore]:
    made = RecordsStore(url, directory=tmp_path)
    made.prepare()
    yield made
    made.close()


def finding(stamp: int, label: str = "main") -> Finding:
    return Finding(stamp, "crash", "1", "crash", label, "{}")


def stamps(store: RecordsStore) -> list[int]:
    return [row["stamp"] for row in store.rows(select(RECORDS.c.stamp).order_by(RECORDS.c.id))]


def test_migrations_make_the_tables_that_the_code_names(store: RecordsStore, url: str) -> None:
    # A second worker, and every later start, finds them as they are.
    store.prepare()
    name = make_url(url)
    if name.get_backend_name() == "postgresql":
        name = name.set(drivername="postgresql+pg8000")
    engine = create_engine(name)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_record_is_stored_once_with_its_finding_and_keeps_its_ascending_id(
    store: RecordsStore,
) -> None:
    first = [record_of(n) for n in range(1, 30)]
    store.add(first, [finding(3)])
    store.add([*first[10:], *(record_of(n) for n in range(30, 41))], [finding(3, "other")])
    rows = store.rows(select(RECORDS).order_by(RECORDS.c.id))
    assert [row["stamp"] for row in rows] == list(range(1, 41))
    assert [from_row(row) for row in rows] == [record_of(n) for n in range(1, 41)]
    assert [row["label"] for row in store.rows(select(FINDINGS))] == ["main"]
    last = rows[-1]["id"]
    store.purge(before_ns=100)
    store.add([record_of(100)])
    assert store.rows(select(RECORDS.c.id))[0]["id"] > last


def test_payload_of_any_bytes_comes_back_equal(store: RecordsStore) -> None:
    source = random.Random(7)
    payloads = [
        b"",
        b"\x00",
        bytes(range(256)),
        "é € 😀 \u2028 \x00".encode(),
        source.randbytes(300 << 10),
        "\ud800x".encode("utf-8", "surrogatepass"),
    ]
    records = [record_of(n, payload=payload) for n, payload in enumerate(payloads, 1)]
    # Through the outbox's line too.
    store.add([from_line(record.line()) for record in records])
    rows = store.rows(select(RECORDS.c.payload).order_by(RECORDS.c.id))
    assert [bytes(row["payload"]) for row in rows] == payloads
    assert text_of(payloads[3]) == "é € 😀 \u2028 \x00"
    assert text_of(payloads[2]).encode("latin-1") == payloads[2]
    assert text_of(payloads[5]) == "\ud800x"


def test_line_of_a_record_is_one_line_and_no_other_line_is_a_record() -> None:
    record = record_of(5, payload=b"a\nb\r\x0b\x85\xe2\x80\xa8 \x00 c", build='1"2\n')
    line = record.line()
    assert line.count(b"\n") == 0
    assert from_line(line) == record
    for wrong in (b"", b"5", b"{} 5", b"[] 5", b"{}", line[:-2], line[1:], b'{"payload":1} 5'):
        with pytest.raises(ValueError, match=r"."):
            from_line(wrong)


def test_expired_records_are_purged_with_their_findings(store: RecordsStore) -> None:
    day = 86_400 * 10**9
    store.add([record_of(n * day) for n in range(1, 101)], [finding(n * day) for n in (2, 90)])
    lost = store.by_day(before_ns=66 * day)
    assert lost == {date(1970, 1, 1) + timedelta(days=n): 1 for n in range(1, 66)}
    metrics = Metrics()
    purge = Purge(store, metrics, retention_s=35 * 86_400)
    assert sum(iter(lambda: purge.step(101 * day), 0)) == 65
    assert stamps(store) == [n * day for n in range(66, 101)]
    assert [row["stamp"] for row in store.rows(select(FINDINGS))] == [90 * day]
    assert metrics.registry.get_sample_value("collector_records_purged_total") == 65
    assert Purge(store, metrics, retention_s=0).step(900 * day) == 0
    found = store.contents()
    assert (found.records, found.oldest_ns, found.newest_ns) == (35, 66 * day, 100 * day)
    assert found.disk_bytes is not None
    assert found.disk_bytes > 0


def test_owner_sees_and_erases_own_records_only(store: RecordsStore) -> None:
    store.add(
        [record_of(n, owner=OWNER if n % 2 else OTHER, payload=b"x" * n) for n in range(1, 11)],
        [finding(n) for n in range(1, 11)],
    )
    held = store.of_owner(OWNER)
    assert [(row["stamp"], row["payload_bytes"]) for row in held] == [
        (n, n) for n in (1, 3, 5, 7, 9)
    ]
    assert "payload" not in held[0]
    assert store.count_of(OWNER, until_ns=7) == 4
    assert store.erase(OWNER, until_ns=7) == 4
    assert store.erase(OWNER, until_ns=100) == 1
    assert store.erase(OWNER, until_ns=100) == 0
    assert stamps(store) == [2, 4, 6, 8, 10]
    assert [row["stamp"] for row in store.rows(select(FINDINGS))] == [2, 4, 6, 8, 10]


def test_no_byte_of_an_erased_record_stays_in_the_file(tmp_path: Path) -> None:
    store = RecordsStore("", directory=tmp_path)
    store.prepare()
    trace = b"a machine's secret"
    store.add([record_of(n, owner=OWNER, payload=trace * 500) for n in range(1, 30)])
    store.add([record_of(n, owner=OTHER) for n in range(30, 60)])
    store.erase(OWNER, until_ns=100)
    files = list(tmp_path.glob(f"{FILE}*"))
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert not [
        file for file in files if trace in file.read_bytes() or OWNER.encode() in file.read_bytes()
    ]
    store.close()


# The driver leaves a refused connection to Python's garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket", "ignore:Exception ignored in. <socket")
def test_what_went_wrong_is_told_apart(server: PostgreSql, tmp_path: Path, url: str) -> None:
    store = RecordsStore(url, directory=tmp_path)
    store.prepare()
    with pytest.raises(RecordsRejected):
        store.add([record_of(1), record_of(2, machine_id=None)])
    with pytest.raises(RecordsRejected):
        store.add([record_of(1, build="\ud800")])
    with pytest.raises(RecordsRejected):
        store.add([record_of(1, ts_capture=2**70)])
    store.add([record_of(1)])
    store.close()
    with server.database() as name:
        right = server.url(name)
        for wrong in (right.replace("owner:s3", "owner:no"), server.url("nowhere")):
            with pytest.raises(RecordsDenied):
                RecordsStore(wrong, directory=tmp_path).ping()
        # This server has no TLS, and is not talked to without it if that is asked for.
        for mode in ("require", "verify-full"):
            with pytest.raises(RecordsUnavailable):
                RecordsStore(f"{right}?sslmode={mode}", directory=tmp_path).ping()
        RecordsStore(f"{right}?sslmode=disable", directory=tmp_path).ping()
    with pytest.raises(RecordsUnavailable):
        RecordsStore("postgresql://x:y@127.0.0.1:9/z", directory=tmp_path).ping()
    with pytest.raises(RecordsUnavailable):
        RecordsStore(f"sqlite:///{tmp_path}/none/{FILE}", directory=tmp_path).prepare()
    for no in ("mysql://x@y/z", "nonsense", "postgresql://h/d?sslmode=maybe"):
        with pytest.raises(RecordsError):
            RecordsStore(no, directory=tmp_path)
    # Here, and not in whichever test comes next.
    gc.collect()


async def test_record_that_the_store_refuses_is_a_dead_letter_and_the_others_are_stored(
    store: RecordsStore,
) -> None:
    target = RecordsTarget(store, Metrics())
    await target.prepare()
    records = [record_of(n, ts_capture=2**70 if n == 11 else n) for n in range(1, 21)]
    entries = [
        Pending(n, n, None, 1, one.line(), "records", "telemetrics")
        for n, one in enumerate(records, start=1)
    ]
    (dead,) = await target.store(await target.pack(entries))
    assert (dead.entry.id, dead.line) == (11, records[10].line())
    assert stamps(store) == [n for n in range(1, 21) if n != 11]


def test_workers_that_start_together_make_the_tables_once(url: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from collector.records.store import RecordsStore\n"
        "from collector.records.errors import RecordsUnavailable\n"
        "store = RecordsStore(sys.argv[1], directory=Path('.'))\n"
        "for _ in range(20):\n"
        "    try:\n"
        "        store.prepare(); break\n"
        "    except RecordsUnavailable: pass\n"
        "else: sys.exit(1)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
    assert [worker.wait(GUARD_S) for worker in workers] == [0, 0, 0]
    store = RecordsStore(url, directory=tmp_path)
    store.add([record_of(1)])
    store.close()


def test_threads_that_make_the_tables_at_once_all_succeed(url: str, tmp_path: Path) -> None:
    threads = 8
    stores = [RecordsStore(url, directory=tmp_path) for _ in range(threads)]
    together = Barrier(threads)

    def prepare(store: RecordsStore) -> None:
        together.wait()
        store.prepare()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(prepare, stores))
    for store in stores:
        store.ping()
        store.close()
