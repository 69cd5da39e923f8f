"""What a body means: from the sender's bytes to lines, by the cases in tests/cases/asl."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pydantic_core
import pytest

from collector.admission import TagBudget
from collector.intakes.tags import channel, registration, versions
from collector.intakes.understanding import Accepted, Report, Understanding, seconds
from collector.lines import Stamper
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.problems import Reason, Refusal
from collector.schema import NODE_TAGS
from tests.asl_cases import ACCEPTED, DIRECTORY, REFUSED, body_of, expected
from tests.sender import KEY, encoded, report

NOON = 1_750_075_200 * 10**9


class Listed:
    """A node list: these nodes, or every node."""

    def __init__(self, nodes: set[int] | None = None) -> None:
        self._nodes = nodes

    def lists(self, node: int) -> bool:
        return self._nodes is None or node in self._nodes


def understanding(
    *, listed: set[int] | None = None, budget: int = 1000, metrics: Metrics | None = None
) -> Understanding:
    return Understanding(
        pseudonyms=Pseudonymiser(KEY),
        stamper=Stamper(instance=7),
        budget=TagBudget({tag.name: budget for tag in NODE_TAGS}, memory_days=90),
        nodelist=Listed(listed),
        metrics=metrics or Metrics(),
    )


def understood(body: bytes, now_ns: int = NOON) -> Accepted:
    found = understanding().of(body, now_ns)
    assert isinstance(found, Accepted), found
    return found


def reason_for(body: bytes) -> Reason:
    found = understanding().of(body, NOON)
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
    found = understanding().of(body_of(case), NOON)
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


LIMITS = [
    pytest.param(many_nodes, 500, id="nodes"),
    pytest.param(many_iax, 500, id="nodes-reg-iax"),
    pytest.param(many_packages, 300, id="packages"),
    *(
        pytest.param(long_text(field), 256, id=field)
        for field in ("ast-ver", "distro", "release", "arch", "kernel", "uptime", "reload-time")
    ),
]


@pytest.mark.parametrize(("made", "limit"), LIMITS)
def test_report_at_the_limit_is_accepted(made: Callable[[int], bytes], limit: int) -> None:
    understood(made(limit))


@pytest.mark.parametrize(("made", "limit"), LIMITS)
def test_report_one_over_the_limit_is_refused(made: Callable[[int], bytes], limit: int) -> None:
    assert reason_for(made(limit + 1)) is Reason.INVALID_FIELD


def test_repaired_body_is_counted() -> None:
    metrics = Metrics()
    body = (DIRECTORY / "odd" / "bare-iax-word.body").read_bytes()
    understanding(metrics=metrics).of(body, NOON)
    assert metrics.registry.get_sample_value("collector_repaired_bodies_total") == 1


def test_body_that_repair_does_not_mend_is_not_counted_as_repaired() -> None:
    metrics = Metrics()
    body = (DIRECTORY / "odd" / "bare-iax-word.body").read_bytes()[:-1]
    understanding(metrics=metrics).of(body, NOON)
    assert metrics.registry.get_sample_value("collector_repaired_bodies_total") == 0


def test_node_not_on_the_public_list_is_ignored_and_counted() -> None:
    metrics = Metrics()
    found = understanding(listed={511111}, metrics=metrics).of(
        encoded(report([511111, 522222])), NOON
    )
    assert isinstance(found, Accepted)
    assert (found.nodes, found.ignored) == (1, {"unlisted": 1})
    counted = metrics.registry.get_sample_value("collector_nodes_total", {"outcome": "unlisted"})
    assert counted == 1


def test_report_whose_every_node_is_unlisted_has_no_public_nodes() -> None:
    found = understanding(listed={511111}).of(encoded(report([522222])), NOON)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.NO_PUBLIC_NODES


def test_tag_value_past_its_budget_is_stored_as_other_and_counted() -> None:
    metrics = Metrics()
    meaning = understanding(budget=1, metrics=metrics)
    meaning.of(encoded(report([2000], arch="x86_64")), NOON)
    found = meaning.of(encoded(report([2000], arch="mips")), NOON)
    assert isinstance(found, Accepted)
    assert b",arch=other," in found.entry.lines
    name = "collector_tag_values_over_budget_total"
    assert metrics.registry.get_sample_value(name, {"tag": "arch"}) == 1


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
        ("Asterisk GIT-master-a1b2c3d", "GIT-master-a1b2c3d", "unknown"),
        ("Asterisk 1.4.23-pre", "1.4.23-pre", "unknown"),
        ("Asterisk", "unknown", "unknown"),
        ("20.7.0+asl3-1.3-1.deb12", "20.7.0", "asl3-1.3"),
        ("", "unknown", "unknown"),
        ("   ", "unknown", "unknown"),
        ("No such command", "such", "unknown"),
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
    found = understanding().of(mutated, NOON)
    try:
        parsed = pydantic_core.from_json(mutated, allow_inf_nan=False)
        twice = Report.model_validate(parsed)
    except ValueError:
        # Nothing but the one known fault, of which the client is guilty, is mended.
        assert isinstance(found, Refusal) or b"nodes-reg-iax" in mutated
        return
    again = understanding().of(twice.model_dump_json(by_alias=True).encode(), NOON)
    assert found == again


def test_over_budget_is_counted_for_every_report() -> None:
    metrics = Metrics()
    taking = understanding(budget=1, metrics=metrics)
    for asterisk in ("20.1.0", "20.2.0", "20.2.0"):
        body = encoded(report([2001]) | {"ast-ver": f"Asterisk {asterisk}"})
        assert isinstance(taking.of(body, NOON), Accepted)
    labels = {"tag": "asterisk_version"}
    assert metrics.registry.get_sample_value("collector_tag_values_over_budget_total", labels) == 2
