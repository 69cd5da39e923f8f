"""Reports of months and their words, made from numbers given by the test."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from collector.events.event import Event, Kind, first_version, outage
from collector.months.report import Change, MonthReport, Tables, compose
from collector.public.language import LANGUAGES, language
from collector.public.month import MonthPage
from collector.rollup.months import finished

OCTOBER = date(2024, 10, 1)
MADE = datetime(2024, 11, 1, 1, 15, tzinfo=UTC)


def october(number: int) -> date:
    return OCTOBER + timedelta(days=number - 1)


def usage(first: int = 1, last: int = 31, *, begin: date = OCTOBER) -> dict[date, dict[str, int]]:
    return {
        begin + timedelta(days=n - 1): {
            "nodes": 1000 + n,
            "servers": 700 + n,
            "reports": 800,
            "nodes_30d": 1200 + n,
            "new_nodes": 2,
            "lapsed_nodes": 1,
        }
        for n in range(first, last + 1)
    }


def tables(number: int) -> Tables:
    """`asl3-2` gains 10 nodes a day from `asl3-1`; `asl3-3` is named from the 20th on."""
    versions = {"asl3-1": 700 - 10 * number, "asl3-2": 200 + 10 * number, "other": 30}
    if number >= 20:
        versions |= {"asl3-3": number}
    return {"asl_version": versions, "arch": {"x86_64": 500, "aarch64": 430 + number}}


def report(**changes: object) -> MonthReport:
    values = {
        "begun": date(2024, 1, 1),
        "usage": usage() | {OCTOBER - timedelta(days=1): {"nodes": 990, "nodes_30d": 1190}},
        "tables": {october(n): tables(n) for n in range(1, 32)},
        "upgrades": [("asl3-1", "asl3-2", 7)] * 31 + [("other", "other", 9)],
        "events": [
            first_version(october(20), "asl_version", "asl3-3"),
            outage(datetime(2024, 10, 7, 4, tzinfo=UTC), 3, 41),
            Event(october(9), Kind.NOTE, "operator", "1", "Mirror <moved>"),
            Event(date(2024, 9, 30), Kind.NOTE, "operator", "2", "Of another month"),
        ],
        "made": MADE,
    }
    return compose(OCTOBER, **(values | changes))  # type: ignore[arg-type]


def told(found: MonthReport, code: str = "en") -> str:
    page = MonthPage(found, language(code))
    return "\n".join(
        [*page.lead(), *(each for section in page.sections() for each in section.sentences)]
    )


def test_words_tell_what_changed_in_the_month() -> None:
    words = told(report())
    for sentence in (
        "On 31 October 2024, 1,031 nodes of the AllStarLink network reported, from 731 servers.",
        "Against 1 October 2024 that is +30 nodes and +30 servers.",
        "Most nodes reported on 31 October 2024 (1,031), fewest on 1 October 2024 (1,001)",
        "1,231 different nodes reported in the 30 days to 31 October 2024; that is +41",
        "62 times a node reported that had not in the 30 days before, and 31 times",
        "24,800 reports arrived.",
        "asl3-2 ran on most nodes at the end: 510",
        "Largest gains: asl3-2 (+300, to 510).",
        "Largest losses: asl3-1 (\N{MINUS SIGN}300, to 390).",
        "First in the numbers this month: asl3-3.",
        "226 changes of version were counted, most of them: asl3-1 → asl3-2 (217).",
        "Architecture: x86_64 52.0",
        "7 October 2024: No report received from 04:00 to 07:00 UTC, where about 41 were expected.",
        "Mirror <moved>",
    ):
        assert sentence in words.replace("\N{NO-BREAK SPACE}", " "), sentence
    assert "Of another month" not in words


def test_every_language_tells_the_same_numbers() -> None:
    numbers = []
    for code in LANGUAGES:
        page = MonthPage(report(), language(code))
        assert len({section.key for section in page.sections()}) == len(page.sections())
        numbers.append([len(section.sentences) for section in page.sections()])
        assert page.summary()
    assert numbers[0] == numbers[1]
    assert "Mayores aumentos: asl3-2 (+300, hasta 510)." in told(report(), "es")


def test_a_change_is_told_only_where_both_counts_are_published_or_nothing_is_hidden() -> None:
    hides = Change(before={"a": 9, "other": 7}, after={"a": 8, "b": 12, "other": 6})
    assert hides.was("b") is None
    assert hides.was("a") == 9
    shows = Change(before={"a": 9}, after={"b": 12})
    assert (shows.was("b"), shows.is_now("a")) == (0, 0)
    # asl3-3 may have had nodes before it was named, so its gain is not known.
    bars = MonthPage(report(), language("en")).bars()
    assert [(bar.name, bar.change, bar.share) for bar in bars] == [
        ("asl3-2", 300, 1.0),
        ("asl3-1", -300, 1.0),
    ]


def test_the_table_has_the_change_of_nodes_that_reported_nothing_and_no_gain_of_theirs() -> None:
    then, now = {"asl3-1": 90, "unknown": 14}, {"asl3-1": 95, "unknown": 16}
    page = MonthPage(
        report(tables={OCTOBER: {"asl_version": then}, october(31): {"asl_version": now}}),
        language("en"),
    )
    changes = {row.value: change for _, rows in page.tables() for row, change in rows}
    assert changes == {"asl3-1": 5, "unknown": 2}
    assert [bar.name for bar in page.bars()] == ["asl3-1"]


def test_the_values_of_a_long_table_that_are_left_out_are_in_other() -> None:
    long = {f"asl3-{n}": 1000 - n for n in range(60)} | {"other": 5}
    found = report(tables={OCTOBER: {"asl_version": long}, october(31): {"asl_version": long}})
    kept = found.tables["asl_version"].after
    assert len(kept) == 41
    assert sum(kept.values()) == sum(long.values())
    assert len(found.model_dump_json()) < 60_000


def test_a_series_that_begins_within_the_month_says_so_and_tells_no_new_nodes() -> None:
    found = report(begun=october(10), usage=usage(10), tables={})
    words = told(found)
    assert (found.begin, found.days, found.missing) == (october(10), 22, 0)
    assert "The series begins on 10 October 2024." in words
    assert "times a node reported" not in words
    page = MonthPage(found, language("en"))
    assert (page.version_chart(), page.bars(), [*page.tables()]) == (None, [], [])
    assert page.node_chart() is not None


def test_missing_days_are_counted_and_leave_a_gap_in_the_line() -> None:
    days = usage()
    for number in (4, 5):
        del days[october(number)]
    found = report(usage=days)
    assert found.nodes[2:6] == [1003, None, None, 1006]
    assert "2 days of the month are missing." in told(found)
    chart = MonthPage(found, language("en")).node_chart()
    assert chart is not None
    assert all(path.count("M") == 2 for path in chart.chart.paths)


def test_a_month_of_one_day_has_no_change_and_no_chart() -> None:
    found = report(usage=usage(31), tables={october(31): tables(31)}, upgrades=[], events=[])
    words = told(found)
    assert "Against" not in words
    assert "Most nodes reported on" not in words
    assert "changes of version" not in words
    assert "No outage of the intake is known in this month." in words


def test_no_complete_day_is_no_report() -> None:
    with pytest.raises(ValueError, match="no day of 2024-10 is complete"):
        report(usage={})


def test_a_report_is_the_same_after_storing() -> None:
    found = report()
    assert MonthReport.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("now", "missing", "months"),
    [
        # A day is final one hour after its end.
        (datetime(2024, 11, 1, 0, 59, tzinfo=UTC), None, []),
        (datetime(2024, 11, 1, 1, 0, tzinfo=UTC), None, [OCTOBER]),
        # A gap is waited for, but not for ever.
        (datetime(2024, 11, 1, 1, 0, tzinfo=UTC), 9, []),
        (datetime(2024, 11, 4, 1, 0, tzinfo=UTC), 9, [OCTOBER]),
        # The month's last day itself may be the one that is late.
        (datetime(2024, 11, 1, 1, 0, tzinfo=UTC), 31, []),
    ],
)
def test_a_month_is_finished_when_its_last_day_is_final(
    now: datetime, missing: int | None, months: list[date]
) -> None:
    days = [october(n) for n in range(5, 32) if n != missing]
    assert finished(days, now) == months
    assert finished([], now) == []
