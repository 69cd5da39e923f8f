"""What is set aside goes when it is as old as raw reports may be, warned of; or by command."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collector.expiry import Expiry
from collector.memory import path_in
from collector.metrics import Metrics
from collector.outbox import FILE, DeadLetter, OutboxFile, set_aside
from collector.privacy import ServerPseudonym
from tests.command import Done, command

SERVER = ServerPseudonym("0123456789abcdef")
DAY = 86_400 * 10**9
T0 = 1_795_500_000_000_000_000
RETENTION_DAYS = 90


def letter(received_ns: int, set_aside_ns: int) -> DeadLetter:
    return DeadLetter(0, received_ns, SERVER, b"m f=1i 1", "refused", set_aside_ns)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two outboxes with dead letters, files set aside at T0, a damaged memory and live values."""
    for own in (tmp_path, tmp_path / "worker-1"):
        own.mkdir(exist_ok=True)
        with OutboxFile(own / FILE) as file, file.transaction():
            file.put_dead_letter(letter(T0, T0))
            # Its report was old already when InfluxDB refused it.
            file.put_dead_letter(letter(T0 - 200 * DAY, T0 + 89 * DAY + DAY // 2))
    moment = f"{datetime.fromtimestamp(T0 / 1e9, UTC):%Y%m%dT%H%M%S.%fZ}"
    (tmp_path / f"{FILE}.damaged-{moment}").write_bytes(SERVER.encode())
    (tmp_path / f"{FILE}.damaged-{moment}-wal").write_bytes(SERVER.encode())
    (tmp_path / f"{FILE}.damaged-{moment}.carried").write_bytes(b"1")
    (tmp_path / "worker-1" / f"{FILE}.recovered-{moment}").write_bytes(SERVER.encode())
    memory = path_in(tmp_path)
    memory.parent.mkdir()
    for name in (memory.name, "live.sqlite3"):
        memory.with_name(f"{name}.damaged-{moment}").write_bytes(SERVER.encode())
    return tmp_path


def expiry(state: Path, metrics: Metrics) -> Expiry:
    return Expiry(state, metrics, retention_s=RETENTION_DAYS * 86_400, keep_s=3 * 86_400)


def letters(state: Path) -> int:
    count = 0
    for own in (state, state / "worker-1"):
        with OutboxFile(own / FILE) as file:
            count += len(file.dead_letters())
    return count


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_what_is_set_aside_goes_with_raw_retention_after_a_warning(state: Path) -> None:
    metrics = Metrics()
    seen = expiry(state, metrics)
    with capture_logs() as logs:
        seen.once(T0 + 82 * DAY)
        assert value(metrics, "collector_expiring") == 0
        assert letters(state) == 4
        # A copy of what was delivered goes as the others do.
        assert list((state / "worker-1").glob("*.recovered-*")) == []
        assert [entry for entry in logs if entry["log_level"] == "warning"] == []

        seen.once(T0 + 83 * DAY)
        # Two letters, an outbox, a memory, live values; the old report's letters are due later, and
        # told later.
        assert value(metrics, "collector_expiring") == 5
        (told,) = [entry for entry in logs if entry["reason"] == "expiring"]
        assert told["count"] == 5
        assert told["first"] == "2027-02-22T06:00:00+00:00"
        seen.once(T0 + 83 * DAY + DAY // 2)
        assert len([entry for entry in logs if entry["reason"] == "expiring"]) == 1

    seen.once(T0 + 90 * DAY)
    assert letters(state) == 2
    assert set_aside(state) == []
    assert [path.name for path in state.rglob("*damaged*")] == []
    assert value(metrics, "collector_expired_total", kind="dead-letter") == 2
    assert value(metrics, "collector_expired_total", kind="set-aside") == 3
    seen.once(T0 + 91 * DAY)
    assert letters(state) == 0
    for path in state.rglob("*sqlite3*"):
        assert SERVER.encode() not in path.read_bytes()


def test_file_that_cannot_be_deleted_is_told_and_tried_again(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    seen = expiry(state, metrics)
    # Root may delete anything: the disk's refusal is made up, and all else is real.
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr("pathlib.Path.unlink", refusing)
        seen.once(T0 + 90 * DAY)
    assert {entry["reason"] for entry in logs} >= {"undeletable", "expired"}
    assert len(set_aside(state)) == 1
    assert value(metrics, "collector_expired_total", kind="set-aside") is None
    seen.once(T0 + 90 * DAY)
    assert set_aside(state) == []


def refusing(path: Path, **_options: bool) -> None:
    raise PermissionError(1, "Operation not permitted", str(path))


def drop(state: Path, *arguments: str | Path, answer: str = "") -> Done:
    return command({"COLLECTOR_STATE_DIR": str(state)}, "outbox", "drop", *arguments, answer=answer)


def test_drop_asks_first_and_deletes_what_is_named(state: Path) -> None:
    (aside,) = set_aside(state)
    asked = drop(state, "--dead", aside, answer="n\n")
    assert asked.code == 1
    assert "Delete 4 dead letters" in asked.out
    assert letters(state) == 4
    done = drop(state, "--dead", aside, answer="y\n")
    assert done.code == 0, done.err
    assert "4 dead letters deleted" in done.out
    assert letters(state) == 0
    assert list(state.glob(f"{FILE}.damaged-*")) == []
    (recovered,) = (state / "worker-1").glob("*.recovered-*")
    assert drop(state, recovered, "--yes").code == 0
    assert not recovered.exists()


def test_drop_of_anything_else_is_refused_in_words(state: Path) -> None:
    assert "or use --dead" in drop(state).err
    for wrong in (state / FILE, state / "none"):
        refused = drop(state, wrong, "--yes")
        assert (refused.code, "no outbox that was set aside" in refused.err) == (1, True)
    assert (state / FILE).exists()
