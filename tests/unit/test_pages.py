from __future__ import annotations

import string
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from collector.intakes import INTAKES
from collector.privacy_section import PrivacySection
from collector.public.badge import badge, badge_svg
from collector.public.charts import chart
from collector.public.contexts import method_context, privacy_page_context
from collector.public.definitions import DEFINITIONS
from collector.public.freshness import freshness
from collector.public.language import LANGUAGES, Language, language
from collector.public.links import path_of
from collector.public.overview import Kind, overview, shares
from collector.public.pages import code_markup
from collector.public.series import Snapshot, UsageDay
from collector.schema import DAILY, MEASUREMENTS, OTHER
from collector.settings import Settings
from tools.privacy import PRIVACY, privacy

TODAY = date(2026, 11, 21)
OTHERS = [language(code) for code in LANGUAGES[1:]]
ENGLISH = language("en")


def usage(day: date, *, final: bool = True, **fields: int) -> UsageDay:
    return UsageDay(day, {"nodes": 10, "servers": 7, "final": int(final)} | fields)


def snapshot(*days: UsageDay, **tables: dict[str, int]) -> Snapshot:
    last = next((day for day in reversed(days) if day.final), days[-1] if days else None)
    return Snapshot(list(days), last, tables)


def settings(**values: object) -> Settings:
    return Settings.model_construct(**values)  # type: ignore[arg-type]


def on(running: Settings) -> list[PrivacySection]:
    return [intake.privacy(running) for intake in INTAKES if intake.is_on(running)]


# Languages


@pytest.mark.parametrize("other", OTHERS, ids=lambda item: item.code)
def test_translation_has_every_text_and_none_beside(other: Language) -> None:
    meanings = {key for key in other.keys if key.startswith("meaning.")}
    assert other.keys - meanings == ENGLISH.keys


@pytest.mark.parametrize("other", OTHERS, ids=lambda item: item.code)
def test_translation_has_the_same_placeholders(other: Language) -> None:
    def placeholders(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    keys = [key for key in ENGLISH.keys if not key.startswith("format.")]
    assert any(placeholders(ENGLISH.raw(key)) for key in keys)
    for key in keys:
        assert placeholders(other.raw(key)) == placeholders(ENGLISH.raw(key)), key


@pytest.mark.parametrize("other", OTHERS, ids=lambda item: item.code)
def test_translation_has_the_meaning_of_all_that_is_published(other: Language) -> None:
    published = [item for item in MEASUREMENTS if item.database == DAILY]
    wanted = {f"meaning.{item.key}" for item in DEFINITIONS}
    wanted |= {f"meaning.time.{item.name}" for item in published}
    wanted |= {f"meaning.tag.{tag.name}" for item in published for tag in item.tags}
    assert {key for key in other.keys if key.startswith("meaning.")} == wanted


def test_numbers_and_days_are_written_as_the_language_does() -> None:
    spanish = language("es")
    assert ENGLISH.number(17260) == "17,260"
    assert spanish.number(17260) == "17.260"
    assert ENGLISH.day(TODAY) == "Saturday 21 November 2026"
    assert spanish.day(TODAY) == "sábado 21 de noviembre de 2026"
    assert spanish.percent(0.1234) == "12,3\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(("value", "words"), [(3, "+3"), (0, "±0"), (-1200, "\N{MINUS SIGN}1,200")])
def test_change_has_its_sign(value: int, words: str) -> None:
    assert ENGLISH.signed(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "for ever"), (86_400, "1 day"), (90 * 86_400, "90 days"), (7200, "2 hours")],
)
def test_duration_is_told_in_words(seconds: int, words: str) -> None:
    assert ENGLISH.duration(seconds) == words


def test_unknown_language_is_no_language() -> None:
    with pytest.raises(KeyError):
        language("../en")


@pytest.mark.parametrize(
    ("page", "code", "path"),
    [("", "en", "/"), ("", "es", "/es"), ("api", "en", "/api"), ("api", "es", "/es/api")],
)
def test_address_of_a_page(page: str, code: str, path: str) -> None:
    assert path_of(page, code) == path


# Privacy and method


def test_privacy_document_is_the_page_with_the_defaults() -> None:
    assert PRIVACY.read_text(encoding="utf-8") == privacy(), "run `python -m tools.privacy`"


@pytest.mark.parametrize("code", LANGUAGES)
def test_privacy_page_tells_the_settings_in_force(code: str) -> None:
    spoken = language(code)
    running = settings(
        retention_raw=17 * 86_400,
        outbox_keep=5 * 3600,
        k_anonymity=9,
        contact="Club <b>X</b>, club@example.org",
        public_url="https://usage.example.org",
    )
    page = spoken.html("privacy", privacy_page_context(running, spoken, on(running)))
    for told in (spoken.duration(17 * 86_400), spoken.duration(5 * 3600), "9"):
        assert told in page
    assert "https://usage.example.org/v1/my-data/erase" in page
    assert "Club &lt;b&gt;X&lt;/b&gt;" in page


@pytest.mark.parametrize("code", LANGUAGES)
def test_privacy_page_says_how_long_an_erasure_is_remembered(code: str) -> None:
    spoken, running = language(code), settings(retention_librenms=117 * 86_400)
    page = spoken.markdown("privacy", privacy_page_context(running, spoken, []))
    (told,) = (part for part in page.split("\n- ") if part.startswith("**`usage_owners`**"))
    assert spoken.duration(117 * 86_400) in told
    assert spoken.duration(0) in told


@pytest.mark.parametrize("code", LANGUAGES)
def test_privacy_page_tells_of_the_senders_that_are_on_and_of_no_other(code: str) -> None:
    spoken = language(code)
    for intake in INTAKES:
        section = intake.privacy(settings())
        assert section.templates.keys() == set(LANGUAGES), intake.name
        page = spoken.markdown("privacy", privacy_page_context(settings(), spoken, [section]))
        heading = section.templates[code].splitlines()[0]
        assert heading.startswith("## ")
        assert heading in page
        for other in INTAKES:
            if other is not intake:
                absent = other.privacy(settings()).templates[code].splitlines()[0]
                assert absent not in page


@pytest.mark.parametrize("code", LANGUAGES)
def test_privacy_page_says_where_nothing_is_suppressed(code: str) -> None:
    spoken = language(code)
    page = spoken.html("privacy", privacy_page_context(settings(k_anonymity=1), spoken, []))
    assert "k is 1" in page or "k es 1" in page


@pytest.mark.parametrize("code", LANGUAGES)
def test_method_defines_every_published_field(code: str) -> None:
    spoken = language(code)
    page = spoken.html("method", method_context(settings(librenms=True), spoken))
    for item in DEFINITIONS:
        assert f"<code>{item.name}</code>" in page
    for measurement in MEASUREMENTS:
        assert (f"<code>{measurement.name}</code>" in page) == (measurement.database == DAILY)


@given(st.integers(2, 1000))
def test_worked_example_is_right_for_every_k(k: int) -> None:
    example = method_context(settings(k_anonymity=k), ENGLISH)["example"]
    rows = [row.split(" | ") for row in example["table"].splitlines()[2:]]
    numbers = [int(cell.strip(" |").replace(",", "")) for *_, cell in rows if "`" not in cell]
    assert sum(numbers) == int(example["total"].replace(",", ""))
    assert all(number >= k for number in numbers)
    assert sum(1 for *_, cell in rows if "`other`" in cell) == 2


# Overview


@given(
    st.dictionaries(st.text("abc123", min_size=1, max_size=6), st.integers(1, 9999), max_size=40),
    st.integers(0, 500),
)
def test_shares_sum_to_the_whole_and_end_with_other(counts: dict[str, int], other: int) -> None:
    table = shares("arch", counts | ({OTHER: other} if other else {}))
    assert sum(row.count for row in table.rows) == sum(counts.values()) + other
    assert len(table.rows) <= 10
    assert [row.kind for row in table.rows if row.kind is Kind.OTHER] == [Kind.OTHER] * bool(other)
    assert not other or table.rows[-1].kind is Kind.OTHER
    values = [row.count for row in table.rows if row.kind is Kind.VALUE]
    assert values == sorted(values, reverse=True)


def test_open_day_is_not_among_the_figures() -> None:
    shown = overview(snapshot(usage(TODAY - timedelta(days=1)), usage(TODAY, final=False, nodes=3)))
    assert shown.day is not None
    assert shown.day.day == TODAY - timedelta(days=1)
    assert [day.day for day in shown.charted] == [TODAY - timedelta(days=1)]


def test_change_is_against_the_day_a_week_before() -> None:
    days = [usage(TODAY - timedelta(days=n), nodes=100 - n) for n in range(9, -1, -1)]
    assert overview(snapshot(*days)).change == 7
    assert overview(snapshot(*days[3:])).change is None


def test_months_tell_the_fewest_the_middle_and_the_most() -> None:
    days = [usage(date(2026, 10, 1) + timedelta(days=n), nodes=n) for n in range(40)]
    newest, oldest = overview(snapshot(*days)).months
    assert (oldest.first, oldest.days, oldest.low, oldest.middle, oldest.high) == (
        date(2026, 10, 1),
        31,
        0,
        15,
        30,
    )
    assert (newest.days, newest.low, newest.high) == (9, 31, 39)


def test_nothing_at_all_can_be_shown() -> None:
    shown = overview(snapshot())
    assert (shown.day, shown.figures, shown.shares, shown.chart) == (None, [], [], None)


def test_chart_of_a_year_leaves_older_days_out() -> None:
    days = [usage(TODAY - timedelta(days=n)) for n in range(500, -1, -1)]
    shown = overview(snapshot(*days))
    assert shown.chart is not None
    assert (shown.chart.last - shown.chart.first).days == 364
    assert shown.a_whole_year


# Chart


def test_missing_day_is_a_gap_in_the_line() -> None:
    counts = {TODAY + timedelta(days=n): 10 for n in (0, 1, 3, 5, 6)}
    drawn = chart((counts, {}), TODAY, TODAY + timedelta(days=6))
    assert drawn is not None
    assert drawn.paths[0].count("M") == 3
    assert "h0" in drawn.paths[0]
    assert drawn.area.count("M") == 2
    assert drawn.paths[1] == ""


@given(st.integers(0, 10_000_000))
def test_axis_has_few_round_lines_from_zero(highest: int) -> None:
    counts = {TODAY: 0, TODAY + timedelta(days=1): highest}
    drawn = chart((counts, {}), TODAY, TODAY + timedelta(days=1))
    assert drawn is not None
    values = [int(str(tick.value)) for tick in drawn.heights]
    assert values[0] == 0
    assert values[-1] >= highest
    assert 2 <= len(values) <= 6
    assert drawn.heights[0].percent == 100
    assert drawn.heights[-1].percent == 0


def test_one_day_is_no_chart() -> None:
    assert chart(({TODAY: 3}, {}), TODAY, TODAY) is None


def test_months_of_a_long_chart_are_marked_where_they_begin() -> None:
    first, last = date(2026, 10, 22), date(2027, 1, 30)
    drawn = chart(({first: 1, last: 2}, {}), first, last)
    assert drawn is not None
    assert not drawn.weekly
    assert [tick.value for tick in drawn.marks] == [
        date(2026, 11, 1),
        date(2026, 12, 1),
        date(2027, 1, 1),
    ]
    assert drawn.marks[0].percent == 10


@pytest.mark.parametrize(
    ("first", "mondays"), [(date(2026, 11, 9), (9, 16, 23)), (date(2026, 11, 10), (16, 23))]
)
def test_weeks_of_a_short_chart_are_marked_on_mondays(
    first: date, mondays: tuple[int, ...]
) -> None:
    last = date(2026, 11, 23)
    drawn = chart(({first: 1, last: 2}, {}), first, last)
    assert drawn is not None
    assert drawn.weekly
    assert [tick.value for tick in drawn.marks] == [date(2026, 11, day) for day in mondays]


# Freshness and badge


@pytest.mark.parametrize(
    ("now", "late"),
    [
        (datetime(2026, 11, 22, 1, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 22, 2, 1, tzinfo=UTC), False),
        (datetime(2026, 11, 23, 1, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 23, 2, 1, tzinfo=UTC), True),
    ],
)
def test_day_is_late_two_hours_after_its_end(now: datetime, late: bool) -> None:
    assert freshness(snapshot(usage(TODAY)), now).late is late


def test_freshness_counts_missing_days() -> None:
    days = [usage(TODAY - timedelta(days=9)), usage(TODAY - timedelta(days=3)), usage(TODAY)]
    found = freshness(snapshot(*days), datetime(2026, 11, 22, tzinfo=UTC))
    assert (found.days, found.missing_days, found.last_final_day) == (3, 7, TODAY)


def test_freshness_of_nothing_is_late() -> None:
    found = freshness(snapshot(), datetime(2026, 11, 22, tzinfo=UTC))
    assert found.late
    assert (found.first_day, found.days, found.missing_days) == (None, 0, 0)


def test_badge_counts_the_last_complete_day() -> None:
    shown = badge(snapshot(usage(TODAY, nodes=1726), usage(TODAY + timedelta(1), final=False)))
    assert shown.message == "1,726"
    assert "1,726" in badge_svg(shown)
    assert badge(snapshot(usage(TODAY, final=False))).message == "no complete day yet"


def test_text_with_code_is_escaped() -> None:
    assert code_markup("a <b> `c&d`") == Markup("a &lt;b&gt; <code>c&amp;d</code>")
