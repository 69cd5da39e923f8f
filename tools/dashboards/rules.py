"""What an alert rule is made of, and its form for Grafana's file provisioning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tools.dashboards.model import ASTERISK_LIVE, PROMETHEUS, Json, Source

_EXPRESSION: Final = "__expr__"


@dataclass(frozen=True, slots=True)
class Ask:
    """A query of a datasource over the seconds from `since` to `until` before now."""

    ref: str
    source: Source
    query: str
    since: int
    until: int = 0

    def json(self) -> Json:
        """The node. InfluxQL gives series; PromQL is asked for the value of now alone."""
        model: Json = {"refId": self.ref, "intervalMs": 60_000, "maxDataPoints": 43_200}
        model["datasource"] = self.source.reference
        if self.source.type == "prometheus":
            model |= {"expr": self.query, "instant": True, "range": False, "editorMode": "code"}
        else:
            model |= {"rawQuery": True, "resultFormat": "time_series", "query": self.query}
        return {
            "refId": self.ref,
            "datasourceUid": self.source.uid,
            "relativeTimeRange": {"from": self.since, "to": self.until},
            "model": model,
        }


@dataclass(frozen=True, slots=True)
class Reduce:
    """Each series of a node as one number: last, min, max, sum or mean of its values."""

    ref: str
    of: str
    reducer: str = "last"

    def json(self) -> Json:
        """The node."""
        return _expression(
            self.ref, {"type": "reduce", "expression": self.of, "reducer": self.reducer}
        )


@dataclass(frozen=True, slots=True)
class Math:
    """Grafana's arithmetic over other nodes, `$name` each."""

    ref: str
    expression: str

    def json(self) -> Json:
        """The node."""
        return _expression(self.ref, {"type": "math", "expression": self.expression})


Node = Ask | Reduce | Math


def number(name: str, ask: str, source: Source, since: int, until: int = 0) -> tuple[Node, ...]:
    """A query whose series each have one number: the node `name`, by way of `name_rows`."""
    return (Ask(f"{name}_rows", source, ask, since, until), Reduce(name, f"{name}_rows"))


def metric(name: str, ask: str) -> tuple[Node, ...]:
    """A number of now from Prometheus."""
    return number(name, ask, PROMETHEUS, 600)


def stored(name: str, ask: str, since: int, until: int = 0) -> tuple[Node, ...]:
    """A number of the live database, from its points of `since` to `until` seconds ago."""
    return number(name, ask, ASTERISK_LIVE, since, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An alert. The last node is its condition; it fires where that is not 0 for `lasting`.

    `summary` may hold `{{ }}`, but no `$`: Grafana does not leave it alone in every version.
    `no_data` is Grafana's state where a query has no rows.
    """

    title: str
    severity: str
    summary: str
    nodes: tuple[Node, ...]
    lasting: str
    no_data: str = "OK"

    @property
    def anchor(self) -> str:
        """The heading of the rule in the runbook, as a link's fragment."""
        return self.title.lower()

    @property
    def _is_live(self) -> bool:
        return any(isinstance(node, Ask) and node.source == ASTERISK_LIVE for node in self.nodes)

    def json(self, runbook: str, panel: tuple[str, int]) -> Json:
        """The rule; `panel` is the dashboard and the panel that an alert links to."""
        return {
            "uid": f"usage-{self.anchor}",
            "title": self.title,
            "condition": self.nodes[-1].ref,
            "data": [node.json() for node in self.nodes],
            "noDataState": self.no_data,
            # A datasource that does not answer must be heard of, under its own name. Where no
            # Asterisk is configured there is no live database; an InfluxDB that does not answer is
            # heard of by the rules over the others.
            "execErrState": "OK" if self._is_live else "Error",
            "for": self.lasting,
            "labels": {"severity": self.severity, "service": "usage-collector"},
            "annotations": {
                "summary": self.summary,
                "runbook_url": f"{runbook}#{self.anchor}",
                "__dashboardUid__": panel[0],
                "__panelId__": str(panel[1]),
            },
        }


def compared(
    title: str,
    severity: str,
    summary: str,
    *numbers: Node | tuple[Node, ...],
    firing: str,
    lasting: str,
) -> Rule:
    """A rule of one shape: numbers, and the comparison of them that holds while it fires."""
    nodes: list[Node] = []
    for each in numbers:
        nodes += each if isinstance(each, tuple) else [each]
    return Rule(
        title=title,
        severity=severity,
        summary=summary,
        nodes=(*nodes, Math("firing", firing)),
        lasting=lasting,
    )


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are looked at together, at this interval."""

    name: str
    interval: str
    rules: Sequence[Rule]


def shown(name: str, form: str = "%.0f") -> str:
    """A node's number in a summary; nothing where there is none."""
    return f'{{{{ with .Values.{name} }}}}{{{{ printf "{form}" .Value }}}}{{{{ end }}}}'


def _expression(ref: str, model: Json) -> Json:
    return {
        "refId": ref,
        "datasourceUid": _EXPRESSION,
        "relativeTimeRange": {"from": 0, "to": 0},
        "model": {
            "refId": ref,
            "datasource": {"type": _EXPRESSION, "uid": _EXPRESSION},
            **model,
        },
    }
