"""Parser of the reports of `asl-telemetry`. Pure.

The client sends a report only once, so one bad value must not invalidate it: values that cannot be
parsed are ignored and counted by field. Only `uuid` and `nodes` can make a report invalid.
docs/http.md has the rules for each field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final, NamedTuple

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from collector.intakes.asl.repair import Repair, repaired
from collector.intakes.asl.tags import version_line
from collector.problems import Reason, Refusal
from collector.schema import FIRST_PUBLIC_NODE

MOST_NODES: Final = 500
LAST_NODE: Final = (1 << 31) - 1
_MOST_PACKAGES: Final = 300
_MOST_TEXT: Final = 256
_SPACE: Final = " \t\r\n"

_UUID: Final = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_PUBLIC_AS_TEXT: Final = (
    r"^[ \t\r\n]*0*([2-9][0-9]{3}|[1-9][0-9]{4,8}|1[0-9]{9}|20[0-9]{8}|21[0-3][0-9]{7}"
    r"|214[0-6][0-9]{6}|2147[0-3][0-9]{5}|21474[0-7][0-9]{4}|214748[0-2][0-9]{3}"
    r"|2147483[0-5][0-9]{2}|21474836[0-3][0-9]|214748364[0-7])[ \t\r\n]*$"
)

_TEXT_SCHEMA: Final = {
    "description": "Text, or a number, which becomes text; stored with at most 64 characters."
    " Anything else counts as unknown."
}
_SECONDS_SCHEMA: Final = {
    "description": "Whole seconds, as text or a number. Anything else counts as unknown."
}
_NODES_SCHEMA: Final = {
    "type": "array",
    "maxItems": MOST_NODES,
    "description": "The server's node numbers, as numbers or text. Anything else in the list, and"
    f" a number over {LAST_NODE}, is ignored.",
}
_PUBLIC_NODES_SCHEMA: Final = _NODES_SCHEMA | {
    "contains": {
        "anyOf": [
            {"type": "integer", "minimum": FIRST_PUBLIC_NODE, "maximum": LAST_NODE},
            {"type": "string", "pattern": _PUBLIC_AS_TEXT},
        ]
    }
}
_REGISTERED_SCHEMA: Final = {
    "description": "A list of node numbers, as numbers or text. Other elements are ignored, and so"
    " is any other type."
}
_CHANNELS_SCHEMA: Final = {
    "description": "An object: node number to the name of its channel driver, as text or a number."
    " Any other driver counts as unknown, and so do all drivers if this is not an object."
}
_PACKAGES_SCHEMA: Final = {
    "description": f"An object: name of a Debian package to its version, at most {_MOST_PACKAGES}."
    " A version that is neither text nor a number is ignored, and so is any other type."
}

Text = Annotated[str, Field(max_length=_MOST_TEXT)] | None
Label = Annotated[Text, WithJsonSchema(_TEXT_SCHEMA)]
Seconds = Annotated[Text, WithJsonSchema(_SECONDS_SCHEMA)]
Named = dict[Annotated[str, Field(max_length=_MOST_TEXT)], Text] | None
Registered = Annotated[
    list[Annotated[int, Field(strict=True)]] | None, WithJsonSchema(_REGISTERED_SCHEMA)
]
Node = Annotated[int, Field(strict=True, ge=0, le=LAST_NODE)]


class Report(BaseModel):
    """A parsed report; unknown fields are ignored.

    The JSON schemas describe the accepted input, which is wider than these types: see `read`.
    """

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    uuid: Annotated[
        str,
        Field(pattern=f"^{_UUID}$"),
        WithJsonSchema({"type": "string", "pattern": rf"^[ \t\r\n]*{_UUID}[ \t\r\n]*$"}),
    ]
    nodes: Annotated[list[Node], Field(max_length=MOST_NODES), WithJsonSchema(_NODES_SCHEMA)]
    nodes_http: Registered = Field(None, alias="nodes-reg-http")
    nodes_iax: Registered = Field(None, alias="nodes-reg-iax")
    channels: Annotated[Named, WithJsonSchema(_CHANNELS_SCHEMA)] = Field(
        None, alias="nodes-channels"
    )
    ast_ver: Label = Field(None, alias="ast-ver")
    uptime: Seconds = None
    reload_time: Seconds = Field(None, alias="reload-time")
    distro: Label = None
    release: Label = None
    kernel: Label = None
    arch: Label = None
    packages: Annotated[
        Named,
        Field(alias="pkgs", max_length=_MOST_PACKAGES),
        WithJsonSchema(_PACKAGES_SCHEMA),
    ] = None


class PublicReport(Report):
    """A report that can be stored: at least one of its nodes is public."""

    nodes: Annotated[list[Node], Field(max_length=MOST_NODES), WithJsonSchema(_PUBLIC_NODES_SCHEMA)]


class Reading(NamedTuple):
    """A parsed report, and the input that is not in it.

    `malformed` and `out_of_range` count elements of `nodes`; `repairs` are the repairs of the JSON,
    `ignored` the names of fields with ignored values.
    """

    report: Report
    malformed: int = 0
    out_of_range: int = 0
    repairs: frozenset[Repair] = frozenset()
    ignored: frozenset[str] = frozenset()


def read(body: bytes) -> Reading | Refusal:
    """Parse a body."""
    try:
        # Nearly all bodies are valid and need one pass. NaN and Infinity are not JSON, but pydantic
        # accepts them in ignored fields. Searching for a single, rare letter first is much faster.
        if not (b"N" in body and b"NaN" in body) and not (b"I" in body and b"Infinity" in body):
            return Reading(Report.model_validate_json(body))
    except ValidationError:
        pass
    return _read_with_patience(body)


def _read_with_patience(body: bytes) -> Reading | Refusal:
    repairs: frozenset[Repair] = frozenset()
    try:
        said = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError:
        text, repairs = repaired(body) or ("", repairs)
        try:
            said = pydantic_core.from_json(text, allow_inf_nan=False)
        except ValueError:
            said = None
    if not isinstance(said, dict):
        return Refusal(Reason.MALFORMED_JSON, "the body is not a JSON object")
    numbers = said.get("nodes")
    if not isinstance(numbers, list):
        return Refusal(Reason.INVALID_FIELD, "nodes: a list of node numbers is required")
    if len(numbers) > MOST_NODES:
        return Refusal(Reason.INVALID_FIELD, f"nodes: at most {MOST_NODES} are allowed")
    found = [_number(value) for value in numbers]
    ignored: set[str] = set()
    tidy = {
        name: understand(said[name], partial(ignored.add, name))
        for name, understand in _FIELDS.items()
        if said.get(name) is not None
    }
    uuid = said.get("uuid")
    try:
        report = Report.model_validate(
            tidy
            | {
                "uuid": uuid.strip(_SPACE) if isinstance(uuid, str) else "",
                "nodes": [number for number in found if number is not None and number <= LAST_NODE],
            }
        )
    except ValidationError:
        # All other fields have been converted to valid values.
        return Refusal(Reason.INVALID_FIELD, "uuid: a UUID with dashes is required")
    return Reading(
        report,
        sum(number is None for number in found),
        sum(number is not None and number > LAST_NODE for number in found),
        repairs,
        frozenset(ignored),
    )


def _number(value: object) -> int | None:
    """A node number, sent as a number or as text; None for anything else.

    Text of over ten digits gives a number over 31 bits.
    """
    if isinstance(value, str):
        digits = value.strip(_SPACE)
        if not (digits.isascii() and digits.isdigit()):
            return None
        digits = digits.lstrip("0")
        return int(digits or "0") if len(digits) <= len(str(LAST_NODE)) else LAST_NODE + 1
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


_Note = Callable[[], object]
"""Called when a value is ignored."""


def _text(value: object, ignored: _Note) -> str | None:
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        text = str(value)
        if len(text) > _MOST_TEXT:
            ignored()
        return text[:_MOST_TEXT]
    ignored()
    return None


def _version(value: object, ignored: _Note) -> str | None:
    # Warnings before the version may be longer than the limit for text.
    return _text(version_line(value) if isinstance(value, str) else value, ignored)


def _registered(value: object, ignored: _Note) -> list[int]:
    if not isinstance(value, list):
        ignored()
        return []
    # Users of other providers are common in these lists, and not counted as ignored.
    return [number for number in map(_number, value) if number is not None]


def _channels(value: object, ignored: _Note) -> dict[str, str | None]:
    named = _named(value, ignored)
    return {name.strip(_SPACE).lstrip("0"): driver for name, driver in named.items()}


def _packages(value: object, ignored: _Note) -> dict[str, str | None]:
    named = _named(value, ignored)
    if len(named) > _MOST_PACKAGES:
        ignored()
    return dict(islice(named.items(), _MOST_PACKAGES))


def _named(value: object, ignored: _Note) -> dict[str, str | None]:
    if not isinstance(value, dict):
        ignored()
        return {}
    named: dict[str, str | None] = {}
    for name, text in value.items():
        found = None if text is None else _text(text, ignored)
        if len(name) > _MOST_TEXT:
            ignored()
        elif found is not None or text is None:
            named[name] = found
    return named


_FIELDS: Final[Mapping[str, Callable[[Any, _Note], object]]] = {
    "nodes-reg-http": _registered,
    "nodes-reg-iax": _registered,
    "nodes-channels": _channels,
    "ast-ver": _version,
    "uptime": _text,
    "reload-time": _text,
    "distro": _text,
    "release": _text,
    "kernel": _text,
    "arch": _text,
    "pkgs": _packages,
}
