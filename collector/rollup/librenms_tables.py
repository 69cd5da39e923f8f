"""Published points of a day of LibreNMS's reports, with suppression under k. Pure.

Unlike nodes by version, installs by operating system are not a partition: an install has devices of
many kinds. A cell is a value of a group's column; its units are the installs that have it. A cell
under k installs is hidden (primary suppression); the installs with a hidden value, taken together,
are none or at least k, otherwise the smallest published cell is hidden too (secondary suppression).
All hidden cells of a group are one row, `other`, so that the rows sum to the group's total.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from collector.lazy import pl
from collector.lines import FieldValue
from collector.privacy import is_safe
from collector.rollup.labels import one_name, published_label
from collector.rollup.points import Points
from collector.schema import ALL, FINAL, OTHER, UNKNOWN
from collector.schema.librenms import DEVICES, PORTS, VALUES_BUDGET
from collector.tag_budget import servers_needed

_VERSION_NAMES: Final = ("version", "release")
"""Columns of groups that count each install by one value."""
_SHORT: Final = re.compile(r"^(?P<words>\D*?)(?P<version>\d+(?:\.\d+)?)")
_SHORTENED: Final = frozenset(
    {"database_version", "mysql_version", "php_version", "python_version", "librenms_release"}
)
"""Groups published by the first two numbers of the version, because distributions' additions make
almost every install unique."""
_KEY: Final = ["group", "name", "value"]


def columns() -> dict[str, pl.DataType]:
    """The columns of a day's rows: the last report of each install.

    `name` and `value` are null where the group has no column.
    """
    return dict.fromkeys(("install", "group", "name", "value"), pl.String()) | {"total": pl.Int64()}


def librenms_points(
    rows: pl.DataFrame, everyone: Sequence[str], time: int, *, reports: int, k: int, final: bool
) -> tuple[Points, Points]:
    """`daily_librenms` and `daily_librenms_totals` of a day that starts at `time` (ns).

    `rows` have the columns of `columns`, `everyone` are the day's installs, `reports` their
    reports. Of a day that is not final only these two numbers are published: two sums of it, read
    before and after one report, would reveal that report's totals.
    """
    installs = len(everyone)
    fields: dict[str, FieldValue] = {
        "reports": reports,
        "installs": installs,
        FINAL.name: int(final),
    }
    if not final:
        return {(time, ()): fields}, {}
    labelled = _completed(_labelled(rows), everyone)
    points: Points = {}
    sums: dict[str, int] = {}
    for (group,), part in labelled.group_by(["group"]):
        units = part["install"].n_unique()
        if group == OTHER or units < k:
            continue
        total = int(part["total"].sum())
        sums[str(group)] = total
        for name, value, count, having in _cells(part, total, units, k):
            shown: dict[str, FieldValue] = {"total": count, FINAL.name: 1}
            if is_safe(installs - having, k):
                shown["installs"] = having
            tags = (("group", str(group)), ("name", name), ("value", value))
            points[time, tags] = shown
    for name, group in (("devices", DEVICES), ("ports", PORTS)):
        if group in sums:
            fields[name] = sums[group]
        elif not installs:
            fields[name] = 0
    return {(time, ()): fields}, points


def _cells(
    part: pl.DataFrame, total: int, units: int, k: int
) -> Iterator[tuple[str, str, int, int]]:
    """The published rows of a group: column, value, total and installs; the whole group first."""
    yield ALL, ALL, total, units
    named = part.filter(pl.col("name").is_not_null())
    if named.is_empty():
        return
    cells = (
        named.group_by("name", "value")
        .agg(pl.col("total").sum(), pl.col("install").n_unique().alias("installs"))
        .sort(["installs", "total", "name", "value"], descending=[True, True, False, False])
    )
    published: list[tuple[str, str, int, int]] = []
    for name, value, count, having in cells.iter_rows():
        needed = servers_needed(len(published), VALUES_BUDGET)
        if value != OTHER and needed is not None and having >= max(k, needed):
            published.append((name, value, count, having))
    hidden = _hidden(part, published)
    if not is_safe(hidden, k):
        published.pop()
        hidden = _hidden(part, published)
    yield from published
    if hidden:
        yield OTHER, OTHER, total - sum(count for _, _, count, _ in published), hidden


def _hidden(part: pl.DataFrame, published: list[tuple[str, str, int, int]]) -> int:
    """The number of installs with a value that is not published."""
    shown = pl.DataFrame(
        [(name, value) for name, value, _, _ in published],
        schema={"name": pl.String(), "value": pl.String()},
        orient="row",
    )
    rest = part.join(shown, on=["name", "value"], how="anti", nulls_equal=True)
    return rest["install"].n_unique()


def _labelled(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the labels under which values are published, added up by install."""
    kinds = rows.group_by(_KEY).agg(pl.col("install").n_unique().alias("installs"))
    named = [
        (group, name, value, published_label(_shortened(group, value or "")), installs)
        for group, name, value, installs in kinds.iter_rows()
        if name is not None
    ]
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for group, name, _, label, installs in named:
        found = counts.setdefault((group, name), {})
        found[label] = found.get(label, 0) + installs
    merged: Mapping[tuple[str, str], Mapping[str, str]] = {
        column: one_name(found) for column, found in counts.items()
    }
    labels = pl.DataFrame(
        [(g, n, v, merged[g, n][label]) for g, n, v, label, _ in named],
        schema=dict.fromkeys([*_KEY, "label"], pl.String()),
        orient="row",
    )
    return (
        rows.join(labels, on=_KEY, how="left", nulls_equal=True)
        .with_columns(pl.col("label").alias("value"))
        .group_by("install", *_KEY)
        .agg(pl.col("total").sum())
    )


def _completed(rows: pl.DataFrame, everyone: Sequence[str]) -> pl.DataFrame:
    """The rows, with one row for each install in the groups that count installs by version.

    An install without such a row has the version `unknown`, so that the rows of the group sum to
    the day's installs and their difference isolates nobody.
    """
    versions = (
        rows.group_by("group")
        .agg(pl.col("name").is_in(_VERSION_NAMES).all().alias("is_version"))
        .filter("is_version")["group"]
    )
    if versions.is_empty():
        return rows
    counted = pl.col("group").is_in(versions.implode())
    one_each = rows.filter(counted).sort(_KEY).unique(["install", "group"], keep="first")
    names = one_each.group_by("group").agg(pl.col("name").sort().first())
    missing = (
        pl.DataFrame({"install": everyone}, schema={"install": pl.String()})
        .join(names, how="cross")
        .join(one_each, on=["install", "group"], how="anti")
        .select(
            "install",
            "group",
            "name",
            pl.lit(UNKNOWN).alias("value"),
            pl.lit(1, pl.Int64()).alias("total"),
        )
    )
    return pl.concat([rows.filter(~counted), one_each.select(rows.columns), missing])


def _shortened(group: str, value: str) -> str:
    """A version as published: in some groups its first two numbers, such as `MariaDB 10.11`."""
    if group not in _SHORTENED:
        return value
    found = _SHORT.match(value)
    return value if found is None else f"{found['words']}{found['version']}"
