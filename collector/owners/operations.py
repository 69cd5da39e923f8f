"""OpenAPI descriptions of the owners' routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel

from collector.intakes import door
from collector.operations import JSON, TEXT, Answer, Operation, problem

GROUP: Final = "my-data"


def owner_operations(proofs: Iterable[type[BaseModel]]) -> Iterator[Operation]:
    """Yield the four routes; `proofs` are models of the bodies that prove ownership."""
    refusals = {HTTPStatus.BAD_REQUEST: problem("`malformed-json` or `invalid-field`")}
    refused = {
        status: Answer(answer.meaning, {TEXT: None, **answer.media}, answer.headers)
        for status, answer in (refusals | door.ANSWERS).items()
    }
    shown = {HTTPStatus.OK: Answer("as asked", {TEXT: None, JSON: None})}
    later = {HTTPStatus.ACCEPTED: Answer("remembered, and done later", {TEXT: None, JSON: None})}
    bodies = tuple(proofs)
    for name, summary, answers in (
        ("", "Show what is held of a server", shown),
        ("/erase", "Erase it", shown | later),
        ("/opt-out", "Erase it, and drop what comes", shown | later),
        ("/opt-in", "End an opt-out", shown),
    ):
        yield Operation(
            "post",
            f"/v1/my-data{name}",
            f"my-data{name.replace('/', '-')}",
            summary,
            GROUP,
            answers | refused,
            bodies=bodies,
        )
