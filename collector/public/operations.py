"""OpenAPI descriptions of the routes of downloads, badges, pages and text reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
_UNCHANGED: Final = {HTTPStatus.NOT_MODIFIED: Answer("the version in If-None-Match is current")}
_UNREADABLE: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE: problem("the series cannot be read now", "Retry-After")
}
READ: Final = _UNCHANGED | _UNREADABLE
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
        summary, model = _SUMMARIES[dataset.path], MODELS[dataset][1]
        yield from in_each_format(
            dataset.path,
            summary,
            model,
            parameters=(*SPAN, *_filters(dataset)),
            more=READ | {HTTPStatus.BAD_REQUEST: WRONG_PARAMETER},
        )
        media: dict[Format, Media] = {Format.JSON: {JSON: model}, Format.CSV: {CSV: None}}
        for item in Format:
            yield get(
                f"/v1/{dataset.path}/{{day}}.{item}",
                f"{dataset.name}-day-{item}",
                f"{summary}: one complete day",
                DATA,
                media[item],
                parameters=(Parameter("day", "a complete day", _A_DAY, place="path"),),
                variant_of=dataset.name,
                more=READ
                | {
                    HTTPStatus.BAD_REQUEST: WRONG_PARAMETER,
                    HTTPStatus.NOT_FOUND: problem("the day is not complete, or has no data"),
                },
            )
    yield from in_each_format(
        "freshness",
        "Newest days and hours of the series, and whether a day is late",
        Freshness,
        more=_UNREADABLE,
    )


def in_each_format(
    path: str,
    summary: str,
    model: type[BaseModel],
    *,
    parameters: tuple[Parameter, ...] = (),
    more: Mapping[HTTPStatus, Answer],
) -> Iterator[Operation]:
    """Operations of a path below `/v1`: in the format that Accept names, as JSON, and as CSV."""
    name = path.replace("/", "-")
    forms: dict[str, Media] = {
        "": {JSON: model, CSV: None},
        ".json": {JSON: model},
        ".csv": {CSV: None},
    }
    for suffix, media in forms.items():
        yield get(
            f"/v1/{path}{suffix}",
            f"{name}{suffix.replace('.', '-')}",
            summary,
            DATA,
            media,
            parameters=parameters,
            more=more,
            variant_of=name if suffix else "",
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
    for path, name, summary, kind, model in (
        ("/badge/nodes.json", "badge-json", "Badge for shields.io", JSON, Badge),
        ("/badge/nodes.svg", "badge-svg", "Badge as SVG", SVG, None),
    ):
        yield get(path, name, summary, BADGES, {kind: model}, more=_UNREADABLE)
    yield get(
        "/recompute.py",
        "recompute",
        "Script that computes a published day again from raw reports",
        PAGES,
        {PYTHON: None},
        more=_UNCHANGED,
    )
    month = Parameter("month", "a month, as `2026-10`", _A_MONTH, place="path")
    no_month = {HTTPStatus.NOT_FOUND: Answer("there is no page of this month", {HTML: None})}
    for code in LANGUAGES:
        shown = _PAGE_UNREADABLE
        yield _page("", code, "The numbers as a page", name="home", more=shown)
        yield _page("month", code, "The months that have a page", name="months", more=shown)
        yield _page(
            "month/feed.atom",
            code,
            "The newest months as an Atom feed",
            name="months-feed",
            kind=ATOM,
            more=shown,
        )
        yield _page(
            "month/{month}",
            code,
            "A month in numbers, as it was at its end",
            name="month",
            parameters=(month,),
            more=shown | no_month,
        )
        for path, summary in (
            ("method", "The meaning of each number"),
            ("integrations", "How other programs read the numbers: copies to paste"),
            ("api", "This document as a page"),
        ):
            yield _page(path, code, summary)
    for name, summary in (
        ("basic", "Numbers of the last complete day as text"),
        ("daily", "A row a day as text"),
    ):
        yield get(
            f"/reports/{name}", f"report-{name}", summary, REPORTS, {TEXT: None}, more=_UNREADABLE
        )
    yield Operation(
        "get",
        "/reports/dump",
        "report-dump",
        "Gone: it listed node numbers beside server identities",
        REPORTS,
        {HTTPStatus.GONE: problem("this report is no longer made")},
    )


def about_operations() -> Iterator[Operation]:
    """Operations of the OpenAPI document and of the pages for owners, which every role serves."""
    yield get("/openapi.json", "openapi", "This document", PAGES, {JSON: None}, more=_UNCHANGED)
    for code in LANGUAGES:
        for path, summary in (
            ("privacy", "What is stored, for how long, and what is never stored"),
            ("my-data", "How the owner of a server sees and erases its data"),
        ):
            yield _page(path, code, summary)


def _page(
    path: str,
    code: str,
    summary: str,
    *,
    name: str = "",
    kind: str = HTML,
    parameters: tuple[Parameter, ...] = (),
    more: dict[HTTPStatus, Answer] | None = None,
) -> Operation:
    """The operation of a page in a language; its name is its path unless `name` is another."""
    name = name or path
    return get(
        path_of(path, code),
        f"{name}-{code}",
        summary,
        PAGES,
        {kind: None},
        parameters=parameters,
        variant_of="" if code == DEFAULT else f"{name}-{DEFAULT}",
        more=_UNCHANGED | (more or {}),
    )
