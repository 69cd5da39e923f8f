"""Generator of the tables in docs/influx-contract.md: `python -m tools.contract`.

The routes and statements are read from the syntax tree of `collector/`: texts that begin like a
statement, `Select(…)` calls, paths after a server's URL, and calls of `influxdb-client`. What they
mean for each product is in `PROMISES`; a kind that is not there is an error.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "influx-contract.md"
_BEGIN: Final = "<!-- {}: made by `python -m {}` -->\n"
_END: Final = "<!-- end -->"
_STATEMENT: Final = re.compile(
    r"(SELECT|DELETE FROM|SHOW [A-Z]+(?: (?:KEYS|POLICIES|VALUES))?|SET PASSWORD|GRANT|REVOKE"
    r"|(?:CREATE|ALTER|DROP) (?:DATABASE|USER|RETENTION POLICY|MEASUREMENT|SERIES))\b"
)
_V2: Final = {
    "find_organizations": "GET /api/v2/orgs",
    "find_buckets": "GET /api/v2/buckets",
    "create_bucket": "POST /api/v2/buckets",
    "update_bucket": "PATCH /api/v2/buckets/{id}",
    "find_authorizations": "GET /api/v2/authorizations",
    "create_authorization": "POST /api/v2/authorizations",
    "delete_authorization": "DELETE /api/v2/authorizations/{id}",
}
_APIS: Final = re.compile(r"\w+s_api")
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete", "request"})


@dataclass(frozen=True, order=True)
class Used:
    """A route or a statement that the collector uses: its kind, its form, the file it is in.

    Parts that vary are `…` in the form.
    """

    kind: str
    form: str
    file: str


def kind_of(statement: str) -> str | None:
    """The kind of a statement, such as `SHOW DATABASES`; None if the text is none."""
    found = _STATEMENT.match(statement)
    return found[1] if found else None


def statements(root: Path = ROOT) -> list[Used]:
    """The statements of the collector, without duplicates, by kind."""
    return sorted({one for path, tree in _modules(root) for one in _statements(tree, path)})


def routes(root: Path = ROOT) -> list[Used]:
    """The HTTP routes of InfluxDB that the collector uses. Raises ValueError for an unknown one."""
    return sorted({one for path, tree in _modules(root) for one in _routes(tree, path)})


def _modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """The modules that speak to InfluxDB; those of SQL stores are others."""
    for path in sorted((root / "collector").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(root))
        if "collector.influx" in text or name.startswith("collector/influx/"):
            yield name, ast.parse(text)


def _statements(tree: ast.Module, path: str) -> Iterator[Used]:
    told = {id(one) for text in ast.walk(tree) for one in _parts(text)} | _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in told:
            form = _form(node)
            if form is not None and (kind := kind_of(form)):
                yield Used(kind, form, path)
        if isinstance(node, ast.Call) and _name(node.func) in {"Select", "Select.rows"}:
            yield Used("SELECT", _selection(node), path)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """The texts inside a formatted text, which are no statements of their own."""
    if isinstance(node, ast.JoinedStr):
        yield from node.values


def _docstrings(tree: ast.Module) -> set[int]:
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def _selection(call: ast.Call) -> str:
    """The statement of a `Select`, as far as the call itself says it."""
    given = dict(zip(("columns", "where", "more"), call.args[2:5], strict=False))
    if _name(call.func) == "Select.rows":
        given = dict(zip(("columns", "where", "more"), call.args[1:4], strict=False))
    given |= {one.arg: one.value for one in call.keywords if one.arg}
    columns = given.get("columns", given.get("names"))
    words = "…"
    if isinstance(columns, ast.List | ast.Tuple):
        words = ", ".join(_form(one) or "…" for one in columns.elts)
    where = f" WHERE {_form(given['where']) or '…'}" if "where" in given else ""
    more = f" {_form(given['more']) or '…'}" if "more" in given else ""
    return f"SELECT {words} FROM …{where}{more}"  # noqa: S608 - it is shown, not sent


def _form(node: ast.AST) -> str | None:
    """The text of a constant or a formatted text; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_form(one) or "…" for one in node.values)
    return None


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _routes(tree: ast.Module, path: str) -> Iterator[Used]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        method = node.func.attr
        if node.args and method in _METHODS and isinstance(node.args[0], ast.JoinedStr):
            base, *rest = node.args[0].values
            if isinstance(base, ast.FormattedValue) and _name(base.value).endswith(".url"):
                path_of = "".join(_form(one) or "…" for one in rest)
                yield Used("v1", f"{method.upper()} {path_of}", path)
        of = node.func.value
        if isinstance(of, ast.Call) and _APIS.fullmatch(_name(of.func).rpartition(".")[2]):
            if method not in _V2:
                raise ValueError(f"{path}: the route of {method} is not known")
            yield Used("v2", _V2[method], path)


PRODUCTS: Final = ("1.6 to 1.12 OSS", "Enterprise 1.x", "2.x OSS", "Cloud (TSM)", "Dedicated")
"""Products in the order of a row of `PROMISES`; the last is Cloud Dedicated and Clustered."""
_YES, _NO = "yes", "**no**"
_WITH_MAPPING = "with a mapping"
_UNUSED = "not asked"
PROMISES: Final = {
    "GET /ping": (_YES, _YES, _YES, "not said", _YES),
    "POST /write": (_YES, _YES, _YES, _WITH_MAPPING, _YES),
    "POST /query": (_YES, _YES, _YES, _WITH_MAPPING, "yes, `SELECT` and some `SHOW`"),
    "GET /metrics": (_UNUSED, _UNUSED, _YES, _NO, _UNUSED),
    "GET /api/v2/setup": (_UNUSED, _UNUSED, _YES, _NO, _NO),
    "/api/v2 buckets, orgs, authorizations": (_UNUSED, _UNUSED, _YES, _YES, _NO),
    "SELECT": (_YES, _YES, _YES, _YES, _YES),
    "SHOW MEASUREMENTS": (_YES, _YES, _YES, _YES, _YES),
    "SHOW FIELD KEYS": (_YES, _YES, _YES, _YES, _YES),
    "SHOW DATABASES": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "SHOW RETENTION POLICIES": (_YES, _YES, _UNUSED, _UNUSED, _YES),
    "SHOW STATS": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "CREATE DATABASE": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "ALTER RETENTION POLICY": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "DELETE FROM": (_YES, _YES, _YES, _YES, _NO),
    "SHOW USERS": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "SHOW GRANTS": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "CREATE USER": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "DROP USER": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "SET PASSWORD": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "GRANT": (_YES, _YES, _UNUSED, _UNUSED, _NO),
    "REVOKE": (_YES, _YES, _UNUSED, _UNUSED, _NO),
}
"""What the documentation of each product promises of a route or a kind of statement."""


def promised(used: Used) -> str:
    """The row of `PROMISES` for a route or a statement."""
    if used.kind in {"v1", "v2"}:
        return used.form if used.kind == "v1" else "/api/v2 buckets, orgs, authorizations"
    return used.kind


def tables(root: Path = ROOT) -> dict[str, str]:
    """The generated parts of the page by name. Raises ValueError for a kind without a promise."""
    used = [*routes(root), *statements(root)]
    rows = dict.fromkeys(map(promised, used))
    if missing := rows.keys() - PROMISES.keys():
        raise ValueError(f"no promise is known of {', '.join(sorted(missing))}")
    if unused := PROMISES.keys() - rows.keys():
        raise ValueError(f"nothing uses {', '.join(sorted(unused))} any more")
    return {
        "routes": table(("route", "in"), _grouped(routes(root))),
        "statements": table(("statement", "in"), _grouped(statements(root))),
        "promises": table(("", *PRODUCTS), [(f"`{row}`", *PROMISES[row]) for row in PROMISES]),
    }


def _grouped(used: list[Used]) -> list[tuple[str, ...]]:
    files: dict[str, list[str]] = {}
    for one in used:
        files.setdefault(" ".join(one.form.split()), []).append(one.file.removeprefix("collector/"))
    return [
        (f"`{form}`", ", ".join(f"`{file}`" for file in found)) for form, found in files.items()
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def filled(page: str, root: Path = ROOT) -> str:
    """The page with its generated parts made anew. Raises ValueError if a place is missing."""
    return fill(page, tables(root), "tools.contract")


def fill(page: str, tables: Mapping[str, str], tool: str) -> str:
    """Put tables into their places in a page. Raises ValueError if a place is missing."""
    for name, text in tables.items():
        begin = _BEGIN.format(name, tool)
        before, found, rest = page.partition(begin)
        _, end, after = rest.partition(_END)
        if not (found and end):
            raise ValueError(f"the page has no place for {name}")
        page = f"{before}{begin}{text}{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
