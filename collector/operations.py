"""Types that describe HTTP operations for the OpenAPI document. Pure.

Each module describes its own routes with them; `public/openapi.py` builds the document from all.
Format: OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from collector.problems import Reason

PROBLEM: Final = "application/problem+json"
HTML: Final = "text/html"
TEXT: Final = "text/plain"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
CSV: Final = "text/csv"
SVG: Final = "image/svg+xml"
ATOM: Final = "application/atom+xml"
PYTHON: Final = "text/x-python"

REPORTING: Final = "reporting"
"""Group (OpenAPI tag) of the routes that take reports."""


class Problem(BaseModel):
    """JSON body of a refusal, RFC 9457."""

    type: Literal["about:blank"]
    title: str = Field(description="the phrase of the HTTP status")
    status: int = Field(description="the HTTP status")
    reason: Reason = Field(description="the reason in one word")
    detail: str = Field(description="the reason in a sentence")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation; those of a path or header are required."""

    name: str
    meaning: str
    schema: Mapping[str, Any]
    place: Literal["query", "path", "header"] = "query"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: meaning, models by media type (None: text, or any object), and headers."""

    meaning: str
    media: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and method. `name` is the operationId; `bodies` are alternative JSON bodies.

    `form` names the field of an encoded form that may be sent in place of the body.
    `variant_of` names the operation that this one is another path or format of.
    """

    method: str
    path: str
    name: str
    summary: str
    group: str
    answers: Mapping[HTTPStatus, Answer]
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[type[BaseModel], ...] = ()
    variant_of: str = ""
    form: str = ""


def problem(meaning: str, *headers: str) -> Answer:
    """A response with a problem+json body and the named headers."""
    return Answer(meaning, {PROBLEM: Problem}, dict.fromkeys(headers, ""))


def get(
    path: str,
    name: str,
    summary: str,
    group: str,
    media: Mapping[str, type[BaseModel] | None],
    *,
    parameters: tuple[Parameter, ...] = (),
    more: Mapping[HTTPStatus, Answer] | None = None,
    variant_of: str = "",
) -> Operation:
    """A GET operation that responds 200 with `media`, or with one of `more`."""
    answers = {HTTPStatus.OK: Answer("the requested content", media), **(more or {})}
    return Operation("get", path, name, summary, group, answers, parameters, variant_of=variant_of)
