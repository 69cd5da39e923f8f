"""Mapping files in statsd_exporter's form: which rule a name matches, and what it becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.intakes.statsd.mapping import (
    MappingError,
    MetricType,
    Target,
    read,
    shipped,
)
from collector.intakes.statsd.names import NAME_MAX
from collector.schema.live import STATSD_MEASUREMENTS

# The example of statsd_exporter's own description, in our own words.
EXAMPLE = """
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  labels: {processor: "$1", action: "$2", outcome: "$3", job: "test_dispatcher"}
- match: "*.signup.*.*"
  name: "signup_events_total"
  help: "sign-ups"
  ttl: 1m
  labels: {provider: "$2", outcome: "$3", job: "${1}_server"}
- match: 'test\\.(\\w+)\\.(\\w+)\\.counter'
  match_type: regex
  name: "${2}_total"
  labels: {provider: "$1"}
- match: "."
  match_type: regex
  action: drop
  name: "dropped"
"""


MD5 = "0a" * 16


def found(text: str, name: str, kind: MetricType = "counter") -> tuple[str, dict[str, str]] | str:
    """The measurement and tags of a name; `drop`, or `none` where no rule matches."""
    target = read(text).find(name, kind)
    if isinstance(target, Target):
        return target.measurement, dict(target.tags)
    return target or "none"


def test_example_of_the_form_gives_what_statsd_exporter_gives() -> None:
    assert found(EXAMPLE, "test.dispatcher.FooProcessor.send.success") == (
        "dispatcher_events_total",
        {
            "processor": "FooProcessor",
            "action": "send",
            "outcome": "success",
            "job": "test_dispatcher",
        },
    )
    assert found(EXAMPLE, "foo_product.signup.facebook.failure") == (
        "signup_events_total",
        {"provider": "facebook", "outcome": "failure", "job": "foo_product_server"},
    )
    assert found(EXAMPLE, "test.web.hits.counter") == ("hits_total", {"provider": "web"})
    assert found(EXAMPLE, "test.web-server.foo.bar") == "drop"


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        ("{match: a.*, name: first}, {match: a.b, name: second}", "a.b", ("first", {})),
        ("{match: a.b, name: first}, {match: a.*, name: second}", "a.c", ("second", {})),
        ("{match: a.*, name: m}", "a.b.c", "none"),
        ("{match: a.*, name: m}", "a", "none"),
        ("{match: a.*, name: m, labels: {x: $1}}", "a.", ("m", {"x": ""})),
        ("{match: a.*.*, name: '${2}_of_$1'}", "a.b.c", ("c_of_b", {})),
        # Characters that no measurement of Prometheus has become underscores.
        ("{match: a.*, name: x_$1}", "a.größe-1", ("x_gr__e_1", {})),
        ("{match: '*', name: $1}", "7up", ("_7up", {})),
        ("{match: '*', name: $1}", "statsd_traffic", ("_statsd_traffic", {})),
        ("{match: .+, match_type: regex, name: $0, labels: {n: $0}}", "a.b", ("a_b", {"n": "a.b"})),
        # Regexes come after all globs, wherever they stand.
        (
            "{match: a.*, match_type: regex, name: late}, {match: a.b, name: soon}",
            "a.b",
            ("soon", {}),
        ),
        # An optional group that did not match is empty.
        ("{match: 'a(x)?', match_type: regex, name: m, labels: {x: $1}}", "a", ("m", {"x": ""})),
        ("{match: a.*, action: drop}, {match: a.b, name: m}", "a.b", "drop"),
        ("{match: a, match_metric_type: gauge, name: m}", "a", "none"),
        ("{match: a, match_metric_type: gauge, name: g}, {match: a, name: m}", "a", ("m", {})),
    ],
)
def test_first_rule_that_matches_wins(
    rules: str, name: str, expected: tuple[str, dict[str, str]] | str
) -> None:
    assert found(f"mappings: [{rules}]", name) == expected


def test_without_ordering_the_more_specific_glob_wins_from_left_to_right() -> None:
    rules = "[{match: '*.*', name: any}, {match: a.*, name: a}, {match: '*.b', name: b}]"
    loose = f"defaults: {{glob_disable_ordering: true}}\nmappings: {rules}"
    assert found(f"mappings: {rules}", "a.b") == ("any", {})
    assert found(loose, "a.b") == ("a", {})
    assert found(loose, "c.b") == ("b", {})
    assert found(loose, "c.d") == ("any", {})


def test_type_of_match_may_be_a_default() -> None:
    text = "defaults: {match_type: regex}\nmappings: [{match: '^a', name: m}]"
    assert found(text, "ab") == ("m", {})


@pytest.mark.parametrize("kind", ["timer", "histogram", "observer"])
def test_timers_are_observers(kind: str) -> None:
    text = f"mappings: [{{match: a, match_metric_type: {kind}, name: m}}]"
    assert found(text, "a", "observer") == ("m", {})
    assert found(text, "a", "set") == "none"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "no YAML"),
        ("[1]", "no `mappings`"),
        ("mappings: 3", "no list"),
        ("mapping: []", "'mapping'"),
        ("defaults: 3", "no table"),
        ("defaults: {timeout: 1}", "'timeout'"),
        ("mappings: [3]", "rule 1 is no table"),
        ("mappings: [{name: x}]", "rule 1 has no `match`"),
        ("mappings: [{match: a, name: m}, {match: b}]", "rule 2 (match 'b') has no `name`"),
        ("mappings: [{match: a, name: m, lables: {}}]", "'lables'"),
        ("mappings: [{match: a*, name: m}]", "whole part"),
        ("mappings: [{match: '(', match_type: regex, name: m}]", "no regular expression"),
        ("mappings: [{match: a, match_type: fnmatch, name: m}]", "glob or regex"),
        ("mappings: [{match: a, match_metric_type: meter, name: m}]", "counter, gauge"),
        ("mappings: [{match: a, name: m, action: delete}]", "map or drop"),
        ("mappings: [{match: a.*, name: m, labels: {x: $2}}]", "$2 refers to nothing"),
        ("mappings: [{match: a, name: 3}]", "`name` is no text"),
        ("mappings: [{match: a, name: statsd_traffic}]", "itself writes"),
        ("mappings: [{match: a, name: queues}]", "itself writes"),
        ("mappings: [{match: a, name: m, labels: [x]}]", "`labels` is no table"),
        ("mappings: [{match: a, name: m, labels: {a-b: x}}]", "'a-b'"),
        ("mappings: [{match: a, name: m, labels: {asterisk: x}}]", "'asterisk'"),
        ("mappings: [{match: a, name: m, labels: {x: []}}]", "no text"),
        ("mappings: [{match: a, name: m, field: uncertain}]", "'uncertain'"),
        ("mappings: [{match: a, name: m, scale: 0}]", "`scale`"),
        ("mappings: [{match: a, name: m, scale: true}]", "`scale`"),
        ("mappings: [{match: a, name: m, honor_labels: 1}]", "neither true nor false"),
    ],
)
def test_file_that_cannot_be_used_is_refused_with_its_rule_and_reason(
    text: str, words: str
) -> None:
    with pytest.raises(MappingError) as refused:
        read(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def outcome(text: str) -> str:
    try:
        read(text).find("a.b", "gauge")
    except MappingError as refused:
        return str(refused)
    return "usable"


@given(st.text(max_size=60))
def test_any_text_is_a_mapping_or_refused_by_name(text: str) -> None:
    assert outcome(text)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("channels.count", "gauge", ("channels", {})),
        ("endpoints.count", "gauge", ("endpoints", {"state": "all"})),
        ("endpoints.state.online", "gauge", ("endpoints", {"state": "online"})),
        (
            "endpoints.PJSIP.dr.dan.channels",
            "gauge",
            ("endpoint_channels", {"endpoint": "PJSIP/dr.dan"}),
        ),
        (
            "endpoints.PJSIP.a.channels.channels",
            "gauge",
            ("endpoint_channels", {"endpoint": "PJSIP/a.channels"}),
        ),
        (
            "endpoints.IAX2.remote-b.channels",
            "gauge",
            ("endpoint_channels", {"endpoint": "IAX2/remote-b"}),
        ),
        (
            "PJSIP.contacts.states.NonQualified",
            "gauge",
            ("pjsip_contacts", {"state": "NonQualified"}),
        ),
        ("PJSIP.registrations.count", "gauge", ("pjsip_registrations", {"state": "all"})),
        (
            "PJSIP.registrations.state.Rejected",
            "gauge",
            ("pjsip_registrations", {"state": "Rejected"}),
        ),
        (
            "PJSIP.contacts.pbx.example.org;@" + MD5 + ".rtt",
            "observer",
            ("pjsip_rtt", {"aor": "pbx.example.org"}),
        ),
        (
            "PJSIP.contacts.+4930123456;@" + MD5 + ".rtt",
            "observer",
            ("pjsip_rtt", {"aor": "+4930123456"}),
        ),
        ("PJSIP.contacts.joe@@" + MD5 + ".rtt", "observer", ("pjsip_rtt", {"aor": "joe"})),
        ("PJSIP.contacts.a;@b@@" + MD5 + ".rtt", "observer", ("pjsip_rtt", {"aor": "a;@b"})),
        ("stasis.message.ast_channel_snapshot_type", "counter", "drop"),
        ("channels.calltime", "observer", "none"),
        ("confBridgeUsers", "gauge", "none"),
    ],
)
def test_shipped_rules_know_all_that_asterisks_own_modules_send(
    name: str, kind: MetricType, expected: tuple[str, dict[str, str]] | str
) -> None:
    target = shipped().find(name, kind)
    told = (target.measurement, dict(target.tags)) if isinstance(target, Target) else target
    assert (told or "none") == expected
    if isinstance(target, Target):
        (measurement,) = (one for one in STATSD_MEASUREMENTS if one.name == target.measurement)
        assert {tag.name for tag in measurement.tags} == {"asterisk", *target.tags}
        if kind == "gauge":
            assert target.field in {field.name for field in measurement.fields}


def test_name_too_long_to_be_compared_matches_no_rule() -> None:
    assert found("mappings: [{match: '*', name: m}]", "x" * NAME_MAX) == ("m", {})
    assert found("mappings: [{match: '*', name: m}]", "x" * (NAME_MAX + 1)) == "none"
