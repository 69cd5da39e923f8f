"""The simulation of a day keeps every report in account, and reproduces what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools import scaling_page
from tools.contract import fill
from tools.scaling import (
    DAY_S,
    Death,
    Kind,
    Plant,
    Rates,
    Stream,
    case,
    constant,
    day_of,
    differs,
    simulate,
)

pytestmark = pytest.mark.no_cover  # the project's tools are not measured

ROOT = Path(__file__).parents[2]
HOUR = 3600
RATES = Rates(accept_s=1 / 1000, deliver_s=1 / 2000, store_per_s=1500, outbox_bytes=1000)
ONE = Plant(receivers=1, influx_nodes=1, copies=1)
MINUTE = 60.0


def test_day_has_as_many_reports_as_it_is_given() -> None:
    arrivals = day_of(1_000_000)
    assert sum(arrivals(second) for second in range(DAY_S)) == pytest.approx(1_000_000)


def test_each_report_is_stored_or_lost() -> None:
    deaths = (Death(Kind.RECEIVER, HOUR, 600), Death(Kind.INFLUX, 2 * HOUR, 600))
    plant = replace(ONE, receivers=2)
    arrivals = day_of(40_000_000)
    done = simulate(arrivals, RATES, plant, deaths, seconds=3 * HOUR)
    assert done.arrived == pytest.approx(sum(arrivals(second) for second in range(3 * HOUR)))
    assert done.accepted + done.lost == pytest.approx(done.arrived, abs=1)
    assert done.stored == pytest.approx(done.accepted, abs=1)


def test_burst_within_the_connections_waits_and_a_greater_one_is_refused() -> None:
    def burst(per_s: float) -> float:
        done = simulate(lambda now: per_s if now < 1 else 0.0, RATES, ONE, seconds=10)
        return done.lost

    assert burst(1000 + ONE.connections) == 0
    assert burst(1500 + ONE.connections) == pytest.approx(500)


def test_outage_of_influxdb_is_a_backlog_that_is_delivered_by_what_is_left_of_the_time() -> None:
    away = (Death(Kind.INFLUX, 0, MINUTE),)
    done = simulate(constant(500), RATES, ONE, away, seconds=2 * MINUTE)
    # Half of the core accepts, so the other delivers 1000/s: 30 000 wait, and fall by 500/s.
    assert done.most_in_an_outbox == pytest.approx(500 * MINUTE)
    assert done.drained_s == pytest.approx(2 * MINUTE, abs=2)
    assert done.longest_unstored_s == pytest.approx(MINUTE, abs=2)
    assert done.lost == 0


def test_full_outbox_refuses_what_its_connections_cannot_hold() -> None:
    away = (Death(Kind.INFLUX, 0, MINUTE),)
    small = replace(ONE, outbox_max=10_000 * RATES.outbox_bytes)
    done = simulate(constant(500), RATES, small, away, seconds=MINUTE)
    assert done.most_in_an_outbox == pytest.approx(10_000)
    assert done.lost == pytest.approx(500 * MINUTE - 10_000 - small.connections, abs=1)


def test_receiver_that_dies_leaves_its_load_to_the_others_and_delivers_its_outbox_later() -> None:
    dies = (Death(Kind.RECEIVER, 30, MINUTE),)
    two = replace(ONE, receivers=2)
    assert simulate(constant(900), RATES, two, dies, seconds=2 * MINUTE).lost == 0
    assert simulate(constant(1500), RATES, two, dies, seconds=2 * MINUTE).lost > 0
    alone = simulate(constant(100), RATES, ONE, dies, seconds=2 * MINUTE)
    assert alone.lost == pytest.approx(100 * MINUTE)


def test_one_copy_stops_with_its_node_and_two_copies_go_on_at_the_rate_that_is_left() -> None:
    dies = (Death(Kind.INFLUX, 0, MINUTE),)
    rates = replace(RATES, deliver_s=1 / 10_000)
    one = replace(ONE, receivers=4, influx_nodes=4)
    two = replace(one, copies=2)
    assert simulate(constant(2000), rates, one, dies, seconds=10).longest_unstored_s > 50
    # Three nodes of 1500/s hold two copies of 2250/s.
    assert simulate(constant(2200), rates, two, dies, seconds=10).longest_unstored_s < 2
    assert simulate(constant(2500), rates, two, dies, seconds=10).longest_unstored_s > 1


def test_stream_takes_an_outage_of_influxdb_off_the_receivers() -> None:
    away = (Death(Kind.INFLUX, 0, MINUTE), Death(Kind.STREAM, 0, MINUTE))
    stream = Stream(publish_per_s=1000, writer_per_s=800)
    done = simulate(constant(500), RATES, ONE, away, seconds=MINUTE, stream=stream)
    assert done.most_in_an_outbox == 0
    assert done.most_in_the_stream == pytest.approx(500 * MINUTE)
    # Two writers and InfluxDB store 1500/s of 30 000.
    assert done.drained_s == pytest.approx(MINUTE + 20, abs=2)
    slow = (Death(Kind.WRITER, 0, 2 * MINUTE),)
    stream = replace(stream, writer_per_s=300)
    done = simulate(constant(400), RATES, ONE, slow, seconds=MINUTE, stream=stream)
    assert done.most_in_the_stream == pytest.approx(100 * MINUTE, rel=0.05)
    gone = (Death(Kind.STREAM, 0, MINUTE),) * 2
    done = simulate(constant(100), RATES, ONE, gone, seconds=MINUTE, stream=stream)
    assert done.most_in_an_outbox == pytest.approx(100 * MINUTE)
    assert done.stored == pytest.approx(100 * MINUTE, abs=1)


def test_page_is_what_the_figures_say() -> None:
    page = scaling_page.PAGE.read_text(encoding="utf-8")
    made = fill(page, scaling_page.tables(), "tools.scaling_page")
    assert made == page, "run `python -m tools.scaling_page`"


def test_figure_that_a_section_does_not_have_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    own = ROOT / "bench/scaling.json"
    (tmp_path / "bench/scaling.json").write_text(own.read_text(encoding="utf-8"))
    (tmp_path / "bench/results.json").write_text('{"drain": "", "footprint": "", "rollup": ""}')
    with pytest.raises(ValueError, match="section drain says nothing like"):
        scaling_page.read(tmp_path)


def test_plant_that_can_never_store_the_load_is_an_error() -> None:
    never = (Death(Kind.INFLUX, 0, 400 * DAY_S),)
    with pytest.raises(ValueError, match="never drained"):
        simulate(constant(1), RATES, ONE, never, seconds=1, step_s=HOUR)


def test_measured_case_is_reproduced_within_a_fifth() -> None:
    measured = json.loads((ROOT / "bench/scaling.json").read_text(encoding="utf-8"))
    found = case(measured["rounds"])
    assert found
    for simulated, one in found:
        assert differs(simulated.drained_s, one["case_drained_s"]) < 0.2
        assert differs(simulated.accepted, one["case_arrivals_per_s"] * one["case_load_s"]) < 0.2
