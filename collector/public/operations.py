"""OpenAPI descriptions of the routes of downloads, badges, pages and text reports."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel

from collector.operations import (
    ATOM,
    CSV,
    HTML,
    JSON,
    PYTHON,
    SVG,
    TEXT,
    Answer,
    Operation,
    Parameter,
    get,
    problem,
)
from collector.public.badge import Badge
from collector.public.datasets import DATASETS, Dataset
from collector.public.definitions import MEASURES
from collector.public.formats import Format
from collector.public.freshness import Freshness
from collector.public.language import DEFAULT, LANGUAGES
from collector.public.links import path_of
from collector.public.models import MODELS
from collector.schema import ALL, DIMENSION, NODE_DIMENSIONS

DATA, BADGES, PAGES, REPORTS = "data", "badges", "pages", "reports"

Media = dict[str, type[BaseModel] | None]

_A_DAY: Final = {"type": "string", "format": "date"}
_A_DAY_OR_WORD: Final = {"anyOf": [_A_DAY, {"enum": ["today", "yesterday"]}]}
_A_MONTH: Final = {"type": "string", "pattern": r"^\d{4}-\d{2}$"}
_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 64}
_FILTERS: Final = {
    "measure": Parameter(
        "measure", "only this count", {"type": "string", "enum": [m.name for m in MEASURES]}
    ),
    "within": Parameter(
        "within",
        "only counts within values of this property; `all`: counts of the whole network",
        {"type": "string", "enum": [ALL, *NODE_DIMENSIONS]},
    ),
    "within_value": Parameter("within_value", "only counts within this value", _TEXT),
    "package": Parameter("package", "only this package", _TEXT),
}
_SUMMARIES: Final = {
    "daily": "Counts of each day, one row a count",
    "daily/nodes": "Nodes by property, and by property within another",
    "daily/servers": "Servers by property, and by property within another",
    "daily/packages": "Servers by Debian package and version",
    "upgrades": "Nodes by change of AllStarLink version",
}
SPAN: Final = (
    Parameter("from", "first day, included; also `today` or `yesterday`", _A_DAY_OR_WORD),
    Parameter("to", "last day, included; also `today` or `yesterday`", _A_DAY_OR_WORD),
)
NOT_MODIFIED: Final = Answer("the version in If-None-Match is current")
NOT_READABLE: Final = problem("the series cannot be read now", "Retry-After")
READ: Final = {
    HTTPStatus.NOT_MODIFIED: NOT_MODIFIED,
    HTTPStatus.SERVICE_UNAVAILABLE: NOT_READABLE,
}
WRONG_PARAMETER: Final = problem(
    "a parameter is unknown or has an invalid value: `invalid-parameter`"
)

_PAGE_UNREADABLE: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE: Answer(
        "the series cannot be read now", {HTML: None}, {"Retry-After": ""}
    )
}


def data_operations() -> Iterator[Operation]:
    """Operations of the downloads and of `/v1/freshness`."""
    for dataset in DATASETS:
        yield _span(dataset, "", dataset.name, {JSON: MODELS[dataset][1], CSV: None})
        media: dict[Format, Media] = {
            Format.JSON: {JSON: MODELS[dataset][1]},
            Format.CSV: {CSV: None},
        }
        for item in Format:
            yield _span(dataset, f".{item}", f"{dataset.name}-{item}", media[item])
        for item in Format:
            yield get(
                f"/v1/{dataset.path}/{{day}}.{item}",
                f"{dataset.name}-day-{item}",
                f"{_SUMMARIES[dataset.path]}: one complete day",
                DATA,
                media[item],
                parameters=(Parameter("day", "a complete day", _A_DAY, path=True),),
                variant_of=dataset.name,
                more=READ
                | {
                    HTTPStatus.BAD_REQUEST: WRONG_PARAMETER,
                    HTTPStatus.NOT_FOUND: problem("the day is not complete, or has no data"),
                },
            )
    forms: dict[str, Media] = {
        "": {JSON: Freshness, CSV: None},
        ".json": {JSON: Freshness},
        ".csv": {CSV: None},
    }
    for suffix, accepted in forms.items():
        yield get(
            f"/v1/freshness{suffix}",
            f"freshness{suffix.replace('.', '-')}",
            "Newest days and hours of the series, and whether a day is late",
            DATA,
            accepted,
            variant_of="freshness" if suffix else "",
            more={HTTPStatus.SERVICE_UNAVAILABLE: NOT_READABLE},
        )


def _span(
    dataset: Dataset, suffix: str, name: str, media: dict[str, type[BaseModel] | None]
) -> Operation:
    return get(
        f"/v1/{dataset.path}{suffix}",
        name,
        _SUMMARIES[dataset.path],
        DATA,
        media,
        parameters=(*SPAN, *_filters(dataset)),
        more=READ | {HTTPStatus.BAD_REQUEST: WRONG_PARAMETER},
        variant_of=dataset.name if suffix else "",
    )


def _filters(dataset: Dataset) -> Iterator[Parameter]:
    for name in dataset.filters:
        if name == DIMENSION.name:
            values = {"type": "string", "enum": list(dataset.dimensions)}
            yield Parameter(name, "only this property", values)
        else:
            yield _FILTERS[name]


def other_operations() -> Iterator[Operation]:
    """Operations of badges, pages about the numbers and text reports."""
    unreadable = {HTTPStatus.SERVICE_UNAVAILABLE: NOT_READABLE}
    yield get(
        "/badge/nodes.json",
        "badge-json",
        "Badge for shields.io",
        BADGES,
        {JSON: Badge},
        more=unreadable,
    )
    yield get("/badge/nodes.svg", "badge-svg", "Badge as SVG", BADGES, {SVG: None}, more=unreadable)
    yield get(
        "/recompute.py",
        "recompute",
        "Script that computes a published day again from raw reports",
        PAGES,
        {PYTHON: None},
        more={HTTPStatus.NOT_MODIFIED: NOT_MODIFIED},
    )
    for code in LANGUAGES:
        root = "" if code == DEFAULT else f"/{code}"
        page = {HTTPStatus.NOT_MODIFIED: NOT_MODIFIED}
        yield get(
            root or "/",
            f"home-{code}",
            "The numbers as a page",
            PAGES,
            {HTML: None},
            variant_of="" if code == DEFAULT else f"home-{DEFAULT}",
            more=page | _PAGE_UNREADABLE,
        )
        for path, name, kind, summary in (
            ("month", "months", HTML, "The months that have a page"),
            ("month/feed.atom", "months-feed", ATOM, "The newest months as an Atom feed"),
            ("month/{month}", "month", HTML, "A month in numbers, as it was at its end"),
        ):
            one = path.endswith("}")
            yield get(
                f"{root}/{path}",
                f"{name}-{code}",
                summary,
                PAGES,
                {kind: None},
                parameters=(Parameter("month", "a month, as `2026-10`", _A_MONTH, path=True),)
                if one
                else (),
                variant_of="" if code == DEFAULT else f"{name}-{DEFAULT}",
                more=page
                | _PAGE_UNREADABLE
                | (
                    {HTTPStatus.NOT_FOUND: Answer("there is no page of this month", {HTML: None})}
                    if one
                    else {}
                ),
            )
        for name, summary in (
            ("method", "The meaning of each number"),
            ("integrations", "How other programs read the numbers: copies to paste"),
            ("api", "This document as a page"),
        ):
            yield _page(name, code, summary)
    yield get(
        "/reports/basic",
        "report-basic",
        "Numbers of the last complete day as text",
        REPORTS,
        {TEXT: None},
        more=unreadable,
    )
    yield get(
        "/reports/daily",
        "report-daily",
        "A row a day as text",
        REPORTS,
        {TEXT: None},
        more=unreadable,
    )
    yield Operation(
        "get",
        "/reports/dump",
        "report-dump",
        "Gone: it listed node numbers beside server identities",
        REPORTS,
        {int(HTTPStatus.GONE): problem("this report is no longer made")},
    )


def about_operations() -> Iterator[Operation]:
    """Operations of the OpenAPI document and of the pages for owners, which every role serves."""
    yield get(
        "/openapi.json",
        "openapi",
        "This document",
        PAGES,
        {JSON: None},
        more={HTTPStatus.NOT_MODIFIED: NOT_MODIFIED},
    )
    for code in LANGUAGES:
        for name, summary in (
            ("privacy", "What is stored, for how long, and what is never stored"),
            ("my-data", "How the owner of a server sees and erases its data"),
        ):
            yield _page(name, code, summary)


def _page(name: str, code: str, summary: str) -> Operation:
    return get(
        path_of(name, code),
        f"{name}-{code}",
        summary,
        PAGES,
        {HTML: None},
        variant_of="" if code == DEFAULT else f"{name}-{DEFAULT}",
        more={HTTPStatus.NOT_MODIFIED: NOT_MODIFIED},
    )
