"""Builder of the OpenAPI 3.1 document from the descriptions of all routes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from collector.operations import FORM, JSON, Answer, Operation
from collector.public.responses import LICENCE_URL

_REFERENCE: Final = "#/components/schemas/{model}"
_TEXT_SCHEMA: Final = {"type": "string"}


def document(
    operations: Iterable[Operation], *, title: str, version: str, description: str, server: str
) -> dict[str, Any]:
    """The OpenAPI document. `server` is the public URL; empty: relative to the document."""
    known = list(operations)
    models = {
        model
        for operation in known
        for answer in operation.answers.values()
        for model in answer.media.values()
        if model is not None
    }
    sent = {body for operation in known for body in operation.bodies}
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
        # A relative URL is right under any prefix of a proxy.
        "servers": [{"url": server or "."}],
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {})},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.group],
        "parameters": [
            {
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.place != "query",
                "description": parameter.meaning,
                "schema": dict(parameter.schema),
            }
            for parameter in operation.parameters
        ],
        "responses": {
            str(status): _answer(answer) for status, answer in sorted(operation.answers.items())
        },
    }
    if schemas := [_schema(model, JSON) for model in operation.bodies]:
        described["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}},
        }
        if operation.form:
            described["requestBody"]["content"][FORM] = {
                "schema": {
                    "type": "object",
                    "properties": {operation.form: _TEXT_SCHEMA},
                    "required": [operation.form],
                }
            }
    return described


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.meaning}
    if answer.media:
        described["content"] = {
            kind: {"schema": _schema(model, kind)} for kind, model in answer.media.items()
        }
    if answer.headers:
        described["headers"] = {
            name: {"description": meaning or name, "schema": _TEXT_SCHEMA}
            for name, meaning in answer.headers.items()
        }
    return described


def _schema(model: type[BaseModel] | None, kind: str) -> dict[str, Any]:
    if model is None:
        return {"type": "object"} if kind == JSON else dict(_TEXT_SCHEMA)
    return {"$ref": _REFERENCE.format(model=model.__name__)}
