"""Which alerts fire, when, and when they clear: the provisioned rules over told stories."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.alert_scenarios import Scenario, cases
from tests.alerting import Ask, Change, Provisioned, intervals, provisioned, run
from tests.conftest import Databases
from tests.prometheus import MISSING, Prometheus, is_here, running
from tools.watch.expressions import Value, number, series

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

QUERIES_AT_ONCE = 400
POINTS_AT_ONCE = 10_000


def influx_answers(databases: Databases, database: str, queries: Sequence[str]) -> Iterator[Value]:
    """Each query's series with their tags as labels, as Grafana makes frames of them."""
    server = databases.server
    headers = {}
    if server.token:
        headers = {"Authorization": f"Token {server.token}"}
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        batch = queries[first : first + QUERIES_AT_ONCE]
        fields = {"q": ";".join(batch), "db": database, "epoch": "s"}
        answer = server.http.request(
            "POST", f"{server.url}/query", fields=fields, headers=headers, encode_multipart=False
        )
        results = json.loads(answer.data)["results"]
        assert len(results) == len(batch)
        for text, result in zip(batch, results, strict=True):
            assert "error" not in result, f"{text}: {result}"
            yield [
                series(
                    frozenset(each.get("tags", {}).items()),
                    {at: value for at, value in each["values"] if value is not None},
                )
                for each in result.get("series", ())
            ]


def prometheus_answers(
    prometheus: Prometheus, rules: Sequence[Provisioned], since: int, until: int
) -> Callable[[str, int], Value]:
    """Answers instant queries of the rules from one range query each."""
    known: dict[str, dict[int, Value]] = {}
    for rule in rules:
        for source, text, _ in rule.queries(since):
            if source != "prometheus" or text in known:
                continue
            known[text] = {}
            for first in range(since, until, POINTS_AT_ONCE * 60):
                last = min(until, first + (POINTS_AT_ONCE - 1) * 60)
                for each in prometheus.range(text, first, last, 60):
                    labels = frozenset(each["metric"].items())
                    for at, value in each["values"]:
                        if not math.isnan(float(value)):
                            known[text].setdefault(int(at), []).append(number(float(value), labels))
    return lambda text, at: known[text].get(at, [])


def test_there_is_a_story_of_firing_for_every_alert() -> None:
    told = {each.alert for path in cases() for each in Scenario(path).expected}
    assert told == {rule.title for rule in provisioned()}


def watched(
    databases: Databases, scenario: Scenario, prometheus: Callable[[str, int], Value]
) -> Ask:
    """Answers of all sources; a story without an Asterisk has nothing in the live database."""
    stored = {"usage-daily": databases.daily}
    if scenario.has_live:
        stored["asterisk-live"] = live(databases)

    def ask(queries: Sequence[tuple[str, str, int]]) -> list[Value]:
        answers = {
            source: influx_answers(
                databases, database, [text for each, text, _ in queries if each == source]
            )
            for source, database in stored.items()
        }
        return [
            prometheus(text, at)
            if source == "prometheus"
            else next(answers[source])
            if source in answers
            else []
            for source, text, at in queries
        ]

    return ask


def live(databases: Databases) -> str:
    return f"{databases.prefix}asterisk_live"


def told_and_found(scenario: Scenario, changes: Sequence[Change], names: set[str]) -> list[str]:
    """Each firing that is not as the story says, in words."""
    found = sorted(intervals(changes), key=lambda each: (each[0], each[2]))
    wanted = sorted(
        (each for each in scenario.expected if each.alert in names),
        key=lambda each: (each.alert, each.fires),
    )
    said = [
        f"{alert} {dict(labels) or ''} {scenario.spoken(begin)}"
        f" to {scenario.spoken(end) if end else 'the end'}"
        for alert, labels, begin, end in found
    ]
    if [alert for alert, *_ in found] != [each.alert for each in wanted]:
        return said or ["nothing fired"]
    return [
        words
        for (_, _, begin, end), told, words in zip(found, wanted, said, strict=True)
        if not told.fires[0] <= begin <= told.fires[1]
        or (end is None) != (told.clears is None)
        or (end and told.clears and not told.clears[0] <= end <= told.clears[1])
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_the_alerts_of_a_story_fire_and_clear_when_it_says(
    path: Path, databases: Databases, tmp_path: Path
) -> None:
    scenario = Scenario(path)
    databases.server.create(databases.daily)
    if scenario.has_live:
        databases.server.create(live(databases))
        points = [line.text for line in scenario.live_lines()]
        for first in range(0, len(points), POINTS_AT_ONCE):
            databases.server.write(
                live(databases), "\n".join(points[first : first + POINTS_AT_ONCE])
            )
    waiting = sorted(scenario.lines(), key=lambda line: line.visible)

    def appear(hour: int) -> None:
        ready = []
        while waiting and waiting[0].visible < hour + 3600:
            ready.append(waiting.pop(0).text)
        if ready:
            databases.server.write(databases.daily, "\n".join(ready))

    def changes(
        rules: Sequence[Provisioned], prometheus: Callable[[str, int], Value]
    ) -> list[Change]:
        ask = watched(databases, scenario, prometheus)
        return run(
            rules, scenario.watch, scenario.end, ask, before=appear, is_quiet=scenario.is_quiet
        )

    rules = provisioned()
    if is_here():
        with running(tmp_path / "prometheus", scenario.samples()) as prometheus:
            answers = prometheus_answers(prometheus, rules, scenario.watch, scenario.end)
            found = changes(rules, answers)
        assert not told_and_found(scenario, found, {rule.title for rule in rules})
        return
    rules = [rule for rule in rules if "prometheus" not in rule.sources()]
    names = {rule.title for rule in rules}
    assert not told_and_found(scenario, changes(rules, lambda _text, _at: []), names)
    if any(each.alert not in names for each in scenario.expected):
        pytest.skip(f"{MISSING}; alerts over its metrics are not evaluated")
