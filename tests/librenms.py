"""LibreNMS's clients: a hand-made report with all 48 groups, written as each client writes it."""

from __future__ import annotations

import copy
import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPORT: dict[str, Any] = json.loads(
    (Path(__file__).parent / "cases" / "librenms" / "report.json").read_text(encoding="utf-8")
)
UUID: str = REPORT["uuid"]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def report(uuid: str = UUID, **groups: Any) -> dict[str, Any]:
    """The report of an install, with some groups replaced."""
    said = copy.deepcopy(REPORT)
    said["uuid"] = uuid
    said["data"] |= groups
    return said


def php_json(said: Mapping[str, Any]) -> str:
    """JSON as PHP's json_encode writes it: ASCII, and slashes escaped."""
    return json.dumps(said, separators=(",", ":")).replace("/", "\\/")


def today(said: Mapping[str, Any]) -> bytes:
    """The body of today's client."""
    return urllib.parse.urlencode({"data": php_json(said)}).encode()


def earlier(said: Mapping[str, Any]) -> bytes:
    """The body of earlier clients, which did not encode the field."""
    return f"data={php_json(said)}&".encode()


def query(said: Mapping[str, Any]) -> str:
    """The path and query of a GET."""
    return "/log.php?" + today(said).decode()


def clearing(uuid: str = UUID) -> bytes:
    """The body of a request to `clear.php`."""
    return urllib.parse.urlencode({"uuid": uuid}).encode()


def expected(said: Mapping[str, Any]) -> dict[str, list[tuple[str | None, str | None, int]]]:
    """Totals by group: name and value of the second column, None without one, and their sum."""
    found: dict[str, list[tuple[str | None, str | None, int]]] = {}
    for group, rows in said["data"].items():
        sums: dict[tuple[str | None, str | None], int] = {}
        for row in rows:
            (_, total), *others = row.items()
            name, value = others[0] if others else (None, None)
            text = None if name is None else str("" if value is None else value) or "unknown"
            sums[name, text] = sums.get((name, text), 0) + total
        found[group] = [(name, value, total) for (name, value), total in sums.items()]
    return found
