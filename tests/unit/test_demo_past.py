"""The demo's made-up past: metrics, hosts, installs and records, each as the real ones are."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from collector.intakes.librenms.points import Prepared, prepare
from collector.intakes.telemetrics.fields import TID, check, from_json
from collector.records import Checked
from collector.schema.librenms import GROUPS
from tests.unit.test_dashboards import telegraf
from tools.dashboards.asked import Span
from tools.demo import hosts
from tools.demo.asterisks import ASTERISKS
from tools.demo.metrics_past import Past
from tools.replay.ami_script import Script, Step
from tools.simulation.installs import Installs
from tools.simulation.records import Machines
from tools.watch.panels import interval_of, span_of

NOW = 1_772_000_000
DAY = date(2026, 2, 25)
LIVE = """# TYPE collector_reports counter
collector_reports_total{intake="asl",outcome="accepted"} 5.0
collector_reports_total{intake="librenms",outcome="accepted"} 3.0
# TYPE collector_request_seconds histogram
collector_request_seconds_bucket{le="+Inf"} 8.0
collector_request_seconds_count 8.0
collector_request_seconds_sum 0.4
# TYPE collector_outbox_accepting gauge
collector_outbox_accepting 1.0
# TYPE collector_rollup_seconds histogram
collector_rollup_seconds_count 1.0
# TYPE collector_rollup_last_success_timestamp_seconds gauge
collector_rollup_last_success_timestamp_seconds 1772000000.0
# TYPE collector_outbox_commits counter
collector_outbox_commits_total 16.0
# TYPE collector_statsd_samples counter
collector_statsd_samples_total 16.0
# TYPE python_info gauge
python_info 1.0
"""
INTAKE = """# TYPE collector_nodes counter
collector_nodes_total{intake="asl",outcome="accepted"} 3000.0
"""
WANTED = {
    line.split(" ")[0].split("{")[0]
    for text in (LIVE, INTAKE)
    for line in text.splitlines()
    if not line.startswith("#") and not line.startswith("python")
}


def series(past: Past) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Points by name and outcome or intake."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for name, labels, at, value in past.samples(LIVE, INTAKE, WANTED):
        assert (labels["job"], labels["instance"]) == ("collector", "here")
        kind = labels.get("outcome", "") + labels.get("intake", "")
        found.setdefault((name, kind), []).append((at, value))
    return found


def past(refused_s: float | None = None) -> Past:
    """A report every ten minutes of the last 14 days."""
    arrivals = [(NOW - 600 * n) * 10**9 for n in reversed(range(2000))]
    return Past(
        arrivals=arrivals, until_s=NOW, started_s=NOW - 60, instance="here", refused_s=refused_s
    )


def test_counters_follow_the_reports_and_never_fall() -> None:
    found = series(past())
    accepted = found["collector_reports_total", "acceptedasl"]
    per_hour = accepted[-1][1] - next(value for at, value in accepted if at >= NOW - 3600)
    assert per_hour == pytest.approx(6, abs=1)
    nodes = found["collector_nodes_total", "acceptedasl"]
    assert nodes[-1][1] == pytest.approx(accepted[-1][1] * 3000 / 2000)
    requests = found["collector_request_seconds_count", ""]
    assert requests[-1][1] == pytest.approx(accepted[-1][1])
    for (name, _), points in found.items():
        if name.endswith(("_total", "_count", "_sum", "_bucket")):
            assert all(a <= b for (_, a), (_, b) in pairwise(points)), name
        # Prometheus calls a series stale after five minutes.
        assert all(b - a < 300 for (a, _), (b, _) in pairwise(points)), name
        assert points[-1][0] == NOW
        assert NOW - points[0][0] > 8 * 86_400


def test_unwanted_names_and_those_of_the_asterisks_have_no_past() -> None:
    names = {name for name, _ in series(past())}
    assert names - {"up", "collector_rollup_runs_total"} == WANTED - {
        "collector_statsd_samples_total"
    }


def test_refused_reports_are_counted_as_such_from_then_on() -> None:
    found = series(past(NOW - 7200))
    accepted = dict(found["collector_reports_total", "acceptedasl"])
    refused = dict(found["collector_reports_total", "unavailableasl"])
    before = max(at for at in accepted if at < NOW - 7200)
    assert refused[before] == 0
    assert refused[NOW] == pytest.approx(12, abs=1)
    assert accepted[NOW] - accepted[before] <= 1
    taking = dict(found["collector_outbox_accepting", ""])
    assert (taking[before], taking[NOW]) == (1, 0)
    assert ("collector_reports_total", "unavailableasl") not in series(past())


def test_last_success_is_the_last_quarter_of_an_hour() -> None:
    for at, value in series(past())["collector_rollup_last_success_timestamp_seconds", ""]:
        assert 0 <= at - value < 900


def test_hosts_figures_have_the_names_that_telegraf_sends() -> None:
    known = telegraf()
    found: dict[str, set[str]] = {}
    asterisks = set()
    for line in hosts.points(NOW):
        head, fields, at = line.split(" ")
        measurement, *tags = head.split(",")
        words = [each.partition("=")[0] for each in (*tags, *fields.split(","))]
        found.setdefault(measurement, set()).update(words)
        asterisks.add(tags[0].removeprefix("asterisk="))
        assert at == f"{NOW}000000000"
    assert found == known
    assert asterisks == {one.name for one in ASTERISKS}
    assert sum(1 for _ in hosts.past(NOW)) > 10_000


def test_reports_of_installs_are_taken_once_a_day_at_the_same_time() -> None:
    installs = Installs(seed=1, installs=40, start=date(2026, 2, 1), days=25)
    first, last = installs.day(date(2026, 2, 1)), installs.day(DAY)
    assert len(first) == len(last) == 40
    day = 24 * 86_400 * 10**9
    assert [each.received_ns + day for each in first] == [each.received_ns for each in last]
    releases = set()
    for each in last:
        found = prepare(each.body)
        assert isinstance(found, Prepared)
        assert found.reading.groups.keys() <= set(GROUPS)
        assert all(total.total >= 0 for rows in found.reading.groups.values() for total in rows)
        releases.add(found.reading.versions["librenms_release"])
    assert len(releases) > 1


def test_records_pass_the_intakes_checks_in_both_forms() -> None:
    machines = Machines(seed=1, machines=200, start=date(2026, 2, 1), days=25)
    sent = machines.day(DAY)
    assert [each.received_ns for each in sent] == sorted(each.received_ns for each in sent)
    kinds = set()
    for each in sent:
        checked = check({**each.fields, TID: "t"}, each.payload, tid="t")
        assert isinstance(checked, Checked), checked
        found = from_json({**each.fields, "payload": each.payload.decode()}, "t")
        assert isinstance(found, tuple)
        assert check(*found, tid="t") == checked
        kinds.add(checked.classification)
    assert len(kinds) == 7
    # A machine has another id after three days.
    ids = {each.fields["machine_id"] for each in sent}
    later = {each.fields["machine_id"] for each in machines.day(date(2026, 2, 21))}
    assert not ids & later


def test_part_of_a_recording_ends_and_leaves_out_what_it_is_told_to() -> None:
    steps = [Step(1.0, b"a"), Step(2.0, b"bad b"), Step(3.0, None), Step(4.0, b"c")]
    answers = {"Status": [(1.0, [b"x", b"bad y"])]}
    part = Script(0.5, steps, answers).part(3.5, [b"bad"])
    assert part.steps == [steps[0], steps[2]]
    assert part.answers == {"Status": [(1.0, [b"x"])]}
    assert part.begins == 0.5


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("now-3h", "now", ("2026-02-25T03:30:00", "2026-02-25T06:30:00")),
        ("now-1y/d", "now-1d/d", ("2025-02-25T00:00:00", "2026-02-24T23:59:59.999")),
        ("now-30d/d", "now", ("2026-01-26T00:00:00", "2026-02-25T06:30:00")),
    ],
)
def test_range_of_a_dashboard_is_that_of_grafana(
    since: str, until: str, expected: tuple[str, str]
) -> None:
    now = datetime(2026, 2, 25, 6, 30, tzinfo=UTC)
    found = span_of({"time": {"from": since, "to": until}}, now)
    ends = [datetime.fromisoformat(f"{each}+00:00") for each in expected]
    assert found == Span(*(int(each.timestamp() * 1000) for each in ends))


def test_step_of_a_range_is_not_under_the_panels_least() -> None:
    assert interval_of(Span(0, 3600 * 1000), "10s") == "10s"
    assert interval_of(Span(0, 3600 * 1000), "") == "10s"
    assert interval_of(Span(0, 7 * 86_400 * 1000), "1m") == "1800s"
    with pytest.raises(ValueError, match="no time"):
        span_of({"time": {"from": "yesterday", "to": "now"}}, datetime.now(UTC))
