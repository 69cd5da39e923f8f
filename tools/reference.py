"""Generator of docs/reference.md and README.md's settings table: `python -m tools.reference`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args, get_origin

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel

from collector.cli.exit_codes import MEANINGS
from collector.metrics import Metrics
from collector.schema import MEASUREMENTS, Measurement
from collector.settings import Settings, default_of, variable
from collector.status.report import Diagnosis, Status
from tools.manual import commands

README = Path(__file__).parent.parent / "README.md"
REFERENCE = Path(__file__).parent.parent / "docs" / "reference.md"


def reference() -> str:
    """The whole text of docs/reference.md."""
    parts = [
        "# Reference",
        "Made from the code by `python -m tools.reference`; a test compares the two.",
        "## Commands",
        "`collector COMMAND --help` shows options and examples; `man collector` has all of them."
        " `collector --version` shows the version.",
        _table(
            ("command", "what it does"),
            [
                (f"`{context.command_path}`", str(command.help).split("\n\n")[0])
                for command, context in commands()
            ],
        ),
        "## Exit codes of commands",
        _table(
            ("code", "meaning"),
            [(f"{int(code)}", f"{meaning}") for code, meaning in MEANINGS.items()],
        ),
        "## JSON of `collector status` and `collector doctor`",
        "Names stay as they are; new ones may be added. Times are UTC (ISO 8601).",
        "### `collector status --json`",
        _form(Status),
        "### `collector doctor --json`",
        _form(Diagnosis),
        "## Measurements in InfluxDB",
        *[_measurement(measurement) for measurement in MEASUREMENTS],
        "## Prometheus metrics",
        _table(
            ("metric", "type", "labels", "meaning"),
            [
                (f"`{_name(metric)}`", metric.type, labels, metric.documentation)
                for metric, labels in _metrics()
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _form(model: type[BaseModel]) -> str:
    """A table of the names in a form, with their types and meanings."""
    return _table(("name", "type", "meaning"), list(_names(model)))


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        inner, kind = field.annotation, ""
        if get_origin(inner) is list:
            (inner,), kind = get_args(inner), "[]"
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _names(inner, f"{prefix}{name}{kind}.")
        else:
            yield f"`{prefix}{name}`", _json_type(inner), str(field.description)


def _json_type(kind: object) -> str:
    """The type as JSON has it."""
    if get_origin(kind) is UnionType:
        return " or ".join(_json_type(one) for one in get_args(kind))
    names = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}
    if isinstance(kind, type) and kind in names:
        return names[kind]
    if get_origin(kind) is dict:
        return "object of integers"
    return "time" if kind is datetime else "date"


def _measurement(measurement: Measurement) -> str:
    tags = [(f"`{tag.name}`", "tag", "", tag.meaning) for tag in measurement.tags]
    fields = [(f"`{f.name}`", str(f.type), f.unit, f.meaning) for f in measurement.fields]
    return (
        f"### `{measurement.name}` in `{measurement.database}`\n\n"
        f"Time: {measurement.time}.\n\n"
        + _table(("name", "type", "unit", "meaning"), tags + fields)
    )


def _table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(
        ["| " + " | ".join(row) + " |" for row in (heading, ("---",) * len(heading), *rows)]
    )


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _metrics() -> list[tuple[Metric, str]]:
    """All declared metrics with their labels, sorted by name."""
    declared = [item for item in vars(Metrics()).values() if isinstance(item, MetricWrapperBase)]
    found = [
        (next(iter(item.describe())), ", ".join(f"`{label}`" for label in item._labelnames))  # noqa: SLF001
        for item in declared
    ]
    return sorted(found, key=lambda pair: pair[0].name)


def settings_table() -> str:
    """The table of settings in README.md."""
    rows = [
        (f"`{variable(name)}`", f"`{default}`" if default else "empty", str(field.description))
        for name, field in Settings.model_fields.items()
        for default in (default_of(name),)
    ]
    return _table(("setting", "default", "meaning"), rows)


def with_settings(readme: str) -> str:
    """Return README.md's text with a current table of settings."""
    old = re.search(r"^\| setting \|.*?(?=\n\n)", readme, re.DOTALL | re.MULTILINE)
    if old is None:
        raise ValueError("README.md has lost its table of settings")
    return readme[: old.start()] + settings_table() + readme[old.end() :]


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    README.write_text(with_settings(README.read_text(encoding="utf-8")), encoding="utf-8")
