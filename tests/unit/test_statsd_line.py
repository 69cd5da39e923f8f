"""The StatsD parser: each form of line is taken, left out with a count, or refused by name."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.drops import Drop, Ignored
from collector.intakes.statsd.line import MOST_SAMPLES, MOST_TAGS, lines, number, parse
from collector.intakes.statsd.mapping import shipped
from tests.length import repeat, seeds
from tools.replay.captures import STATSD, read_capture

NOW = 1_795_622_400 * 10**9

S = tuple[str, str, str, float]
"""Type, name, value and weight of a sample."""


class Case(NamedTuple):
    """A line and what becomes of it."""

    name: str
    line: bytes
    samples: Sequence[S] = ()
    drops: Sequence[Drop] = ()
    ignored: Sequence[Ignored] = ()
    tags: Sequence[tuple[str, str]] = ()


def one(type_: str, value: str, weight: float = 1.0, name: str = "foo") -> tuple[S, ...]:
    return ((type_, name, value, weight),)


# Our own table of the cases that the tests of prometheus/statsd_exporter name, by their meaning.
EXPORTER = [
    Case("empty", b""),
    Case("simple counter", b"foo:2|c", one("c", "2")),
    Case("simple gauge", b"foo:3|g", one("g", "3")),
    Case("gauge with sampling", b"foo:3|g|@0.2", one("g", "3"), ignored=[Ignored.GAUGE_RATE]),
    Case("gauge decrement", b"foo:-10|g", one("g", "-10")),
    Case("simple timer", b"foo:200|ms", one("ms", "200")),
    Case("simple histogram", b"foo:200|h", one("h", "200")),
    Case("simple distribution", b"foo:200|d", one("d", "200")),
    Case(
        "distribution with sampling and tags",
        b"foo:0.01|d|@0.2|#tag1:bar,tag2:baz",
        one("d", "0.01", 5.0),
        tags=[("tag1", "bar"), ("tag2", "baz")],
    ),
    # Asterisk's names have these characters: they are no tags.
    Case("Librato tags", b"foo#t=bar:100|c", one("c", "100", name="foo#t=bar")),
    Case("InfluxDB tags", b"foo,t=bar:100|c", one("c", "100", name="foo,t=bar")),
    Case("SignalFx tags", b"foo.[t=bar]x:100|c", one("c", "100", name="foo.[t=bar]x")),
    Case("SignalFx, one bracket", b"[t=barfoo:100|c", one("c", "100", name="[t=barfoo")),
    Case("DogStatsD tags", b"foo:100|c|#tag1:bar", one("c", "100"), tags=[("tag1", "bar")]),
    Case(
        "DogStatsD tags, # in all keys",
        b"foo:100|c|#tag1:bar,#tag2:baz",
        one("c", "100"),
        tags=[("tag1", "bar"), ("tag2", "baz")],
    ),
    Case(
        "DogStatsD tag that begins with a digit",
        b"foo:100|c|#09digits:0,tag.with.dots:1",
        one("c", "100"),
        ignored=[Ignored.BAD_TAG],
        tags=[("tag.with.dots", "1")],
    ),
    Case(
        "DogStatsD tag without a value",
        b"foo:100|c|#alone,tag:value",
        one("c", "100"),
        ignored=[Ignored.BAD_TAG],
        tags=[("tag", "value")],
    ),
    Case("DogStatsD empty tags", b"foo:9|c|#tag:value,,", one("c", "9"), tags=[("tag", "value")]),
    Case(
        "DogStatsD tags with sampling",
        b"foo:100|c|@0.1|#tag1:bar",
        one("c", "100", 10.0),
        tags=[("tag1", "bar")],
    ),
    Case(
        "mixed tag styles: the one that names have too is part of the name",
        b"foo#t=foo:100|c|#tag1:bar",
        one("c", "100", name="foo#t=foo"),
        tags=[("tag1", "bar")],
    ),
    Case("DogStatsD tag with colons", b"foo:1|c|#tag1:a:b", one("c", "1"), tags=[("tag1", "a:b")]),
    Case(
        "DogStatsD tag with invalid UTF-8",
        b"foo:100|c|#tag:\xc3\x28invalid",
        one("c", "100"),
        tags=[("tag", "\ufffd(invalid")],
    ),
    Case(
        "packed timings with tags",
        b"foo:0.5:120:3000|ms|#tag1:bar",
        [("ms", "foo", value, 1.0) for value in ("0.5", "120", "3000")],
        tags=[("tag1", "bar")],
    ),
    Case(
        "packed timings without tags",
        b"foo:0.5:120:3000|ms",
        [("ms", "foo", value, 1.0) for value in ("0.5", "120", "3000")],
    ),
    Case(
        "packed timings with sampling",
        b"foo:0.5:120|ms|@0.5",
        [("ms", "foo", value, 2.0) for value in ("0.5", "120")],
    ),
    Case("packed histogram", b"foo:1:2|h", [("h", "foo", value, 1.0) for value in "12"]),
    Case("packed distribution", b"foo:1:2|d", [("d", "foo", value, 1.0) for value in "12"]),
    # Without a part of DogStatsD it may be a name of Asterisk's with a colon.
    Case("packed counter without tags", b"ext:100:1|c", one("c", "1", name="ext:100")),
    Case(
        "packed counter with tags",
        b"foo:1:2|c|#a:b",
        [("c", "foo", value, 1.0) for value in "12"],
        tags=[("a", "b")],
    ),
    Case("timer with sampling", b"foo.timing:0.5|ms|@0.1", one("ms", "0.5", 10, "foo.timing")),
    Case("no colon", b"foo", drops=[Drop.MALFORMED]),
    Case("no type", b"foo:1", drops=[Drop.MALFORMED]),
    Case("bad value", b"foo:1o|c", drops=[Drop.BAD_VALUE]),
    Case("illegal rate", b"foo:1|c|@bar", drops=[Drop.BAD_RATE]),
    Case("zero rate", b"foo:2|c|@0", one("c", "2"), ignored=[Ignored.ZERO_RATE]),
    Case("illegal type", b"foo:2|t", drops=[Drop.UNKNOWN_TYPE]),
    Case("empty name", b":100|ms", drops=[Drop.MALFORMED]),
    Case("empty part", b"foo:1|c|", drops=[Drop.UNKNOWN_PART]),
    Case("invalid UTF-8 in a name", b"a\xc3\x28b:1|c", [("c", "a\ufffd(b", "1", 1.0)]),
    Case("half a line", b"cpu:  0.11  -0.05 ( 2.4)", drops=[Drop.MALFORMED]),
    Case("the other half", b"|h|#consumer:Kafka::X,topic:y", drops=[Drop.MALFORMED]),
    Case("container", b"foo:1|c|#t:v|c:abc", one("c", "1"), (), [Ignored.ORIGIN], [("t", "v")]),
    Case("container with colons", b"foo:1|c|c:sha:12", one("c", "1"), (), [Ignored.ORIGIN]),
    Case("container without colon", b"foo:1|c|#t:v|c", drops=[Drop.UNKNOWN_PART]),
    Case("unknown part", b"foo:1|c|@0.1|#t:v|extra:part", drops=[Drop.UNKNOWN_PART]),
    Case("timestamp", b"foo:15|c|#e:v|T1", one("c", "15"), (), [Ignored.TIMESTAMP], [("e", "v")]),
    Case("timestamp without tags", b"foo:42|c|T16565", one("c", "42"), (), [Ignored.TIMESTAMP]),
    Case("timestamp that is none", b"foo:42|c|Tnever", one("c", "42"), (), [Ignored.TIMESTAMP]),
]

# The same of etsy/statsd's tests: what a valid packet is, and what becomes of it.
ETSY = [
    Case("comma as decimal sign", b"foo:0,345345|ms", drops=[Drop.BAD_VALUE]),
    Case("comma in a rate", b"foo:345345|ms|@0,456456", drops=[Drop.BAD_RATE]),
    Case("rate without @", b"foo:345345|ms|0.4", drops=[Drop.UNKNOWN_PART]),
    Case("empty counter", b"foo:|c", drops=[Drop.BAD_VALUE]),
    Case("counter with exponent", b"foo:+10e1|c", one("c", "+10e1")),
    Case("positive counter", b"foo:+10|c", one("c", "+10")),
    Case("negative counter", b"foo:-10|c", one("c", "-10")),
    Case("time with plus sign", b"foo:+1.0|ms", one("ms", "+1.0")),
    Case("time -0.0", b"foo:-0.0|ms", one("ms", "-0.0")),
    Case("empty gauge", b"foo:|g", drops=[Drop.BAD_VALUE]),
    Case("gauge +10.0", b"foo:+10.0|g", one("g", "+10.0")),
    Case("set of text", b"foo:bar|s", one("s", "bar")),
    Case("set of numbers", b"foo:123456|s", one("s", "123456")),
    *(
        Case(f"rate {rate!r}", b"foo:345345|ms|" + rate, drops=[drop])
        for rate, drop in (
            (b"", Drop.UNKNOWN_PART),
            (b"b", Drop.UNKNOWN_PART),
            (b"@", Drop.BAD_RATE),
            (b"@blah", Drop.BAD_RATE),
            (b"@.", Drop.BAD_RATE),
            (b"@.1.", Drop.BAD_RATE),
            (b"@.1.2.3", Drop.BAD_RATE),
            (b"@-1.0", Drop.BAD_RATE),
        )
    ),
    Case("rate over 1", b"foo:345345|ms|@2", one("ms", "345345")),
    Case("rate .2", b"foo:345345|ms|@.2", one("ms", "345345", 5.0)),
    Case("rate 2e-1", b"foo:345345|ms|@2e-1", one("ms", "345345", 5.0)),
    Case("rate 1.0", b"foo:345345|ms|@1.0", one("ms", "345345")),
    Case("counter with fraction and rate", b"foo:1.0|c|@0.1", one("c", "1.0", 10.0)),
    Case("bad test value", b"a_bad_test_value|z", drops=[Drop.MALFORMED]),
    Case("slash in a name", b"fo/o:250|c", one("c", "250", name="fo/o")),
    Case("blank in a name", b"b ar:250|c", one("c", "250", name="b ar")),
    Case("Graphite tags", b"foo;tag1=val1:250|c", one("c", "250", name="foo;tag1=val1")),
    Case(
        "several values, one of them bad",
        b"foo:1|c:x|c:3|ms|@0.5",
        [("c", "foo", "1", 1.0), ("ms", "foo", "3", 2.0)],
        [Drop.BAD_VALUE],
    ),
]

OURS = [
    Case("meter", b"stasis.message.x:1|m", one("m", "1", name="stasis.message.x")),
    Case("set of a SIP URI", b"foo:sip:bob@x.org:5060|s", one("s", "sip:bob@x.org:5060")),
    Case("set of lines", b"nl.set:one\ntwo\n|s", one("s", "one\ntwo\n", name="nl.set")),
    Case("name of a SIP URI", b"sip:a@host:5060:1|c", one("c", "1", name="sip:a@host:5060")),
    Case("timer whose name has a colon", b"sip:alice:320|ms", one("ms", "320", name="sip:alice")),
    Case("leading zeros", b"foo:007|c", one("c", "007")),
    Case("a point alone", b"foo:.|g", drops=[Drop.BAD_VALUE]),
    Case("25 decimals", b"foo:0." + b"12345" * 5 + b"|g", one("g", "0." + "12345" * 5)),
    Case("rate 0.00", b"foo:1|c|@0.00", one("c", "1"), ignored=[Ignored.ZERO_RATE]),
    Case("carriage return", b"foo:1|c\r", one("c", "1")),
    *(
        Case(f"value {value!r}", b"foo:" + value + b"|g", drops=[Drop.BAD_VALUE])
        for value in (b"nan", b"-inf", b"1_0", b" 1", b"0x10", b"1e999", b"1" * 500, b"+", b"\xd9")
    ),
    Case("event", b"_e{5,4}:title|text|#a:b", drops=[Drop.EVENT]),
    Case("service check", b"_sc|name|0|m:message", drops=[Drop.SERVICE_CHECK]),
    Case("data and cardinality", b"foo:1|c|e:it|card:x", one("c", "1"), (), [Ignored.ORIGIN] * 2),
    Case("upper-case type", b"foo:1|C", drops=[Drop.UNKNOWN_TYPE]),
    Case("no type after a value", b"foo:1|", drops=[Drop.MALFORMED]),
    Case("value after the last type", b"foo:1|c:2", one("c", "1"), [Drop.MALFORMED]),
    Case("parts after a rate", b"foo:1|c|@0.5|x", one("c", "1", 2.0), [Drop.UNKNOWN_PART]),
    Case("DogStatsD without a value", b"foo|c|#a:b", drops=[Drop.MALFORMED]),
    Case("DogStatsD with a bad rate", b"foo:1|c|@x|#a:b", drops=[Drop.BAD_RATE]),
    Case("DogStatsD set", b"foo:a:b|s|#a:b", one("s", "a:b"), tags=[("a", "b")]),
    Case("tiny rate", b"foo:1|c|@1e-12", drops=[Drop.BAD_RATE]),
]


@pytest.mark.parametrize("cases", [EXPORTER, ETSY, OURS], ids=["exporter", "etsy", "ours"])
def test_each_form_is_taken_left_out_or_refused_by_name(cases: Sequence[Case]) -> None:
    for case in cases:
        parsed = parse(case.line)
        samples = [
            (s.type.decode(), s.name.decode(errors="replace"), s.value.decode(), s.weight)
            for s in parsed.samples
        ]
        assert samples == [pytest.approx(sample) for sample in case.samples], case.name
        assert parsed.drops == list(case.drops), case.name
        assert parsed.ignored == list(case.ignored), case.name
        assert all(s.tags == tuple(case.tags) for s in parsed.samples), case.name


def test_datagram_of_several_lines_is_split_and_a_bad_line_spoils_only_itself() -> None:
    datagram = b"gorets:1|c\nglork:320|ms\nbad\n\nuniques:765|s\n"
    assert [line for line in lines(datagram) if parse(line).samples] == [
        b"gorets:1|c",
        b"glork:320|ms",
        b"uniques:765|s",
    ]


def test_line_feeds_before_the_first_type_are_of_a_name_or_a_text() -> None:
    # All three were sent by Asterisk.
    for datagram in (b"nl.a\nnl.b\n:1|c", b"nl.c:5\nnl.d\nx:1|c", b"nl.set:one\ntwo\n|s"):
        assert lines(datagram) == (datagram,)
    assert parse(b"nl.c:5\nnl.d\nx:1|c").samples[0].name == b"nl.c:5\nnl.d\nx"


def test_prefix_with_a_colon_is_part_of_the_name_of_a_set() -> None:
    (sample,) = parse(b"pbx one: b.callers:sip:bob|s", [b"pbx one: b."]).samples
    assert (sample.name, sample.value) == (b"pbx one: b.callers", b"sip:bob")
    (sample,) = parse(b"pbx one: b.x|s", [b"pbx one: b."]).samples
    assert (sample.name, sample.value) == (b"pbx one", b" b.x")


def test_samples_and_tags_of_one_line_are_bounded() -> None:
    parsed = parse(b"foo" + b":1" * (MOST_SAMPLES + 7) + b"|h")
    assert len(parsed.samples) == MOST_SAMPLES
    assert parsed.drops == [Drop.TOO_LONG] * 7
    tags = b",".join(b"t%d:v" % i for i in range(MOST_TAGS + 3))
    parsed = parse(b"foo:1|c|#" + tags)
    assert len(parsed.samples[0].tags) == MOST_TAGS
    assert parsed.ignored == [Ignored.BAD_TAG] * 3
    assert len(lines(b"a:1|c\n" * 50_000)) == MOST_SAMPLES + 1


@given(st.floats(-1e100, 1e100) | st.integers(-(10**30), 10**30))
def test_numbers_are_what_python_reads(value: float) -> None:
    assert number(repr(value).encode()) == float(value)


def fresh() -> Aggregator:
    return Aggregator("pbx", shipped())


def settled(aggregator: Aggregator) -> None:
    """Flush, and check what every flush promises."""
    for point in aggregator.flush(NOW):
        assert all(isinstance(value, str) or abs(value) < 1e200 for value in point.fields.values())
        assert all(0 < len(value) <= 64 and value.isprintable() for value in point.tags.values())


@given(st.binary(max_size=300))
@example(b"")
@example(b"|")
@example(b":|")
@example(b"\n|\n|")
@example(b"a:1|c|@")
@example(b"_e{")
def test_any_bytes_are_taken_or_counted(datagram: bytes) -> None:
    aggregator = fresh()
    aggregator.take(datagram, NOW)
    settled(aggregator)


_WORDS = st.sampled_from(
    b": | @ # \n c g ms h s m 1 -1 +2 0 0.5 . T1 c:x _sc _e{ a.b channels.count _meter \xff"
    b" endpoints.count endpoints.PJSIP.x.channels PJSIP.contacts.states.Reachable".split(b" ")
)


@given(st.lists(st.lists(_WORDS, max_size=12).map(b"".join), max_size=20))
def test_any_sequence_of_words_of_the_language_is_taken_or_counted(datagrams: list[bytes]) -> None:
    aggregator = fresh()
    for at, datagram in enumerate(datagrams):
        aggregator.take(datagram, NOW + at * 10**8)
    settled(aggregator)


@pytest.mark.no_cover  # the slow repetition of what other tests cover
def test_mutated_datagrams_never_raise_and_all_are_counted() -> None:
    originals = [datagram for path in STATSD for _, datagram in read_capture(path).received()]
    for seed in seeds(1, 4):
        rng = random.Random(seed)
        aggregator = fresh()
        for at in range(repeat(10_000, 250_000)):
            mutated = bytearray(rng.choice(originals))
            for _ in range(rng.randint(1, 4)):
                where = rng.randrange(len(mutated) + 1)
                match rng.randrange(4):
                    case 0:
                        mutated[where:where] = rng.choice(b":|@#.+-\n0c").to_bytes()
                    case 1:
                        del mutated[where : where + rng.randint(1, 5)]
                    case 2:
                        mutated[where:where] = rng.randbytes(rng.randint(1, 3))
                    case _:
                        mutated[where:where] = rng.choice(originals)
            aggregator.take(bytes(mutated), NOW + at * 10**7)
            if at % 5000 == 0:
                settled(aggregator)
        settled(aggregator)
        counts = aggregator.counts
        # A datagram holds at least one sample or one drop, but for an empty one.
        assert counts.samples + counts.drops.total() > 0.95 * repeat(10_000, 250_000)
