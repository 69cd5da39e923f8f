"""Conversion of bodies to lines of line protocol, by the cases in tests/cases/asl."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pydantic_core
import pytest

from collector.intakes.asl.points import Accepted, ReportConverter, seconds
from collector.intakes.asl.repair import Repair, repaired
from collector.intakes.asl.report import Report
from collector.intakes.asl.tags import channel, registration, versions
from collector.lines import Stamper
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.problems import Reason, Refusal
from collector.schema import NODE_TAGS
from collector.tag_budget import TagBudget
from tests.asl_cases import ACCEPTED, DIRECTORY, REFUSED, body_of, expected
from tests.sender import KEY, encoded, report

NOON = 1_750_075_200 * 10**9


class Listed:
    """A node list: these nodes, or every node."""

    def __init__(self, nodes: set[int] | None = None) -> None:
        self._nodes = nodes

    def lists(self, node: int) -> bool:
        return self._nodes is None or node in self._nodes


def converter(
    *, listed: set[int] | None = None, budget: int = 1000, metrics: Metrics | None = None
) -> ReportConverter:
    return ReportConverter(
        pseudonyms=Pseudonymiser(KEY),
        stamper=Stamper(instance=7),
        budget=TagBudget({tag.name: budget for tag in NODE_TAGS}, memory_days=90),
        nodelist=Listed(listed),
        metrics=metrics or Metrics(),
    )


def understood(body: bytes, now_ns: int = NOON) -> Accepted:
    found = converter().of(body, now_ns)
    assert isinstance(found, Accepted), found
    return found


def reason_for(body: bytes) -> Reason:
    found = converter().of(body, NOON)
    assert isinstance(found, Refusal), found
    return found.reason


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.stem)
def test_body_gives_the_expected_lines(case: Path) -> None:
    reply, lines = expected(case)
    found = understood(body_of(case))
    assert {"nodes": found.nodes, "ignored": found.ignored} == reply
    assert found.entry.points == len(lines)
    assert found.entry.lines.decode() == "\n".join(
        line.replace("<time>", str(NOON + 1000 * number + 7)) for number, line in enumerate(lines)
    )


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.stem)
def test_body_is_refused_with_the_expected_word(case: Path) -> None:
    assert reason_for(body_of(case)) == case.read_text().strip()


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.stem)
def test_refusal_repeats_nothing_that_was_sent(case: Path) -> None:
    found = converter().of(body_of(case), NOON)
    assert isinstance(found, Refusal)
    assert not re.search(r"5\d{5}|[0-9a-f]{8}-|word", found.detail)


def many_nodes(count: int) -> bytes:
    return encoded(report(list(range(2000, 2000 + count))))


def many_packages(count: int) -> bytes:
    return encoded(report([2000], pkgs={f"p{n}": "1" for n in range(count)}))


def many_iax(count: int) -> bytes:
    return encoded(report([2000], nodes_reg_iax=list(range(2000, 2000 + count))))


def long_text(field: str) -> Callable[[int], bytes]:
    return lambda length: encoded(report([2000]) | {field: "x" * length})


def counted(metrics: Metrics, name: str) -> dict[str, float]:
    """Samples of a counter that has one label, by that label; those at 0 left out."""
    return {
        next(iter(sample.labels.values())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name and sample.value
    }


REPAIRED = "collector_repaired_bodies_total"
IGNORED = "collector_ignored_values_total"


def test_report_of_more_than_500_nodes_is_refused() -> None:
    understood(many_nodes(500))
    assert reason_for(many_nodes(501)) is Reason.INVALID_FIELD


def test_value_over_its_limit_is_cut_and_counted_and_the_report_is_stored() -> None:
    texts = ("ast-ver", "distro", "release", "arch", "kernel", "uptime", "reload-time")
    limits = {"pkgs": (many_packages, 300)} | {name: (long_text(name), 256) for name in texts}
    for name, (made, limit) in limits.items():
        at_limit, over = Metrics(), Metrics()
        within = converter(metrics=at_limit).of(made(limit), NOON)
        beyond = converter(metrics=over).of(made(limit + 1), NOON)
        assert isinstance(within, Accepted), name
        assert isinstance(beyond, Accepted), name
        assert set(counted(at_limit, IGNORED)) <= {"uptime", "reload-time"}
        assert counted(over, IGNORED)[name] >= 1


def test_lists_of_registered_nodes_have_no_limit_but_the_body_s() -> None:
    assert b"nodes_iax=1i" in understood(many_iax(4000)).entry.lines


SPOILT = encoded(report([511111, 522222])).replace(b'"x86_64"', b"SPOILT")
"""A report in whose `arch` anything may be put, as it stands in the body."""


def test_each_repair_is_made_and_counted_by_name() -> None:
    """The report is stored, and the server's architecture is what the text says."""
    for text, repair, arch in [
        (b'"armv\n7l"', Repair.CONTROL_CHARACTER, "armv 7l"),
        (b'"armv\x00"', Repair.CONTROL_CHARACTER, "armv"),
        (b'"arm\xff7l"', Repair.ENCODING, "arm\N{REPLACEMENT CHARACTER}7l"),
        (b'"arm\\q"', Repair.ESCAPE, "arm/q"),
        (b'"arm\\ud83d"', Repair.ESCAPE, "arm\N{REPLACEMENT CHARACTER}"),
        (b'"arm "v7", 32 bit"', Repair.QUOTE, 'arm "v7"\\, 32 bit'),
        (b'"armv7l",', Repair.COMMA, "armv7l"),
        (b"", Repair.MISSING_VALUE, "unknown"),
        (b"007", Repair.LEADING_ZEROS, "7"),
        (b"1" * 5000, Repair.LONG_NUMBER, "1" * 64),
        (b"NaN", Repair.NOT_A_NUMBER, "unknown"),
        (b"-Infinity", Repair.NOT_A_NUMBER, "unknown"),
        (b"armv7l", Repair.BARE_WORD, "armv7l"),
    ]:
        metrics = Metrics()
        found = converter(metrics=metrics).of(SPOILT.replace(b"SPOILT", text), NOON)
        assert isinstance(found, Accepted), text
        assert found.nodes == 2
        tag = arch.replace(" ", "\\ ")
        assert found.entry.lines.decode().count(f",arch={tag},") == 3, (text, found.entry.lines)
        assert counted(metrics, REPAIRED) == {repair.value: 1}


def test_what_stands_round_a_report_is_left_out_and_counted() -> None:
    body = encoded(report([511111]))
    for spoilt, repair in [
        (b"\xef\xbb\xbf" + body, Repair.BYTE_ORDER_MARK),
        (body + b"\0", Repair.TRAILING_BYTES),
        (body + b"\nend", Repair.TRAILING_BYTES),
    ]:
        metrics = Metrics()
        found = converter(metrics=metrics).of(spoilt, NOON)
        assert isinstance(found, Accepted)
        assert counted(metrics, REPAIRED) == {repair.value: 1}


def test_every_list_that_the_client_copies_is_repaired() -> None:
    for name in ("nodes", "nodes-reg-http", "nodes-reg-iax"):
        for copied in (
            "0500,511111",
            "511111,0500",
            "user@host:4569,511111",
            "511111 0500",
            ",511111,",
        ):
            said = report([511111]) | {name: ["COPIED"]}
            body = encoded(said).replace(b'"COPIED"', copied.encode())
            found = understood(body)
            assert found.nodes == 1, (name, copied)
            assert b"registration=http" in found.entry.lines or name == "nodes-reg-iax"
            assert (b"nodes_iax=1i" in found.entry.lines) == (name == "nodes-reg-iax")


def test_one_wrong_element_among_nodes_costs_that_element_alone() -> None:
    for wrong, why in [
        (2**31, "out-of-range"),
        (10**400, "out-of-range"),
        ("9" * 5000, "out-of-range"),
        (1e300, "out-of-range"),
        (-511111, "malformed"),
        (511111.5, "malformed"),
        ("word", "malformed"),
        ("", "malformed"),
        (None, "malformed"),
        (True, "malformed"),
        ([511111], "malformed"),
        ({"511111": 1}, "malformed"),
        ("0500", "private"),
        ("0522222", "duplicate"),
        (522222.0, "duplicate"),
    ]:
        metrics = Metrics()
        said = report([511111]) | {"nodes": [522222, wrong, 511111]}
        found = converter(metrics=metrics).of(encoded(said), NOON)
        assert isinstance(found, Accepted), wrong
        assert (found.nodes, found.ignored) == (2, {why: 1}), wrong
        assert counted(metrics, "collector_nodes_total") == {why: 1}


def test_wrong_value_of_an_optional_field_costs_that_value_alone() -> None:
    odd: list[object] = [True, [], ["x"], {}, {"x": []}, [{}], "x" * 1000]
    texts = ("ast-ver", "distro", "release", "kernel", "arch", "uptime", "reload-time")
    others = ("nodes-reg-http", "nodes-reg-iax", "nodes-channels", "pkgs")
    for name in (*texts, *others):
        for value in odd:
            if (isinstance(value, list) and "reg" in name) or (value == {} and name in others):
                continue
            metrics = Metrics()
            said = report([511111, 522222]) | {name: value}
            found = converter(metrics=metrics).of(encoded(said), NOON)
            assert isinstance(found, Accepted), (name, value)
            assert (found.nodes, found.ignored) == (2, {})
            assert name in counted(metrics, IGNORED), (name, value)
    for value in (0, 10**17, 1.5, -3, "x", "-1", "", None):
        for name in texts:
            assert understood(encoded(report([511111]) | {name: value})).nodes == 1


def test_time_that_is_no_number_of_seconds_is_counted_and_an_empty_one_is_not() -> None:
    for value, times in (("", 0), (" ", 0), (None, 0), ("4102", 0), ("-1", 1), ("1.5", 1)):
        metrics = Metrics()
        converter(metrics=metrics).of(encoded(report([511111]) | {"uptime": value}), NOON)
        assert counted(metrics, IGNORED).get("uptime", 0) == times, value


def test_channel_of_a_node_written_with_zeros_is_found() -> None:
    said = encoded(report([0])).replace(b"[0]", b"[0511111]").replace(b'"0":', b'"0511111":')
    assert b"channel=simpleusb" in understood(said).entry.lines


def test_body_that_repair_does_not_mend_is_not_counted_as_repaired() -> None:
    metrics = Metrics()
    body = (DIRECTORY / "odd" / "bare-iax-word.body").read_bytes()[:-1]
    converter(metrics=metrics).of(body, NOON)
    assert counted(metrics, REPAIRED) == {}


def test_repair_of_a_hostile_body_takes_no_longer_than_its_length_allows() -> None:
    """Twice the length takes about twice the time, not four times; the least of some runs."""
    for unit in (
        b'"',
        b"\\",
        b"[",
        b",",
        b'" ',
        b"\\x",
        b"a ",
        b" ",
        b"0",
        b"\0",
        b"-",
        b"1e",
        b"\\ud800",
        b'",',
        b'"' + b" " * 200,
        b'"' + b"," * 200,
    ):
        for head in (b'{"a":"', b'{"a":[', b'{"a":', b""):
            times = []
            for length in (30_000, 60_000):
                body = head + unit * (length // len(unit))
                least = float("inf")
                for _ in range(3):
                    begun = time.process_time()
                    repaired(body)
                    least = min(least, time.process_time() - begun)
                times.append(least)
            assert times[1] < 0.02 + 3.2 * times[0], (head, unit, times)


def test_node_not_on_the_public_list_is_ignored_and_counted() -> None:
    metrics = Metrics()
    found = converter(listed={511111}, metrics=metrics).of(encoded(report([511111, 522222])), NOON)
    assert isinstance(found, Accepted)
    assert (found.nodes, found.ignored) == (1, {"unlisted": 1})
    counted = metrics.registry.get_sample_value("collector_nodes_total", {"outcome": "unlisted"})
    assert counted == 1


def test_report_whose_every_node_is_unlisted_has_no_public_nodes() -> None:
    found = converter(listed={511111}).of(encoded(report([522222])), NOON)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.NO_PUBLIC_NODES


def test_tag_value_past_its_budget_is_stored_as_other_and_counted() -> None:
    metrics = Metrics()
    meaning = converter(budget=1, metrics=metrics)
    meaning.of(encoded(report([2000], arch="x86_64")), NOON)
    found = meaning.of(encoded(report([2000], arch="mips")), NOON)
    assert isinstance(found, Accepted)
    assert b",arch=other," in found.entry.lines
    name = "collector_tag_values_over_budget_total"
    assert metrics.registry.get_sample_value(name, {"tag": "arch"}) == 1


def test_values_that_wait_are_told_apart_once_enough_servers_say_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Few are remembered as heard: who is forgotten is told to the budget again, which knows it.
    monkeypatch.setattr("collector.intakes.asl.tags._MOST_HEARD", 3)
    meaning = converter(budget=4)
    servers = [str(uuid.uuid4()) for _ in range(5)]

    def said(server: str, value: str) -> set[bytes]:
        sent = report([2000], server, arch=value, nodes_channels={"2000": value})
        found = meaning.of(encoded(sent), NOON)
        assert isinstance(found, Accepted)
        return set(re.findall(rb",(?:arch|channel)=(\w+)", found.entry.lines))

    for value in ("one", "two"):
        assert [said(server, value) for server in servers] == [{value.encode()}] * 5
    assert [said(server, "three") for server in servers * 2] == [{b"other"}] * 4 + [{b"three"}] * 6


def test_points_of_a_report_just_before_midnight_are_all_in_one_day() -> None:
    midnight = (NOON // (86_400 * 10**9) + 1) * 86_400 * 10**9
    found = understood(many_nodes(500), midnight - 1)
    days = {
        int(line.rpartition(b" ")[2]) // (86_400 * 10**9) for line in found.entry.lines.split(b"\n")
    }
    assert len(days) == 1


@pytest.mark.parametrize(
    ("text", "asterisk", "asl"),
    [
        ("Asterisk 20.7.0+asl3-1.3-1.deb12", "20.7.0", "asl3-1.3"),
        ("Asterisk 22.2.0+asl3-3.3.0-1", "22.2.0", "asl3-3.3.0"),
        ("Asterisk 22.2.0+asl3-3.3.0", "22.2.0", "asl3-3.3.0"),
        ("Asterisk 21.0.0~rc1+asl3-1.0-1.deb12", "21.0.0~rc1", "asl3-1.0"),
        ("Asterisk GIT-master-a1b2c3d", "GIT", "unknown"),
        ("Asterisk GIT-20-a1b2c3dM+asl3-3.1-1.deb12", "GIT", "asl3-3.1"),
        ("Asterisk UNKNOWN__and_probably_unsupported", "unknown", "unknown"),
        ("Asterisk 1.4.23-pre", "1.4.23-pre", "unknown"),
        ("Asterisk", "unknown", "unknown"),
        ("20.7.0+asl3-1.3-1.deb12", "20.7.0", "asl3-1.3"),
        ("", "unknown", "unknown"),
        ("   ", "unknown", "unknown"),
        ("No such command", "such", "unknown"),
        ("Some notice\nAsterisk 20.7.0+asl3-1.3-1.deb12", "20.7.0", "asl3-1.3"),
        ("A notice\r\nAsterisk 20.7.0\r\n", "20.7.0", "unknown"),
        ("No such\ncommand", "such", "unknown"),
    ],
)
def test_version_is_split(text: str, asterisk: str, asl: str) -> None:
    assert versions(text) == (asterisk, asl)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SimpleUSB", "simpleusb"),
        ("Radio", "usbradio"),
        ("RADIO/usb_1", "usbradio"),
        ("usbradio", "usbradio"),
        ("DAHDI/pseudo", "dahdi"),
        ("", "unknown"),
        ("/x", "unknown"),
    ],
)
def test_channel_is_named(text: str, name: str) -> None:
    assert channel(text) == name


def test_registration_has_four_values() -> None:
    assert [
        registration(http=http, iax=iax) for http in (True, False) for iax in (True, False)
    ] == [
        "both",
        "http",
        "iax",
        "none",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("4102", 4102), (" 4102 ", 4102), ("3153600000", 3_153_600_000)]
    + [(text, None) for text in ("", None, "x", "-1", "1.5", "1e3", "٣", "3153600001", "9" * 200)],
)
def test_seconds_are_whole_and_under_a_century(text: str | None, value: int | None) -> None:
    assert seconds(text) == value


CUTS = st.tuples(
    st.sampled_from([body_of(case) for case in (*ACCEPTED, *REFUSED)]),
    st.integers(0, 800),
    st.integers(0, 12),
    st.sampled_from(
        [
            b"",
            b"NaN",
            b"1e400",
            b"[" * 300,
            b'"nodes":[2001],',
            b'"\\ud800"',
            b"\xff",
            b"null",
            b"7.0",
        ]
    ),
)


@hypothesis.given(CUTS)
def test_what_one_pass_takes_two_passes_take_alike(
    cut: tuple[bytes, int, int, bytes],
) -> None:
    body, at, length, instead = cut
    mutated = body[:at] + instead + body[at + length :]
    found = converter().of(mutated, NOON)
    try:
        parsed = pydantic_core.from_json(mutated, allow_inf_nan=False)
        twice = Report.model_validate(parsed)
    except ValueError:
        # It was mended, or refused; no error of ours came of it.
        return
    again = converter().of(twice.model_dump_json(by_alias=True).encode(), NOON)
    assert found == again


def test_over_budget_is_counted_for_every_report() -> None:
    metrics = Metrics()
    taking = converter(budget=1, metrics=metrics)
    server = str(uuid.uuid4())
    for asterisk in ("20.1.0", "20.2.0", "20.2.0"):
        body = encoded(report([2001], server) | {"ast-ver": f"Asterisk {asterisk}"})
        assert isinstance(taking.of(body, NOON), Accepted)
    labels = {"tag": "asterisk_version"}
    assert metrics.registry.get_sample_value("collector_tag_values_over_budget_total", labels) == 2
