"""Finds the installed payload parsers, and calls the one for a record's classification."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

import structlog

from collector.logs import Sparing, place
from collector.metrics import Metrics
from collector.records.parsers import PayloadParser
from collector.records.record import Record, text_of
from collector.records.store import Finding
from collector.settings import Settings

log = structlog.get_logger("collector.records")

GROUP: Final = "collector.payload_parsers"
NOTHING: Final = "nothing"
"""Kind of a finding whose parser found nothing."""
FAILED: Final = "failed"
"""Kind of a finding whose parser failed; its label is the exception's type."""
_LONGEST: Final = 400


def installed(settings: Settings) -> dict[str, PayloadParser]:
    """The parsers of this installation by name; one that cannot be loaded is left out."""
    found: dict[str, PayloadParser] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            found[point.name] = point.load()(settings)
        except Exception as error:  # noqa: BLE001 - of a stranger's code: the others go on
            log.error("a payload parser cannot be loaded", parser=point.name, why=place(error))
    return found


class Parsers:
    """Chooses a parser for each record and calls it."""

    def __init__(self, parsers: Mapping[str, PayloadParser], metrics: Metrics) -> None:
        self._parsers = dict(parsers)
        self._metrics = metrics
        self._sparing = Sparing()
        # The longest prefix first; of equal prefixes, the parser whose name sorts first.
        self._by_prefix = sorted(
            ((prefix, name) for name, parser in parsers.items() for prefix in parser.prefixes),
            key=lambda one: (-len(one[0]), one[1]),
        )

        # Another set of parsers may choose another parser for any record.
        self._set = hashlib.blake2b(repr(self._by_prefix).encode(), digest_size=4).hexdigest()

    def versions(self) -> dict[str, str]:
        """The version of up-to-date findings by the parser's name (empty: no parser)."""
        return {name: self._version(name) for name in ("", *self._parsers)}

    def _version(self, name: str) -> str:
        parser = self._parsers.get(name)
        return f"{'' if parser is None else parser.version}/{self._set}"

    def name_for(self, classification: str) -> str | None:
        """The name of the parser of a classification; None if there is none."""
        for prefix, name in self._by_prefix:
            if classification.startswith(prefix):
                return name
        return None

    def find(self, record: Record) -> Finding:
        """The finding of a record; nothing and a failure are findings too, not tried again."""
        name = self.name_for(record.classification) or ""
        version = self._version(name)
        kind, label, detail = NOTHING, "", "{}"
        if name:
            try:
                parsed = self._parsers[name].parse(_storable(text_of(record.payload)))
                if parsed is not None:
                    kind, label = parsed.kind, _storable(parsed.label)[:_LONGEST]
                    detail = json.dumps(dict(parsed.detail))
                outcome = "nothing" if parsed is None else "found"
            except Exception as error:  # noqa: BLE001 - of any payload: the record stays as it is
                kind, label, outcome = FAILED, type(error).__name__, "failed"
                self._sparing.info(
                    log, "a payload parser failed", reason=FAILED, parser=name, why=place(error)
                )
            self._metrics.payload_parsers.labels(name, outcome).inc()
        return Finding(record.stamp, name, version, kind, label, detail)


def _storable(text: str) -> str:
    """A text without characters that PostgreSQL refuses: NUL, and lone surrogates."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
