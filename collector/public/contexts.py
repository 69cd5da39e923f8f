"""Template contexts of the long pages: privacy, my data and method. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import quote

from collector.privacy import suppress_line
from collector.privacy_section import PrivacySection
from collector.public.definitions import DEFINITIONS, SUPPRESSED, Definition
from collector.public.language import DEFAULT, Language
from collector.public.links import path_of, reference
from collector.schema import DAILY, MEASUREMENTS, OTHER, Measurement
from collector.schema.librenms import LIBRENMS_MEASUREMENTS
from collector.settings import Settings, variable

ANY_HOST: Final = "https://HOST"
"""Placeholder for the public URL if the operator has not set it."""


def privacy_context(
    settings: Settings,
    language: Language,
    sections: Sequence[PrivacySection],
    *,
    links: Mapping[str, str],
    names: bool = False,
) -> dict[str, Any]:
    """Context of `privacy.md`, with the sections of the enabled senders.

    With `names`, the settings are named beside their values.
    """

    def setting(name: str) -> str:
        return f" (`{variable(name.lower())}`)" if names else ""

    values: dict[str, Any] = {
        "raw": settings.retention_raw,
        "daily": settings.retention_daily,
        "notices": settings.retention_notices,
        "outbox": settings.outbox_keep,
        "k": settings.k_anonymity,
        "rate_limited": settings.rate_limit > 0,
        "contact": settings.contact,
        "host": settings.public_url or ANY_HOST,
        "setting": setting,
        "link": links,
    }
    filled = []
    for section in sections:
        template = section.templates.get(language.code) or section.templates[DEFAULT]
        filled.append(language.filled(template, {**values, **section.values}))
    return {**values, "sections": filled}


def privacy_page_context(
    settings: Settings, language: Language, sections: Sequence[PrivacySection]
) -> dict[str, Any]:
    """Context of `privacy.md` for the page."""
    links = {
        "my_data": _reference("my-data", language, at="privacy"),
        "method": _reference("method", language, at="privacy"),
        "method_name": language.text("nav.method"),
    }
    return privacy_context(settings, language, sections, links=links)


def my_data_context(settings: Settings, language: Language) -> dict[str, Any]:
    """Context of `my-data.md`."""
    links = {
        "privacy": _reference("privacy", language, at="my-data"),
        "privacy_name": language.text("nav.privacy"),
    }
    return {"host": settings.public_url or ANY_HOST, "link": links}


def integrations_context(
    host: str, language: Language, today: date, *, links: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Context of `integrations.md`; its example is of the day before yesterday, which is final."""
    return {
        "host": host,
        "host_quoted": quote(host, safe=""),
        "day": today - timedelta(days=2),
        "link": links
        or {
            "api": _reference("api", language, at="integrations"),
            "api_name": language.text("nav.api"),
        },
    }


def method_context(settings: Settings, language: Language) -> dict[str, Any]:
    """Context of `method.md`: tables from the schema, and an example of suppression."""
    return {
        "raw": settings.retention_raw,
        "k": settings.k_anonymity,
        "example": _example(settings.k_anonymity, language),
        "tables": [
            {
                "name": measurement.name,
                "time": language.text("method.time", time=_time(measurement, language)),
                "fields": _fields(measurement, settings.k_anonymity, language),
                "tags": _tags(measurement, language),
            }
            for measurement in MEASUREMENTS
            if measurement.database == DAILY
            and (settings.librenms or measurement not in LIBRENMS_MEASUREMENTS)
        ],
        "link": {
            **{name: _reference(name, language, at="method") for name in ("api", "privacy")},
            "script": reference("/recompute.py", at=path_of("method", language.code)),
        },
        "host": settings.public_url or ANY_HOST,
    }


def _reference(page: str, language: Language, *, at: str) -> str:
    return reference(path_of(page, language.code), at=path_of(at, language.code))


def meaning(item: Definition, language: Language) -> str:
    """A field's meaning in a language; the schema's English one if there is no translation."""
    return _translated(f"meaning.{item.key}", item.meaning, language)


def _translated(key: str, english: str, language: Language) -> str:
    return language.text(key) if key in language else english


def _time(measurement: Measurement, language: Language) -> str:
    return _translated(f"meaning.time.{measurement.name}", measurement.time, language)


def _fields(measurement: Measurement, k: int, language: Language) -> str:
    heads = ("field", "unit", "of", "window", "shown", "meaning")
    rows = [
        (
            f"`{item.name}`",
            item.unit or "—",
            language.text(f"method.part.{item.of}") if item.of else "—",
            item.window,
            language.text("method.k", k=k)
            if item.protection == SUPPRESSED and k > 1
            else language.text("method.exact"),
            meaning(item, language),
        )
        for item in DEFINITIONS
        if item.measurement == measurement.name
    ]
    return _table([language.text(f"method.{head}") for head in heads], rows)


def _tags(measurement: Measurement, language: Language) -> str:
    heads = [language.text("method.tag"), language.text("method.meaning")]
    rows = [
        (f"`{tag.name}`", _translated(f"meaning.tag.{tag.name}", tag.meaning, language))
        for tag in measurement.tags
    ]
    return _table(heads, rows) if rows else ""


def _example(k: int, language: Language) -> dict[str, object]:
    """Example of a day with four versions, one of them under k, and the counts published."""
    counted = {
        "asl3-3.5.2": 80 * k + 12,
        "asl3-3.4.0": 7 * k + 3,
        "asl3-2.0.1": k + 4,
        "asl3-1.3": max(1, k - 2),
    }
    total = sum(counted.values())
    published = suppress_line(counted, total, k)
    rows = [
        (
            f"`{version}`",
            language.number(count),
            language.number(count) if version in published else language.text("method.hidden"),
        )
        for version, count in counted.items()
    ]
    other = total - sum(published.values())
    if other:
        rows.append((f"`{OTHER}`", "", language.number(other)))
    small, joined = list(counted)[-1], list(counted)[-2]
    heads = ("version", "counted", "published")
    return {
        "total": language.number(total),
        "table": _table([language.text(f"method.{head}") for head in heads], rows),
        "words": language.text(
            "method.words",
            small=small,
            count=language.number(counted[small]),
            k=k,
            total=language.number(total),
            joined=joined,
            other=language.number(other),
        ),
    }


def _table(heading: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
