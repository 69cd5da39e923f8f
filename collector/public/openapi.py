"""`/openapi.json`: every public route, made from the models. Form: OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from collector.public.datasets import LICENCE_URL
from collector.public.models import Problem

PROBLEM: Final = "application/problem+json"
HTML: Final = "text/html"
TEXT: Final = "text/plain"
JSON: Final = "application/json"
CSV: Final = "text/csv"
SVG: Final = "image/svg+xml"

_REFERENCE: Final = "#/components/schemas/{model}"
_TEXT_SCHEMA: Final = {"type": "string"}


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
    """One route: `name` is its operationId; `body` what is sent to it, as JSON.

    `variant_of` names the operation that it is another address or form of.
    """

    method: str
    path: str
    name: str
    summary: str
    group: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    variant_of: str = ""


def problem(meaning: str, *headers: str) -> Answer:
    """A refusal; `headers` name those that come with it."""
    return Answer(meaning, {PROBLEM: Problem}, dict.fromkeys(headers, ""))


def document(
    operations: Iterable[Operation], *, title: str, version: str, description: str, server: str
) -> dict[str, Any]:
    """The OpenAPI document. `server` is the public address, or empty for "where this came from"."""
    known = list(operations)
    models = {
        model
        for operation in known
        for answer in operation.answers.values()
        for model in answer.media.values()
        if model is not None
    }
    sent = {operation.body for operation in known if operation.body is not None}
    _, schemas = models_json_schema(
        [
            *((model, "serialization") for model in sorted(models, key=lambda m: m.__name__)),
            *((model, "validation") for model in sorted(sent, key=lambda m: m.__name__)),
        ],
        ref_template=_REFERENCE,
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in known:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": description,
            "license": {"name": "CC0 1.0 (the data)", "url": LICENCE_URL},
        },
        "servers": [{"url": server or "/"}],
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {})},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.group],
        "parameters": [
            {
                "name": parameter.name,
                "in": "path" if parameter.path else "query",
                "required": parameter.path,
                "description": parameter.meaning,
                "schema": dict(parameter.schema),
            }
            for parameter in operation.parameters
        ],
        "responses": {
            str(status): _answer(answer) for status, answer in sorted(operation.answers.items())
        },
    }
    if operation.body is not None:
        told["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _schema(operation.body, JSON)}},
        }
    return told


def _answer(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.meaning}
    if answer.media:
        told["content"] = {
            kind: {"schema": _schema(model, kind)} for kind, model in answer.media.items()
        }
    if answer.headers:
        told["headers"] = {
            name: {"description": meaning or name, "schema": _TEXT_SCHEMA}
            for name, meaning in answer.headers.items()
        }
    return told


def _schema(model: type[BaseModel] | None, kind: str) -> dict[str, Any]:
    if model is None:
        return {"type": "object"} if kind == JSON else dict(_TEXT_SCHEMA)
    return {"$ref": _REFERENCE.format(model=model.__name__)}


NOT_MODIFIED: Final = Answer("what you have (If-None-Match) is still so")
NOT_READABLE: Final = problem("the series cannot be read now", "Retry-After")


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
