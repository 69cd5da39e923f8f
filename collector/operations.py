"""HTTP operations described for the OpenAPI document: parameters, answers, bodies. Pure.

Senders and pages describe their own routes with these types; `public/openapi.py` makes the document
of all of them. Form: OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.0.
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
CSV: Final = "text/csv"
SVG: Final = "image/svg+xml"

REPORTING: Final = "reporting"
"""The group of the routes to which senders report."""


class Problem(BaseModel):
    """A refusal, RFC 9457."""

    type: Literal["about:blank"]
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    reason: Reason = Field(description="why, in one word")
    detail: str = Field(description="a sentence for a person")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or of the path where `path` is set."""

    name: str
    meaning: str
    schema: Mapping[str, Any]
    path: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its meaning, and what it holds by media type (None: text, or any object)."""

    meaning: str
    media: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: `name` is its operationId, `bodies` the JSON bodies of which it takes any.

    `variant_of` names the operation that it is another address or form of.
    """

    method: str
    path: str
    name: str
    summary: str
    group: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[type[BaseModel], ...] = ()
    variant_of: str = ""


def problem(meaning: str, *headers: str) -> Answer:
    """A refusal; `headers` name those that come with it."""
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
    """A GET that answers 200 with `media`, or with one of `more`."""
    answers = {HTTPStatus.OK: Answer("as asked", media), **(more or {})}
    return Operation(
        "get",
        path,
        name,
        summary,
        group,
        {int(status): answer for status, answer in answers.items()},
        parameters,
        variant_of=variant_of,
    )
