"""The dialplan's own metrics: what is stored of each form of UserEvent, and what is left out."""

from __future__ import annotations

import pytest

from collector.intakes.ami.message import Message
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.user_events import MOST_NAMES


def event(**headers: str) -> Message:
    return Message("UserEvent", {"Privilege": "user,all", "UserEvent": "Metric", **headers})


def metric(**headers: str) -> dict[str, dict[str, object]]:
    """What is stored of one metric of the dialplan, by name."""
    state = State("pbx")
    state.take(event(**headers), 0)
    found = [point for point in state.flush(0) if point.measurement == "user_events"]
    assert len(found) + state.drops.total() == 1
    return {point.tags["name"]: dict(point.fields) for point in found}


METRICS = {
    "plain": ({"Name": "a", "Value": "3"}, {"a": {"count": 1, "sum": 3.0}}),
    "exponent": ({"Name": "a", "Value": "1e3"}, {"a": {"count": 1, "sum": 1000.0}}),
    "negative gauge": (
        {"Name": "a", "Value": "-1.5", "Type": "gauge"},
        {"a": {"count": 1, "value": -1.5}},
    ),
    "upper case": ({"Name": "a", "Value": "1", "Type": "Gauge"}, {"a": {"count": 1, "value": 1.0}}),
    "timer": (
        {"Name": "a", "Value": "0.25", "Type": "timer"},
        {"a": {"count": 1, **{f"timer_{one}": 0.25 for one in ("p50", "p90", "p99", "max")}}},
    ),
    "not a number": ({"Name": "a", "Value": "nan"}, {}),
    "infinite": ({"Name": "a", "Value": "inf"}, {}),
    "too large": ({"Name": "a", "Value": "1e999"}, {}),
    "text": ({"Name": "a", "Value": "abc"}, {}),
    "empty": ({"Name": "a", "Value": ""}, {}),
    "no value": ({"Name": "a"}, {}),
    "no name": ({"Value": "1"}, {}),
    "other digits": ({"Name": "a", "Value": "\u0661"}, {}),
    "underscore": ({"Name": "a", "Value": "1_000"}, {}),
    "unknown type": ({"Name": "a", "Value": "1", "Type": "set"}, {}),
    "control characters": ({"Name": "a\r\nb\x00", "Value": "1"}, {"a b": {"count": 1, "sum": 1.0}}),
    "the caller's number": ({"Name": "caller.4930", "Value": "1", "CallerIDNum": "4930"}, {}),
    "the caller's name": ({"Name": "by.Rita", "Value": "1", "CallerIDName": "rita"}, {}),
    "a part of the name": ({"Name": "by.rita", "Value": "1", "CallerIDName": "Rita M"}, {}),
    "within a word": ({"Name": "callrita", "Value": "1", "CallerIDNum": "rita"}, {}),
    "the endpoint": ({"Name": "by-rita", "Value": "1", "Channel": "PJSIP/rita-00000001"}, {}),
    "the account": ({"Name": "a.x9", "Value": "1", "AccountCode": "x9"}, {}),
    "a long number": ({"Name": "from.+49 30-1234", "Value": "1"}, {}),
    "an address": ({"Name": "from.192.0.2.17", "Value": "1"}, {}),
    "an unknown caller": (
        {"Name": "unknown", "Value": "1", "CallerIDNum": "<unknown>"},
        {"unknown": {"count": 1, "sum": 1.0}},
    ),
    "a short number": (
        {"Name": "menu.choice.12", "Value": "1"},
        {"menu.choice.12": {"count": 1, "sum": 1.0}},
    ),
}


@pytest.mark.parametrize("case", METRICS)
def test_metric_of_the_dialplan(case: str) -> None:
    headers, stored = METRICS[case]
    assert metric(**headers) == stored


def test_counter_that_would_be_infinite_is_left_out() -> None:
    state = State("pbx")
    for _ in range(3):
        state.take(event(Name="a", Value="1e308"), 0)
    (point,) = (p for p in state.flush(0) if p.measurement == "user_events")
    assert point.fields == {"count": 1, "sum": 1e308}
    assert state.drops == {"user-event-malformed": 2}


def test_new_name_takes_the_place_of_one_that_has_not_come_for_a_day() -> None:
    state, hour = State("pbx"), 3600 * 10**9
    for number in range(MOST_NAMES):
        state.take(event(Name=f"m{number}", Value="1"), number)
    state.take(event(Name="early", Value="1"), 23 * hour)
    assert state.drops == {"user-event-names": 1}
    state.take(event(Name="m0", Value="1"), 23 * hour)
    state.take(event(Name="late", Value="1"), 25 * hour)
    state.take(event(Name="m1", Value="1"), 25 * hour)
    assert state.drops == {"user-event-names": 1}
    names = {point.tags["name"] for point in state.flush(25 * hour) if "name" in point.tags}
    assert {"late", "m0", "m1"} <= names
    assert "early" not in names
