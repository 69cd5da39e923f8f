"""Mapping files: rules from names of metrics to measurements and tags. Pure but for `shipped`.

The format is that of statsd_exporter's mapping file, with `field` added:
https://github.com/prometheus/statsd_exporter#metric-mapping-and-configuration
docs/senders/statsd-wire.md lists the keys that have an effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

import yaml

from collector.intakes.statsd.names import NAME_MAX
from collector.schema.ami import AMI_MEASUREMENTS
from collector.schema.live import (
    ASTERISK,
    PJSIP_RTT_ALL,
    STATSD_MEASUREMENTS,
    STATSD_TRAFFIC,
    UNCERTAIN,
)

MetricType = Literal["counter", "gauge", "observer", "set"]
"""Types that a rule may require; timers, histograms and distributions are observers."""

VALUE: Final = "value"
"""Field of a gauge or counter whose rule names none."""

_TYPES: Final[Mapping[str, MetricType]] = {
    "counter": "counter",
    "gauge": "gauge",
    "observer": "observer",
    "timer": "observer",
    "histogram": "observer",
    "set": "set",
}
_KEYS: Final = frozenset(
    {"match", "match_type", "match_metric_type", "name", "labels", "action", "scale", "field"}
    | {"honor_labels"}
)
_PROMETHEUS: Final = frozenset(
    {"help", "ttl", "observer_type", "timer_type", "buckets", "quantiles"}
    | {"summary_options", "histogram_options", "legacy_buckets", "legacy_quantiles"}
)
"""Keys about Prometheus's metrics: accepted, without effect."""
_DEFAULTS: Final = frozenset({"match_type", "glob_disable_ordering"})

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE: Final = re.compile(r"\$(?:(\d+)|\{(\d+)\})")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_:]")
_RESERVED: Final = frozenset({ASTERISK.name, "time", UNCERTAIN})
_OF_ITSELF: Final = frozenset({STATSD_TRAFFIC.name, PJSIP_RTT_ALL.name})
_TAKEN: Final = _OF_ITSELF | (
    {one.name for one in AMI_MEASUREMENTS} - {one.name for one in STATSD_MEASUREMENTS}
)
"""Measurements of the live database that no rule may write to."""


class MappingError(ValueError):
    """The mapping file is invalid; the text names the rule and the error."""


@dataclass(frozen=True, slots=True)
class Target:
    """Measurement, tags and field of a name; its values are multiplied by `scale`.

    `field` is for gauges and counters. With `line_tags_win`, the line's own tags override `tags`.
    """

    measurement: str
    tags: Mapping[str, str]
    field: str = VALUE
    scale: float = 1.0
    line_tags_win: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule. `parts` are those of a glob, `pattern` that of a regex; `name` is None for `drop`."""

    parts: tuple[str, ...]
    pattern: re.Pattern[str] | None
    only: MetricType | None
    name: str | None
    labels: Mapping[str, str]
    field: str
    scale: float
    honor_labels: bool

    def glob(self, parts: Sequence[str], name: str) -> list[str] | None:
        """The name and the texts that the wildcards matched; None if it does not match."""
        found = [name]
        for mine, given in zip(self.parts, parts, strict=True):
            if mine == "*":
                found.append(given)
            elif mine != given:
                return None
        return found

    def target(self, groups: Sequence[str]) -> Target | None:
        """The target of a matching name; None if the rule drops it."""
        if self.name is None:
            return None
        measurement = _NOT_IN_NAMES.sub("_", _filled(self.name, groups)) or "_"
        if measurement[0].isdigit() or measurement in _TAKEN:
            measurement = f"_{measurement}"
        tags = {label: _filled(text, groups) for label, text in self.labels.items()}
        return Target(measurement, tags, self.field, self.scale, self.honor_labels)


Found = Target | Literal["drop"] | None


class NameMapping:
    """Rules of a mapping file. Globs come before regexes; among each, the first match wins."""

    def __init__(self, rules: Iterable[_Rule]) -> None:
        rules = tuple(rules)
        self._globs: dict[int, list[_Rule]] = {}
        for rule in rules:
            if rule.pattern is None:
                self._globs.setdefault(len(rule.parts), []).append(rule)
        self._patterns = [(rule, rule.pattern) for rule in rules if rule.pattern is not None]

    def find(self, name: str, metric_type: MetricType) -> Found:
        """The first matching rule's outcome: a target or `drop`; None if no rule matches.

        A name longer than `NAME_MAX` matches no rule.
        """
        if len(name) > NAME_MAX:
            return None
        parts = name.split(".")
        for rule in self._globs.get(len(parts), ()):
            if rule.only in (None, metric_type):
                groups = rule.glob(parts, name)
                if groups is not None:
                    return rule.target(groups) or "drop"
        for rule, pattern in self._patterns:
            if rule.only in (None, metric_type) and (found := pattern.search(name)):
                return rule.target([found[0], *(group or "" for group in found.groups())]) or "drop"
        return None


@cache
def shipped() -> NameMapping:
    """The shipped rules, for all metrics of Asterisk's own modules."""
    return read(resources.files(__package__).joinpath("asterisk.yml").read_text("utf-8"))


def read(text: str) -> NameMapping:
    """Read a mapping file. Raises MappingError."""
    try:
        whole = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise MappingError(f"the file is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(whole, dict):
        raise MappingError("the file has no `mappings`")
    _only_keys(whole, {"mappings", "defaults"}, "the file")
    defaults = whole.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise MappingError("`defaults` is no table")
    _only_keys(defaults, _DEFAULTS | _PROMETHEUS, "`defaults`")
    rules = whole.get("mappings") or []
    if not isinstance(rules, list):
        raise MappingError("`mappings` is no list")
    read_rules = [_rule(rule, defaults, f"rule {at}") for at, rule in enumerate(rules, 1)]
    if _flag(defaults, "glob_disable_ordering", "`defaults`"):
        read_rules.sort(key=lambda rule: [part == "*" for part in rule.parts])
    return NameMapping(read_rules)


def _rule(given: object, defaults: Mapping[str, Any], where: str) -> _Rule:
    if not isinstance(given, dict):
        raise MappingError(f"{where} is no table")
    match = _text(given, "match", where)
    if not match:
        raise MappingError(f"{where} has no `match`")
    where = f"{where} (match {match!r})"
    _only_keys(given, _KEYS | _PROMETHEUS, where)
    form = given.get("match_type") or defaults.get("match_type") or "glob"
    parts, pattern = _matcher(match, form, where)
    groups = pattern.groups if pattern else parts.count("*")
    only = given.get("match_metric_type")
    if only is not None and only not in _TYPES:
        raise MappingError(f"{where}: `match_metric_type` is {only!r}, not {_either(_TYPES)}")
    action = given.get("action") or "map"
    if action not in ("map", "drop"):
        raise MappingError(f"{where}: `action` is {action!r}, not map or drop")
    name = _text(given, "name", where)
    if not name and action == "map":
        raise MappingError(f"{where} has no `name`")
    if name in _TAKEN and action == "map":
        raise MappingError(f"{where}: the collector itself writes the measurement {name!r}")
    labels = _labels(given.get("labels") or {}, where)
    for text in (name, *labels.values()):
        _check_references(text, groups, where)
    field = _text(given, "field", where) or VALUE
    if not _IDENTIFIER.fullmatch(field) or field in _RESERVED:
        raise MappingError(f"{where}: `field` cannot be {field!r}")
    scale = given.get("scale", 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < abs(scale) < 1e12:
        raise MappingError(f"{where}: `scale` is no number other than 0 and under 10^12")
    return _Rule(
        parts,
        pattern,
        None if only is None else _TYPES[only],
        name if action == "map" else None,
        labels,
        field,
        float(scale),
        _flag(given, "honor_labels", where),
    )


def _matcher(
    match: str, form: object, where: str
) -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    if form == "regex":
        try:
            return (), re.compile(match)
        except re.error as error:
            raise MappingError(f"{where}: `match` is no regular expression: {error}") from None
    if form != "glob":
        raise MappingError(f"{where}: `match_type` is {form!r}, not glob or regex")
    parts = tuple(match.split("."))
    if any("*" in part and part != "*" for part in parts):
        raise MappingError(f"{where}: in a glob, `*` stands for a whole part between dots")
    return parts, None


def _labels(given: object, where: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise MappingError(f"{where}: `labels` is no table")
    for label, text in given.items():
        if not isinstance(label, str) or not _IDENTIFIER.fullmatch(label) or label in _RESERVED:
            raise MappingError(f"{where}: a label cannot be called {label!r}")
        if not isinstance(text, str | int | float):
            raise MappingError(f"{where}: the value of label {label!r} is no text")
    return {label: str(text) for label, text in given.items()}


def _check_references(text: str, groups: int, where: str) -> None:
    for found in _REFERENCE.finditer(text):
        if int(found[1] or found[2]) > groups:
            raise MappingError(f"{where}: {found[0]} refers to nothing: there are {groups} matches")


def _filled(text: str, groups: Sequence[str]) -> str:
    """A text with its references (`$1`, `${1}`) replaced by the matched texts."""
    return _REFERENCE.sub(lambda found: groups[int(found[1] or found[2])], text)


def _text(given: Mapping[str, Any], key: str, where: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        raise MappingError(f"{where}: `{key}` is no text")
    return value


def _flag(given: Mapping[str, Any], key: str, where: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise MappingError(f"{where}: `{key}` is neither true nor false")
    return value


def _only_keys(given: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise MappingError(f"{where} has a key that is not known: {key!r}")


def _either(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"
