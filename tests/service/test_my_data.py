"""What an owner gets at the four addresses, and nobody else."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from collector.memory import Action, Memory, State
from collector.state import locked
from tests.command import command
from tests.conftest import Databases, Row, Serve, StartServe
from tests.dates import last_final_day
from tests.network import lines_of
from tests.owners import (
    DAY,
    DAYS_BACK,
    OWN,
    OWNER,
    World,
    ask,
    body_of,
    midnight,
    start_world,
    uuid_of,
)
from tests.sender import GUARD_S, encoded, eventually, get, lay_key, metric, post, report
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

JSON = {"Accept": "application/json"}
SAMPLES = sorted((Path(__file__).parent.parent / "cases" / "asl").glob("*.json"))


@pytest.fixture
def world(serve: StartServe, databases: Databases, state_dir: Path) -> World:
    return start_world(serve, databases, state_dir)


def curl(url: str, body: bytes) -> str:
    """What the client's own command prints; on a machine without curl, what it would be sent."""
    if shutil.which("curl") is None:
        address, separator, path = url.partition("/v1/")
        return post(address, body, path=separator + path).body.decode()
    command = ["curl", "--silent", "--show-error", "--header", "Content-Type: application/json"]
    ended = subprocess.run(
        [*command, "--request", "POST", "--data", body.decode(), url],
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=True,
    )
    return ended.stdout


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_owner_looks_erases_and_looks_again(collector: Serve, sample: Path) -> None:
    body = sample.read_bytes()
    address = f"{collector.url}/v1/my-data"
    assert "Nothing is held" in curl(address, body)
    assert post(collector.url, body).status == 200
    shown = curl(address, body)
    assert "1 report held" in shown
    assert "  node " in shown
    assert "ERASED" in (receipt := curl(f"{address}/erase", body))
    assert "nothing was left" in receipt
    assert "Nothing is held" in curl(address, body)


def test_final_days_stay_as_published_and_the_open_day_is_computed_again(world: World) -> None:
    before, neighbours = world.published(final=True), world.raw(own=False)
    assert len(world.raw(own=True)) == 3 * (DAYS_BACK + 1)
    answer = ask(world.url, "/erase", headers=JSON)
    assert answer.status == 200
    assert answer.json["erased"]["reports"] == DAYS_BACK + 1
    assert answer.json["erased"]["node_reports"] == 2 * (DAYS_BACK + 1)
    assert world.raw(own=True) == []
    assert world.raw(own=False) == neighbours
    eventually(lambda: {row["time"]: row["reports"] for row in world.days()}.get(midnight()) == 6)
    assert world.published(final=True) == before
    final = [row["time"] for row in before["daily_usage"]]
    assert world.erased() == dict.fromkeys(final, (1, 2))
    world.command("verify")
    # Whatever the state directory knew is lost: nothing of it is needed for that.
    for path in (world.collector.state_dir / "rollup").glob("*.basis"):
        path.unlink()
    world.command("rollup", "--from", str(last_final_day()))
    world.command("verify")
    assert world.published(final=True) == before


def test_a_report_that_comes_late_heals_days_after_an_erasure(
    world: World, serve: StartServe
) -> None:
    assert ask(world.url, "/erase").status == 200
    day = midnight() - 2 * DAY
    late = lines_of([(day + 7 * 3600 * 10**9, body_of(77))])
    world.databases.server.write(world.databases.raw, "\n".join(late))
    assert world.command("verify", check=False).code == 1
    world.collector.terminate()
    # The next start looks at every day.
    world = World(world.databases, serve(world.collector.environment))
    world.wait_rolled()
    assert {row["time"]: row["nodes"] for row in world.days()}[day] == 14
    world.command("verify")
    assert {row["time"]: row["nodes_7d"] for row in world.days()}[day + DAY] == 14


def test_who_knows_only_the_uuid_learns_numbers_and_nothing_else(world: World) -> None:
    stranger = encoded(report([2000], uuid_of(0), kernel="0", pkgs={}))
    words, held = (ask(world.url, body=stranger, headers=headers) for headers in ({}, JSON))
    for said in (words.body.decode(), held.body.decode()):
        for secret in ("6.6.31-own", "asl3-3.3.0", "3.5.1", "x86_64", "SimpleUSB", "100000", OWNER):
            assert secret.lower() not in said.lower(), said
    assert held.json["held"]["reports"] == DAYS_BACK + 1
    assert held.json["reports"] == []
    whole = ask(world.url, headers=JSON).json
    assert len(whole["reports"]) == DAYS_BACK + 1
    assert [node["number"] for node in whole["reports"][0]["nodes"]] == [100_000, 100_001]
    assert OWNER not in ask(world.url).body.decode()


def test_never_heard_of_is_answered_like_nothing_held_and_as_fast(world: World) -> None:
    ask(world.url, "/erase")
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    answers = set()
    numbers = itertools.count(2)

    def as_fast() -> bool:
        """Whether the fastest answers to both, of all so far, took the same time."""
        number = next(numbers)
        for kind, body in (("known", OWN), ("unknown", body_of(1000 + number))):
            begun = time.monotonic()
            answer = ask(world.url, body=body, source=f"127.0.0.{number}")
            times[kind].append(time.monotonic() - begun)
            answers.add((answer.status, answer.body))
        # A busy machine makes some of either slower; a difference would be in all of them.
        return number > 5 and abs(min(times["known"]) - min(times["unknown"])) < 0.1

    eventually(as_fast)
    assert len(answers) == 1


def test_opted_out_is_dropped_politely_until_opted_in(world: World) -> None:
    answer = ask(world.url, "/opt-out", headers=JSON)
    assert answer.json["opted_out"] is True
    dropped = post(world.url, OWN)
    assert dropped.status == 200
    assert dropped.json == {"status": "accepted", "nodes": 0, "ignored": {"opted-out": 2}}
    metrics = world.collector.metrics_url
    assert metric(metrics, "collector_reports_total", intake="asl", outcome="opted-out") == 1
    assert metric(metrics, "collector_opted_out_servers") == 1
    assert world.raw(own=True) == []

    def counted() -> list[Row]:
        return world.databases.server.query("SELECT * FROM opted_out_report", world.databases.raw)

    # What is left of it is a count, at an arbitrary time of the day.
    eventually(lambda: [row.keys() for row in counted()] == [{"time", "reports"}])
    assert ask(world.url, "/opt-in").status == 200
    assert post(world.url, OWN).json["nodes"] == 2
    eventually(lambda: len(world.raw(own=True)) == 3)


def test_opt_out_holds_from_the_first_request_of_a_start_without_influxdb(
    serve: StartServe,
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    state_dir: Path,
) -> None:
    world = start_world(serve, own_databases, state_dir)
    assert ask(world.url, "/opt-out").status == 200
    world.collector.terminate()
    own_influx.terminate()
    again = serve(world.collector.environment)
    assert post(again.url, OWN).json["ignored"] == {"opted-out": 2}
    assert post(again.url, body_of(1)).json["nodes"] == 2
    answer = ask(again.url, headers=JSON)
    assert answer.status == 503
    assert answer.reason == "unavailable"
    # Asked to stop, it would look for InfluxDB for ten seconds.
    again.kill()


def test_another_collector_drops_and_forgets_too(
    world: World, serve: StartServe, tmp_path: Path
) -> None:
    lay_key(tmp_path / "second")
    second = serve(
        {
            **world.databases.environment,
            "COLLECTOR_STATE_DIR": str(tmp_path / "second"),
            "COLLECTOR_INSTANCE": "1",
            "COLLECTOR_K_ANONYMITY": "1",
        }
    )
    assert post(second.url, OWN).json["nodes"] == 2
    assert post(second.url, body_of(1)).json["nodes"] == 2
    eventually(lambda: len(world.raw(own=True)) == 3 * (DAYS_BACK + 2))
    assert ask(world.url, "/opt-out").status == 200
    assert world.raw(own=True) == []

    choices = f"{world.databases.prefix}usage_owners"
    eventually(lambda: world.databases.server.count(choices, "owner_choice", "choice") == 1)
    # It looks every minute, and at once when an owner chooses.
    assert ask(second.url, "/opt-in", body_of(2), source="127.0.0.9").status == 200
    eventually(lambda: metric(second.metrics_url, "collector_opted_out_servers") == 1)
    assert post(second.url, OWN).json["ignored"] == {"opted-out": 2}
    eventually(lambda: metric(second.metrics_url, "collector_erasures_total", outcome="done") == 1)
    held = ask(second.url, headers=JSON, source="127.0.0.9")
    assert held.json["held"]["reports"] == 0
    neighbour = ask(second.url, body=body_of(1), headers=JSON, source="127.0.0.9").json
    assert neighbour["held"]["copies"] == 1
    # So that no outbox that was set aside brings any of it back.
    for state in (world.collector.state_dir, second.state_dir):
        memory = Memory(state)
        (choice,) = memory.choices.all()
        assert memory.erasures.erased().keys() == {choice.owner}


def test_more_erasures_than_usual_wait_for_an_operator(
    serve: StartServe, databases: Databases, state_dir: Path
) -> None:
    world = start_world(serve, databases, state_dir, {"COLLECTOR_ERASURES_PER_HOUR": "2"})
    metrics = world.collector.metrics_url
    for number in (1, 2):
        assert ask(world.url, "/erase", body_of(number)).status == 200
    answer = ask(world.url, "/erase", headers=JSON)
    assert (answer.status, answer.json) == (202, {"status": "queued"})
    assert ask(world.url, "/opt-out", body_of(3)).status == 202
    assert post(world.url, body_of(3)).json["nodes"] == 2
    eventually(lambda: metric(metrics, "collector_erasures_queued") == 2)
    assert len(world.raw(own=True)) == 3 * (DAYS_BACK + 1)
    listed = world.command("my-data", "queue").out
    assert "erase" in listed
    assert "opt-out" in listed
    row = next(line for line in listed.splitlines() if "opt-out" in line)
    assert "1 dropped" in world.command("my-data", "drop", row.split()[1]).out
    assert "1 released" in world.command("my-data", "release", "--all").out
    eventually(lambda: world.raw(own=True) == [])
    eventually(lambda: metric(metrics, "collector_erasures_queued") == 0)
    assert metric(metrics, "collector_erasures_total", outcome="queued") == 2


def test_erasure_that_cannot_delete_a_file_is_not_said_to_be_done_and_is_tried_again(
    world: World, tmp_path: Path
) -> None:
    kept = min((world.collector.state_dir / "rollup").glob("????-??-??"))
    elsewhere = kept.rename(tmp_path / "elsewhere")
    # No user may delete a tree through a link, root neither.
    kept.symlink_to(elsewhere)
    neighbours = world.raw(own=False)
    answer = ask(world.url, "/erase", headers=JSON)
    assert (answer.status, answer.json) == (202, {"status": "delayed"})
    assert metric(world.collector.metrics_url, "collector_erasures_total", outcome="done") == 0
    # It holds nobody up whose reports are not in there.
    assert ask(world.url, "/erase", body_of(50), source="127.0.0.5").status == 200
    kept.unlink()
    eventually(
        lambda: metric(world.collector.metrics_url, "collector_erasures_total", outcome="done") == 2
    )
    assert world.raw(own=True) == []
    assert world.raw(own=False) == neighbours


def test_one_address_may_ask_only_so_often(collector: Serve) -> None:
    statuses = [
        ask(collector.url, "/erase", body_of(500 + number), source="127.0.0.77").status
        for number in range(11)
    ]
    assert statuses == [200] * 10 + [429]
    refused = ask(collector.url, "/erase", source="127.0.0.77")
    assert int(refused.headers["retry-after"]) > 0
    assert "rate-limited" in refused.body.decode()
    assert ask(collector.url, source="127.0.0.78").status == 200


@pytest.mark.parametrize("running", [True, False], ids=["beside serve", "without serve"])
def test_operator_does_the_same_by_uuid(world: World, *, running: bool) -> None:
    if not running:
        world.collector.terminate()
    before = world.published(final=True)
    assert "6.6.31-own" in world.command("my-data", "show", uuid_of(0)).out
    said = world.command("my-data", "opt-out", uuid_of(0)).out
    assert f"raw reports erased: {DAYS_BACK + 1}, in {3 * (DAYS_BACK + 1)} rows" in said
    assert "0 reports" in world.command("my-data", "show", uuid_of(0).upper()).out
    assert world.published(final=True) == before
    choices = f"{world.databases.prefix}usage_owners"
    eventually(lambda: world.databases.server.count(choices, "owner_choice", "choice") == 1)
    world.command("my-data", "opt-in", uuid_of(0))
    if running:
        assert post(world.url, OWN).json["nodes"] == 2


def test_interrupted_request_is_said_to_be_stored(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_memory: Memory, _number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("collector.cli.my_data._wait_for", interrupted)
    lay_key(state_dir)
    settings = {"COLLECTOR_STATE_DIR": str(state_dir)}
    with locked(state_dir):
        done = command(settings, "my-data", "erase", uuid_of(0))
    assert (done.code, "the request is stored" in done.err) == (130, True)
    assert [one.action for one in Memory(state_dir).erasures.all(State.ACCEPTED)] == [Action.ERASE]
    # It is not one of those that wait for an operator.
    for verb in ("drop", "release"):
        done = command(settings, "my-data", verb, "1")
        assert (done.code, "my-data queue" in done.err) == (1, True)


@pytest.mark.parametrize("what", ["", "/erase", "/opt-out", "/opt-in"])
def test_what_is_no_report_is_refused_by_name(collector: Serve, what: str) -> None:
    source = f"127.0.1.{len(what) + 1}"
    for body, status, reason in (
        (b"no JSON", 400, "malformed-json"),
        (b'{"uuid":"x","nodes":[]}', 400, "invalid-field"),
        (b" " * 70_000, 413, "too-large"),
    ):
        assert ask(collector.url, what, body, headers=JSON, source=source).reason == reason
        words = ask(collector.url, what, body, source=source)
        assert words.status == status
        assert reason in words.body.decode()


def test_page_is_served_with_a_strict_policy(collector: Serve) -> None:
    page = get(collector.url, "/my-data")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
