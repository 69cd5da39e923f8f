"""docs/influx-contract.md has every route and statement of the code, whatever is added to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import contract


def test_page_is_what_the_code_says() -> None:
    page = contract.PAGE.read_text(encoding="utf-8")
    assert contract.filled(page) == page, "run `python -m tools.contract`"


def laid(root: Path, code: str) -> Path:
    (root / "collector").mkdir(exist_ok=True)
    text = f"from collector.influx import Influx, Select\n\n{code}\n"
    (root / "collector/module.py").write_text(text, encoding="utf-8")
    return root


def forms(root: Path, code: str) -> list[str]:
    return [one.form for one in contract.statements(laid(root, code))]


def test_statements_are_found_however_they_are_written(tmp_path: Path) -> None:
    assert forms(tmp_path, 'TEXT = "DROP DATABASE x"') == ["DROP DATABASE x"]
    assert forms(tmp_path, 'x = f"SHOW TAG KEYS FROM {name} LIMIT {n}"') == [
        "SHOW TAG KEYS FROM … LIMIT …"
    ]
    split = 'x = (f"CREATE RETENTION POLICY {a}" f" ON {b}" " DEFAULT")'
    assert forms(tmp_path, split) == ["CREATE RETENTION POLICY … ON … DEFAULT"]
    selects = 'Select(D, m, ["last(nodes)"], f"time < {t}", more="GROUP BY time(1h)")'
    assert forms(tmp_path, selects) == [
        "SELECT last(nodes) FROM … WHERE time < … GROUP BY time(1h)"
    ]
    assert forms(tmp_path, 'Select.rows(M, names, where, "LIMIT 2")') == [
        "SELECT … FROM … WHERE … LIMIT 2"
    ]


def test_prose_is_no_statement(tmp_path: Path) -> None:
    assert forms(tmp_path, '"""SELECT is what this docstring is about."""') == []
    assert forms(tmp_path, 'say("SHOWS what DROP DATABASES means")') == []


def test_routes_are_found_and_an_unknown_call_is_an_error(tmp_path: Path) -> None:
    code = 'session.put(f"{server.url}/api/v2/{name}", data=b"")'
    assert [one.form for one in contract.routes(laid(tmp_path, code))] == ["PUT /api/v2/…"]
    with pytest.raises(ValueError, match="route of find_tasks is not known"):
        contract.routes(laid(tmp_path, "client.tasks_api().find_tasks()"))


def test_kind_without_a_promise_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no promise is known of DROP MEASUREMENT"):
        contract.tables(laid(tmp_path, 'TEXT = f"DROP MEASUREMENT {name}"'))


def test_promise_that_nothing_needs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing uses .*GET /ping"):
        contract.tables(laid(tmp_path, 'TEXT = "SHOW DATABASES"'))


def test_page_without_a_place_for_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for routes"):
        contract.filled("# A page")
