"""The private database of telemetrics-client's records: one point for each, without its payload."""

from __future__ import annotations

from typing import Final

from collector.schema.kinds import OWNER, Measurement, ReportLayout, Tag, counted, text

TELEMETRICS: Final = "telemetrics"
"""The private database of the counts of records."""

SEVERITY: Final = Tag("severity", "1 (low) to 4 (critical)", 4)
DOMAIN: Final = Tag("domain", "first part of the classification, such as `org.clearlinux`", 20)
PROBE: Final = Tag("probe", "second part of the classification, such as `crash`", 100)
ARCH: Final = Tag("arch", "machine architecture, one of those that are accepted", 10)
SYSTEM_NAME: Final = Tag("system_name", "distribution, as os-release's ID says", 50)
BUILD: Final = Tag("build", "version of the system, as os-release's VERSION_ID says", 500)
TELEMETRICS_TAGS: Final = (SEVERITY, DOMAIN, PROBE, ARCH, SYSTEM_NAME, BUILD)

TELEMETRICS_RECORD: Final = Measurement(
    TELEMETRICS,
    "record",
    "when the record was received, UTC, in ns; unique in the process; the record's key too",
    TELEMETRICS_TAGS,
    (
        text(OWNER, "pseudonym of the machine, 16 hexadecimal digits"),
        counted("payload_bytes", "bytes", "size of the payload, which is in the records store"),
        counted("external", "", "1 if the record says so itself (X-CLR-External), else 0"),
    ),
)
TELEMETRICS_LAYOUT: Final = ReportLayout(TELEMETRICS_RECORD)
TELEMETRICS_MEASUREMENTS: Final = (TELEMETRICS_RECORD,)
