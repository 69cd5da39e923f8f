from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.rollup.librenms_tables import columns, librenms_points
from collector.schema.librenms import GROUPS, VALUES_BUDGET
from tests.librenms import REPORT, expected

DAY = 1_795_000_000 * 10**9 // 86_400 // 10**9 * 86_400 * 10**9

Row = tuple[str, str, str | None, str | None, int]
Table = dict[tuple[str, str], dict[str, int]]


def computed(
    rows: list[Row], everyone: list[str], k: int, *, reports: int = 0
) -> tuple[dict[str, Any], dict[str, Table]]:
    """The day's numbers, and the fields of each row by group, column and value."""
    frame = pl.DataFrame(rows, schema=columns(), orient="row")
    numbers, totals = librenms_points(frame, everyone, DAY, reports=reports, k=k, final=True)
    tables: dict[str, Table] = {}
    for (time, tags), fields in totals.items():
        assert time == DAY
        said = dict(tags)
        shown = {name: int(value) for name, value in fields.items()}
        assert shown.pop("final") == 1
        tables.setdefault(said["group"], {})[said["name"], said["value"]] = shown
    ((_, fields),) = numbers.items()
    return dict(fields), tables


def rows_of(install: str, said: Mapping[str, Any]) -> list[Row]:
    return [
        (install, group, name, value, total)
        for group, totals in expected(said).items()
        for name, value, total in totals
    ]


def test_every_group_of_a_real_report_is_published_once_k_installs_send_it() -> None:
    everyone = [f"{n:016x}" for n in range(5)]
    rows = [row for install in everyone for row in rows_of(install, REPORT)]
    numbers, tables = computed(rows, everyone, 5, reports=7)
    assert numbers == {"reports": 7, "installs": 5, "devices": 305, "ports": 10470, "final": 1}
    # Of two groups the report has no rows.
    assert tables.keys() == set(GROUPS) - {"wireless", "toner"}
    assert tables["os"]["os", "linux"] == {"total": 155, "installs": 5}
    assert tables["os"]["all", "all"] == {"total": 305, "installs": 5}
    assert tables["vrfs"] == {("all", "all"): {"total": 15, "installs": 5}}
    assert tables["php_version"]["version", "8.2"] == {"total": 5, "installs": 5}
    assert tables["database_version"]["version", "MariaDB 10.11"] == {"total": 5, "installs": 5}
    assert tables["port_ifspeed"]["ifSpeed", "unknown"]["total"] == 60
    assert computed(rows, everyone, 6, reports=7) == (
        {"reports": 7, "installs": 5, "final": 1},
        {},
    )


def test_install_without_a_version_counts_as_unknown() -> None:
    everyone = [f"{n:016x}" for n in range(12)]
    rows: list[Row] = [(one, "php_version", "version", "8.2.7", 1) for one in everyone[:7]]
    rows += [(one, "os", "os", "ios", 3) for one in everyone]
    _, tables = computed(rows, everyone, 5)
    assert tables["php_version"] == {
        ("all", "all"): {"total": 12, "installs": 12},
        ("version", "8.2"): {"total": 7, "installs": 7},
        ("version", "unknown"): {"total": 5, "installs": 5},
    }


def test_values_over_the_budget_are_other() -> None:
    everyone = [f"{n:016x}" for n in range(3)]
    values = [f"model {n}" for n in range(3 * VALUES_BUDGET)]
    rows: list[Row] = [(one, "hardware", "hardware", v, 1) for v in values for one in everyone]
    _, tables = computed(rows, everyone, 2)
    named = [value for _, value in tables["hardware"] if value not in ("all", "other")]
    # The second half of the budget needs more installs than there are.
    assert len(named) == VALUES_BUDGET // 2
    assert sum(
        row["total"] for key, row in tables["hardware"].items() if key != ("all", "all")
    ) == 3 * len(values)


@pytest.mark.parametrize("value", ["other", "0THER", "all", "A1l"])
def test_value_that_imitates_a_reserved_word_is_other(value: str) -> None:
    everyone = [f"{n:016x}" for n in range(6)]
    rows: list[Row] = [(one, "os", "os", value, 1) for one in everyone]
    _, tables = computed(rows, everyone, 5)
    assert tables["os"].keys() == {("all", "all"), ("other", "other")}


INSTALLS = st.sampled_from([f"{n:016x}" for n in range(14)])
VALUES = st.sampled_from(["ios", "junos", "linux", "eos", "nxos", "other", "x1", "xl"])
ROW = st.tuples(
    INSTALLS,
    st.sampled_from(["os", "hardware", "php_version"]),
    VALUES,
    st.integers(0, 50),
)


@given(st.lists(ROW, max_size=150), st.integers(1, 6))
def test_published_tables_are_k_safe_and_add_up(said: list[Any], k: int) -> None:
    everyone = sorted({install for install, *_ in said})
    rows: dict[tuple[str, str, str], int] = {}
    for install, group, value, total in said:
        if group == "php_version":
            # One version an install, as its client sends it.
            if not any(key[:2] == (install, group) for key in rows):
                rows[install, group, value] = 1
        else:
            rows[install, group, value] = rows.get((install, group, value), 0) + total
    columns = {"os": "os", "hardware": "hardware", "php_version": "version"}
    frame: list[Row] = [(i, g, columns[g], v, t) for (i, g, v), t in rows.items()]
    numbers, tables = computed(frame, everyone, k, reports=len(said))
    assert numbers["installs"] == len(everyone)
    for group in columns:
        mine = {key: total for key, total in rows.items() if key[1] == group}
        if group == "php_version" and mine:
            having = {install for install, *_ in mine}
            mine |= {(one, group, "unknown"): 1 for one in everyone if one not in having}
        installs = {install for install, *_ in mine}
        if len(installs) < k or not mine:
            assert group not in tables
            continue
        table = dict(tables[group])
        whole = table.pop(("all", "all"))
        assert whole["total"] == sum(mine.values())
        assert sum(row["total"] for row in table.values()) == whole["total"]
        # Values that look alike are one: `x1` and `xl`.
        alike = {"x1": "x", "xl": "x"}
        shown = {alike.get(value, value) for _, value in table if value != "other"}
        hidden = {i for i, _, v in mine if alike.get(v, v) not in shown}
        assert not 0 < len(hidden) < k
        assert bool(hidden) == (("other", "other") in table)
        for (_, value), row in table.items():
            units = hidden
            if value != "other":
                units = {i for i, _, v in mine if alike.get(v, v) == alike.get(value, value)}
            assert len(units) >= k
            if "installs" in row:
                assert row["installs"] == len(units)
                assert not 0 < len(everyone) - len(units) < k
            else:
                assert 0 < len(everyone) - len(units) < k
    again = computed(frame[::-1], everyone[::-1], k, reports=len(said))
    assert json.dumps(again[0]) == json.dumps(numbers)
    assert again[1] == tables
