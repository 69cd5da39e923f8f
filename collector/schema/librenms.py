"""Measurements of LibreNMS's installs: their private reports, and their published days.

A report is one point of `librenms_report`, followed by its content in one or more points of
`librenms_content`, since a string field has a limited size.
"""

from __future__ import annotations

from typing import Final

from collector.schema.kinds import OWNER, Measurement, ReportLayout, Tag, counted, text

LIBRENMS: Final = "librenms"
"""The private database of LibreNMS's reports."""

GROUPS: Final = (
    "alert_rules",
    "alert_templates",
    "api_tokens",
    "applications",
    "bgppeer_state",
    "bgppeer_status",
    "bills",
    "cef",
    "cisco_asa",
    "mempool",
    "dbschema",
    "snmp_version",
    "os",
    "type",
    "hardware",
    "ipsec",
    "ipv4_addresses",
    "ipv4_macaddress",
    "ipv4_networks",
    "ipv6_addresses",
    "ipv6_networks",
    "xdp",
    "ospf",
    "ospf_links",
    "arch",
    "pollers",
    "port_type",
    "port_ifspeed",
    "port_vlans",
    "processes",
    "processors",
    "pseudowires",
    "sensors",
    "sla",
    "wireless",
    "storage",
    "toner",
    "vlans",
    "vminfo",
    "vmware",
    "vrfs",
    "database_version",
    "php_version",
    "python_version",
    "rrdtool_version",
    "netsnmp_version",
    "os_version",
    "librenms_release",
)
"""The groups of today's client, in its order; they are always accepted."""
EARLIER_GROUPS: Final = (
    "bill_ports",
    "current",
    "device_attribs",
    "full_type",
    "graph_types",
    "hrdevice",
    "inventory",
    "mempools",
    "mysql_version",
    "services",
)
"""Groups that only earlier clients send; they are always accepted."""
DEVICES: Final = "os"
"""The group whose totals sum to an install's devices."""
PORTS: Final = "port_type"
"""The group whose totals sum to an install's ports."""
GROUPS_BUDGET: Final = 60
"""Number of further groups that may be stored under their names."""
VALUES_BUDGET: Final = 400
"""Most values of a group that are published of one day."""

_RECEIVED: Final = "when the report was received, UTC, in ns; unique in the process"
_INSTALL: Final = text(OWNER, "pseudonym of the install, 16 hexadecimal digits")

LIBRENMS_REPORT: Final = Measurement(
    LIBRENMS,
    "librenms_report",
    _RECEIVED,
    (),
    (
        _INSTALL,
        counted("points", "points", "points of `librenms_content` that follow"),
        counted("groups", "groups", "groups in the report"),
        counted("totals", "totals", "totals in all groups"),
        counted("pairs", "pairs", "pairs of sysDescr and sysObjectID"),
        text("versions", "JSON object: group to version, of one-row groups"),
    ),
)
LIBRENMS_CONTENT: Final = Measurement(
    LIBRENMS,
    "librenms_content",
    _RECEIVED,
    (),
    (
        _INSTALL,
        text(
            "totals",
            "JSON array of objects: `g` group, `n` name of the column, `v` its value (both absent"
            " in a row of one column), `t` total; a group without rows has `g` alone",
        ),
        text(
            "pairs",
            "JSON array of objects: `os`, `oid` sysObjectID, `descr` sysDescr cleaned, `count`"
            " devices",
        ),
    ),
)

_DAY: Final = "00:00 UTC of the day"
_FINAL: Final = counted("final", "", "1 where the day is complete, 0 while it is open")
DAILY_LIBRENMS: Final = Measurement(
    "usage_daily",
    "daily_librenms",
    _DAY,
    (),
    (
        counted("reports", "reports", "reports of LibreNMS received in the day"),
        counted("installs", "installs", "distinct installs that reported in the day"),
        counted(
            "devices", "devices", "devices of those installs; absent under k, and on the open day"
        ),
        counted("ports", "ports", "ports of those devices; absent likewise"),
        counted("erased_reports", "reports", "erased by their owners after the day was final"),
        _FINAL,
    ),
)
DAILY_LIBRENMS_TOTALS: Final = Measurement(
    "usage_daily",
    "daily_librenms_totals",
    _DAY,
    (
        Tag("group", "name of LibreNMS's query, as `os`"),
        Tag("name", "the column counted, or `all` for the whole group"),
        Tag("value", "its value, `all` for the whole group, or `other`", VALUES_BUDGET),
    ),
    (
        counted("total", "rows", "sum of the installs' totals, by each one's last report"),
        counted(
            "installs",
            "installs",
            "distinct installs with this value; absent where it would tell how few are without it",
        ),
        _FINAL,
    ),
)

LIBRENMS_LAYOUT: Final = ReportLayout(
    LIBRENMS_REPORT, LIBRENMS_CONTENT, "points", days=DAILY_LIBRENMS
)
LIBRENMS_MEASUREMENTS: Final = (
    LIBRENMS_REPORT,
    LIBRENMS_CONTENT,
    DAILY_LIBRENMS,
    DAILY_LIBRENMS_TOTALS,
)
