"""Every type of StatsD against an oracle in plain Python: the definition, without any shortcut."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import pytest

from collector.intakes.series import Series
from collector.intakes.statsd import sets, timers
from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import read, shipped
from collector.intakes.statsd.sets import DistinctValues
from collector.intakes.statsd.timers import Timer
from tests.length import repeat, seeds

NOW = 1_795_622_400 * 10**9
SERIES = Series("statsd_timer", (("name", "t"),))

Fields = Mapping[str, float | int | str]
RATES = {
    "": Fraction(1),
    "|@0.50": Fraction(1, 2),
    "|@0.10": Fraction(1, 10),
    "|@1.00": Fraction(1),
}


def quantile(weighted: list[tuple[Fraction, Fraction]], share: Fraction) -> float:
    """The smallest value that at least this share of all weight does not exceed."""
    total = sum(weight for _, weight in weighted)
    return float(
        min(
            value
            for value, _ in weighted
            if sum(weight for other, weight in weighted if other <= value) >= share * total
        )
    )


class Oracle:
    """What one flush of StatsD is, by definition. All sums are exact fractions."""

    def __init__(self) -> None:
        self.gauges: dict[str, Fraction] = {}
        self.clear()

    def clear(self) -> None:
        self.counters: Counter[str] = Counter()
        self.timers: dict[str, list[tuple[Fraction, Fraction]]] = {}
        self.sets: dict[str, set[str]] = {}

    def take(self, name: str, value: str, kind: str, rate: Fraction) -> None:
        match kind:
            case "c" | "m":
                self.counters[name] += Fraction(value) / rate  # type: ignore[assignment]
            case "g" if value[0] in "+-":
                # A gauge of things is never under 0.
                changed = self.gauges.get(name, Fraction()) + Fraction(value)
                self.gauges[name] = max(changed, Fraction())
            case "g":
                self.gauges[name] = Fraction(value)
            case "ms" | "h" | "d":
                self.timers.setdefault(name, []).append((Fraction(value), 1 / rate))
            case _:
                self.sets.setdefault(name, set()).add(value)

    def flush(self) -> dict[tuple[str, str], Fields]:
        told: dict[tuple[str, str], Fields] = {}
        for name, increments in self.counters.items():
            told["statsd_counter", name] = {"value": float(increments)}
        for name, value in self.gauges.items():
            told["statsd_gauge", name] = {"value": float(value)}
        for name, values in self.sets.items():
            told["statsd_set", name] = {"count": float(len(values))}
        for name, weighted in self.timers.items():
            count = sum((weight for _, weight in weighted), Fraction())
            total = sum((value * weight for value, weight in weighted), Fraction())
            told["statsd_timer", name] = {
                "count": float(count),
                "sum": float(total),
                "mean": float(total / count),
                "min": float(min(weighted)[0]),
                "max": float(max(weighted)[0]),
                "p50": quantile(weighted, Fraction(1, 2)),
                "p90": quantile(weighted, Fraction(9, 10)),
                "p99": quantile(weighted, Fraction(99, 100)),
            }
        self.clear()
        return told


def stored(aggregator: Aggregator, now_ns: int) -> dict[tuple[str, str], Fields]:
    """The points of a flush, but for the traffic's; without `uncertain`."""
    return {
        (point.measurement, point.tags["name"]): {
            name: value for name, value in point.fields.items() if name != "uncertain"
        }
        for point in aggregator.flush(now_ns)
        if point.measurement != "statsd_traffic"
    }


def sample(rng: random.Random) -> tuple[str, str, str, str]:
    """Name, value, type and rate of a random sample."""
    kind = rng.choice(["c", "g", "ms", "s", "m", "h", "d"])
    name = f"{rng.choice('abc')}.{kind}"
    rate = rng.choice(list(RATES))
    size = str(rng.choice([rng.randint(0, 20), rng.randint(0, 400), rng.randint(0, 4000) / 8]))
    sign = rng.choice(["", "+", "-"])
    match kind:
        case "ms":
            return name, size, kind, rate
        case "s":
            return name, rng.choice(["", "x:", "a b "]) + size, kind, ""
        case "g":
            return name, sign + size, kind, ""
        case _:
            return name, sign + size, kind, rate


@pytest.mark.parametrize("seed", seeds(3, 40))
def test_counters_gauges_timers_and_sets_are_what_the_oracle_says(seed: int) -> None:
    rng = random.Random(seed)
    aggregator, oracle = Aggregator("pbx", shipped()), Oracle()
    now = NOW
    for _ in range(30):
        for _ in range(rng.randint(0, 120)):
            # More than a second apart: `0` and `-7` at once would set a gauge to -7.
            now += 2 * 10**9
            samples = [sample(rng) for _ in range(rng.choice([1, 1, 1, 4]))]
            for name, value, kind, rate in samples:
                oracle.take(name, value, kind, RATES[rate])
            form = "\n".join(f"{name}:{value}|{kind}{rate}" for name, value, kind, rate in samples)
            aggregator.take(form.encode(), now)
        assert stored(aggregator, now) == {
            key: pytest.approx(fields, rel=1e-12) for key, fields in oracle.flush().items()
        }
    assert aggregator.counts.drops.total() == 0


def test_gauge_is_set_to_a_negative_value_by_zero_and_the_value() -> None:
    aggregator = Aggregator("pbx", shipped())
    aggregator.take(b"balance:0|g\nbalance:-7|g\nbalance:-1|g", NOW)
    assert stored(aggregator, NOW)["statsd_gauge", "balance"] == {"value": -8}
    assert aggregator.counts.underflows == 0


@pytest.mark.parametrize("seed", seeds(2, 20))
def test_packed_and_several_values_are_as_many_lines(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(repeat(50, 500)):
        values = [str(rng.randint(0, 50)) for _ in range(rng.randint(1, 9))]
        kind = rng.choice(["ms", "h", "d"])
        forms = (
            f"t:{':'.join(values)}|{kind}",
            "t:" + ":".join(f"{value}|{kind}" for value in values),
            f"t:{':'.join(values)}|{kind}|c:box",
            "\n".join(f"t:{value}|{kind}" for value in values),
        )
        found = []
        for form in forms:
            aggregator = Aggregator("pbx", shipped())
            aggregator.take(form.encode(), NOW)
            found.append(stored(aggregator, NOW))
        assert all(one == found[0] for one in found)


def exact(values: list[float]) -> dict[str, float]:
    """Quantiles by nearest rank."""
    ordered = sorted(values)
    return {
        field: ordered[math.ceil(share * len(ordered)) - 1]
        for field, share in timers.QUANTILES.items()
    }


def test_timer_is_exact_up_to_its_bound_and_within_its_error_above() -> None:
    for seed in seeds(3, 20):
        rng = random.Random(seed)
        values = [
            rng.choice([rng.lognormvariate(3, 2), float(rng.randint(0, 30)), rng.gauss(0, 50)])
            for _ in range(timers.EXACT + 1)
        ]
        timer = Timer(SERIES)
        for value in values[:-1]:
            timer.add(value)
        fields = timer.flush()
        assert "approximate" not in fields
        assert {name: fields[name] for name in timers.QUANTILES} == exact(values[:-1])
        for value in values:
            timer.add(value)
        fields = timer.flush()
        assert fields["approximate"] == len(values)
        assert fields["count"] == len(values)
        assert fields["sum"] == pytest.approx(math.fsum(values), rel=1e-9, abs=1e-6)
        assert (fields["min"], fields["max"]) == (min(values), max(values))
        for name, value in exact(values).items():
            assert fields[name] == pytest.approx(value, rel=timers.ERROR * 1.001)


def test_timer_over_its_bound_weighs_by_sample_rate() -> None:
    timer = Timer(SERIES)
    for at in range(timers.EXACT + 500):
        timer.add(100.0 if at % 2 else 1.0, 1.0 if at % 2 else 10.0)
    fields = timer.flush()
    assert fields["count"] == (timers.EXACT + 500) / 2 * 11
    assert fields["p50"] == pytest.approx(1, rel=timers.ERROR)
    assert fields["p99"] == pytest.approx(100, rel=timers.ERROR)


def test_buckets_of_a_timer_are_bounded_whatever_arrives() -> None:
    rng = random.Random(5)
    timer = Timer(SERIES)
    for _ in range(timers.EXACT + 20_000):
        timer.add(rng.choice([-1, 1]) * 10 ** rng.uniform(-100, 100))
    fields = timer.flush()
    assert fields["min"] <= fields["p50"] <= fields["p90"] <= fields["p99"] <= fields["max"]


@pytest.mark.parametrize("distinct", [0, 1, sets.EXACT, sets.EXACT + 1, 20_000, 100_000])
def test_set_is_exact_up_to_its_bound_and_near_above(distinct: int) -> None:
    values = DistinctValues(Series("statsd_set", (("name", "s"),)))
    for at in range(distinct):
        values.add(b"caller-%d" % at)
        values.add(b"caller-%d" % (at // 2))
    # Five times the standard error.
    error = 5 / math.sqrt(sets.EXACT - 2) if distinct > 2 * sets.EXACT else 0
    assert values.flush() == {"count": pytest.approx(distinct, rel=error)}
    assert values.flush() == {"count": 0}


def test_scale_of_a_rule_applies_to_every_type() -> None:
    rules = "mappings: [{match: x.*, name: made, scale: 0.001, labels: {kind: $1}}]"
    aggregator = Aggregator("pbx", read(rules))
    aggregator.take(b"x.c:5|c\nx.g:7|g\nx.g:+1000|g\nx.t:250|ms\nx.t:750|ms", NOW)
    fields = {p.tags["kind"]: p.fields for p in aggregator.flush(NOW) if "kind" in p.tags}
    assert fields["c"] == {"value": pytest.approx(0.005)}
    assert fields["g"]["value"] == pytest.approx(1.007)
    assert fields["t"]["sum"] == pytest.approx(1.0)
    assert fields["t"]["max"] == pytest.approx(0.75)
