"""Generator of docs/reference.md and README.md's settings table: `python -m tools.reference`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from collector.cli.exit_codes import MEANINGS
from collector.metrics import Metrics
from collector.schema import MEASUREMENTS, Measurement
from collector.settings import Settings, default_of, variable
from tools.manual import commands

README = Path(__file__).parent.parent / "README.md"
REFERENCE = Path(__file__).parent.parent / "docs" / "reference.md"


def reference() -> str:
    """The whole text of docs/reference.md."""
    parts = [
        "# Reference",
        "Made from the code by `python -m tools.reference`; a test compares the two.",
        "## Commands",
        "`collector COMMAND --help` shows options and examples; `man collector` has all of them.",
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
