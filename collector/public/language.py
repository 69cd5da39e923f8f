"""Languages of the pages: their texts, and the formatting of numbers and dates.

Each language has a folder in `languages/`: `texts.toml` holds the short texts, the Markdown files
the long ones. To add a language, add its folder and its code to `LANGUAGES`.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from collector.lazy import PAGES, dates, jinja2, load, markdown_it, numbers

if TYPE_CHECKING:
    from markdown_it.token import Token

LANGUAGES: Final = ("en", "es")
"""Codes of the languages; the first is used for paths without a code."""
DEFAULT: Final = LANGUAGES[0]

_FOLDER: Final = resources.files("collector.public") / "languages"


class Language:
    """Texts and formats of one language. `code` is its code in paths and in HTML."""

    def __init__(self, code: str) -> None:
        self.code = code
        self._folder = _FOLDER / code
        self._texts = _flat(tomllib.loads((self._folder / "texts.toml").read_text("utf-8")))
        self._locale = self._texts["locale"]

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    @property
    def keys(self) -> frozenset[str]:
        """The keys of all short texts."""
        return frozenset(self._texts)

    def raw(self, key: str) -> str:
        """A short text with its placeholders. Raises KeyError for an unknown key."""
        return self._texts[key]

    def text(self, key: str, **values: object) -> str:
        """A short text with its placeholders filled. Raises KeyError for an unknown key."""
        return self._texts[key].format(**values)

    def number(self, value: float) -> str:
        """A number with separators: `1,726`."""
        return numbers.format_decimal(value, locale=self._locale)

    def signed(self, value: int) -> str:
        """A change: `+3`, `±0`, or with a true minus sign."""
        sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else "±"
        return sign + self.number(abs(value))

    def percent(self, share: float) -> str:
        """A fraction of 1 as a percentage with one decimal."""
        return numbers.format_percent(
            share, format="#,##0.0\N{NO-BREAK SPACE}%", locale=self._locale
        )

    def day(self, day: date) -> str:
        """A date with the day of the week."""
        return dates.format_date(day, self._texts["format.day"], locale=self._locale)

    def short_day(self, day: date) -> str:
        """A date without the day of the week."""
        return dates.format_date(day, self._texts["format.short_day"], locale=self._locale)

    def month(self, day: date) -> str:
        """The month and year of a date."""
        return dates.format_date(day, self._texts["format.month"], locale=self._locale)

    def month_name(self, day: date) -> str:
        """The abbreviated month of a date, for a chart's axis."""
        return dates.format_date(day, "MMM", locale=self._locale).rstrip(".")

    def axis_day(self, day: date) -> str:
        """An abbreviated date, for a chart's axis."""
        return f"{day.day} {self.month_name(day)}"

    def moment(self, moment: datetime) -> str:
        """A date and time in UTC."""
        return f"{self.short_day(moment.date())}, {moment:%H:%M} UTC"

    def duration(self, seconds: int) -> str:
        """A duration in days or hours; 0 means for ever."""
        if seconds == 0:
            return self.text("duration.ever")
        unit, size = ("days", 86_400) if seconds % 86_400 == 0 else ("hours", 3600)
        number = max(1, seconds // size)
        return self.text(
            f"duration.{unit if number > 1 else unit[:-1]}", number=self.number(number)
        )

    def markdown(self, name: str, values: Mapping[str, Any]) -> str:
        """A long text (such as `privacy`) as Markdown, with its placeholders filled.

        Raises jinja2.UndefinedError for a placeholder without a value.
        """
        return self.filled((self._folder / f"{name}.md").read_text("utf-8"), values)

    def filled(self, template: str, values: Mapping[str, Any]) -> str:
        """A template of Markdown with its placeholders filled.

        Raises jinja2.UndefinedError for a placeholder without a value.
        """
        return _plain().from_string(template).render({**values, "duration": self.duration})

    def html(self, name: str, values: Mapping[str, Any]) -> Markup:
        """The same as HTML; HTML in the values is escaped."""
        return Markup(_markdown().render(self.markdown(name, values)))  # noqa: S704 - `html` is off


@cache
def language(code: str) -> Language:
    """The language with this code, loaded once. Raises KeyError for an unknown code."""
    if code not in LANGUAGES:
        raise KeyError(code)
    return Language(code)


async def load_languages() -> None:
    """Load all languages, and the libraries that render pages, in a thread."""
    await load(PAGES)
    await asyncio.to_thread(lambda: [language(code) for code in LANGUAGES])


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    texts: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            texts |= _flat(value, f"{prefix}{key}.")
        else:
            texts[prefix + key] = value
    return texts


@cache
def _plain() -> jinja2.Environment:
    return jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        # It fills Markdown; HTML is made afterwards, with `html` off.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _markdown() -> markdown_it.MarkdownIt:
    """A Markdown renderer whose tables and code blocks scroll by themselves, by keyboard too."""

    def table_open(*_: object) -> str:
        return '<div class="scroll" tabindex="0"><table>\n'

    def table_close(*_: object) -> str:
        return "</table></div>\n"

    def code_block(_: object, tokens: Sequence[Token], index: int, *__: object) -> str:
        return f'<pre tabindex="0"><code>{escape(tokens[index].content)}</code></pre>\n'

    made = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table")
    for rule in (table_open, table_close, code_block):
        made.add_render_rule(rule.__name__, rule)
    made.add_render_rule("fence", code_block)
    return made
