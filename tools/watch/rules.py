"""The provisioned alert rules: their queries at a time, and their conditions. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from tools.dashboards.asked import RULES, Json, Span, filled
from tools.watch.expressions import Value, computed, reduced

_MS: Final = 1000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@cache
def seconds(text: str) -> int:
    """Parse a duration in Prometheus' format to seconds. Raises ValueError."""
    found = re.findall(r"(\d+)([smhd])", text)
    if "".join(n + unit for n, unit in found) != text:
        raise ValueError(f"{text}: is no duration")
    return sum(int(n) * _UNITS[unit] for n, unit in found)


@dataclass(frozen=True)
class Provisioned:
    """A provisioned rule, and the interval of its group in seconds."""

    rule: Json
    interval: int

    @property
    def title(self) -> str:
        """Its name."""
        return str(self.rule["title"])

    def queries(self, now: int) -> list[tuple[str, str, int]]:
        """Its queries at a time in s: datasource, text with macros replaced, and time."""
        return [self._query(node, now) for node in self.rule["data"] if not _is_expression(node)]

    def sources(self) -> set[str]:
        """The datasources that it asks."""
        return {n["datasourceUid"] for n in self.rule["data"] if not _is_expression(n)}

    def _query(self, node: Json, now: int) -> tuple[str, str, int]:
        model, span = node["model"], node["relativeTimeRange"]
        until = now - span["to"]
        if "expr" in model:
            return node["datasourceUid"], model["expr"], until
        text = filled(model["query"], {}, Span((now - span["from"]) * _MS, until * _MS))
        return node["datasourceUid"], text, until

    def condition(self, answers: Sequence[Value]) -> Value:
        """Evaluate its condition from the answers to `queries`, in the same order."""
        nodes: dict[str, Value] = {}
        left = iter(answers)
        for node in self.rule["data"]:
            model = node["model"]
            if not _is_expression(node):
                nodes[node["refId"]] = next(left)
            elif model["type"] == "reduce":
                nodes[node["refId"]] = reduced(nodes[model["expression"]], model["reducer"])
            elif model["type"] == "math":
                nodes[node["refId"]] = computed(model["expression"], nodes)
            else:
                raise ValueError(f"{self.title}: {model['type']} is not known here")
        return nodes[self.rule["condition"]]


def _is_expression(node: Json) -> bool:
    return bool(node["datasourceUid"] == "__expr__")


def provisioned() -> list[Provisioned]:
    """Read all rules of the committed file."""
    groups = json.loads(RULES.read_text(encoding="utf-8"))["groups"]
    return [
        Provisioned(rule, seconds(group["interval"])) for group in groups for rule in group["rules"]
    ]
