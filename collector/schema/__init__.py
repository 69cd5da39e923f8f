"""All databases, measurements, tags and fields of the product: name, type, unit and meaning.

Code, pages and dashboards take the names from here; a test compares the documentation.
"""

from __future__ import annotations

from collector.schema.ami import AMI_MEASUREMENTS
from collector.schema.kinds import OWNER, Field, FieldType, Measurement, ReportLayout, Tag
from collector.schema.kinds import counted as _count
from collector.schema.kinds import text as _text
from collector.schema.librenms import LIBRENMS, LIBRENMS_MEASUREMENTS
from collector.schema.live import LIVE, STATSD_MEASUREMENTS
from collector.schema.live import number as _number
from collector.schema.telemetrics import TELEMETRICS_MEASUREMENTS

# Names of this package's modules that other packages import from here.
__all__ = ["LIBRENMS", "LIVE", "OWNER", "Field", "FieldType", "Measurement", "ReportLayout", "Tag"]

RAW = "usage_raw"
DAILY = "usage_daily"
OWNERS = "usage_owners"
PUBLISHED = frozenset({DAILY})
"""Databases that anyone may read; all others are private and may be on a server of their own."""
RECORDS = "records"
"""Target of entries for the records store; every other target is a database of InfluxDB."""

UNKNOWN = "unknown"
"""Value of a tag that the sender did not send."""
OTHER = "other"
"""Value of a tag over its budget; in published tables, all values not shown."""
NONE = "none"
"""Version of a package that is not installed."""
ALL = "all"
"""Value of `within` and `within_value` in rows of the whole network."""

FIRST_PUBLIC_NODE = 2000
"""Lower node numbers are private."""
LABEL_LENGTH = 64
"""The longest value of a tag, in characters."""


ASTERISK_VERSION = Tag("asterisk_version", "Asterisk's version, as `20.7.0`", 200)
ASL_VERSION = Tag("asl_version", "AllStarLink's version, as `asl3-1.3`", 200)
DISTRO = Tag("distro", "distribution, as `lsb_release -i` gave it", 50)
RELEASE = Tag("release", "release of the distribution, as `lsb_release -r` gave it", 100)
ARCH = Tag("arch", "machine architecture, as `uname -m` gave it", 40)
CHANNEL = Tag("channel", "channel driver of the node, in lower case (`radio` is `usbradio`)", 50)
REGISTRATION = Tag("registration", "how the node is registered: http, iax, both or none", 4)

SERVER_TAGS = (ASTERISK_VERSION, ASL_VERSION, DISTRO, RELEASE, ARCH)
NODE_TAGS = (*SERVER_TAGS, CHANNEL, REGISTRATION)

_UPTIME = _count("uptime", "s", "time since Asterisk started; absent where unknown")
_RELOAD_AGE = _count("reload_age", "s", "time since Asterisk's last reload; absent where unknown")
QUARANTINE = "quarantine"
"""The field that excludes a report from the published series."""
_QUARANTINE = _count(
    QUARANTINE,
    "",
    "number of the batch in which an operator took it out of the series; 0 or absent: in it",
)
_SERVER = _text("server", "pseudonym of the server, 16 hexadecimal digits")

NODE_REPORT = Measurement(
    RAW,
    "node_report",
    "when the report was received, UTC, in ns; unique in the process",
    NODE_TAGS,
    (
        _text("node", "pseudonym of the node, 16 hexadecimal digits"),
        _SERVER,
        _UPTIME,
        _RELOAD_AGE,
        _QUARANTINE,
    ),
)
SERVER_REPORT = Measurement(
    RAW,
    "server_report",
    "when the report was received, UTC, in ns; unique in the process",
    SERVER_TAGS,
    (
        _SERVER,
        _count("nodes", "nodes", "public nodes in the report"),
        _count("nodes_http", "nodes", "those of them registered by HTTP"),
        _count("nodes_iax", "nodes", "those of them registered by IAX2"),
        _UPTIME,
        _RELOAD_AGE,
        _text("kernel", "kernel release, as `uname -r` gave it"),
        _text("packages", "JSON object: package name to version"),
        _count("imported", "", "1 where it came from an older server's database, else absent"),
        _QUARANTINE,
    ),
)
OPTED_OUT_REPORT = Measurement(
    RAW,
    "opted_out_report",
    "an arbitrary time between the start of the UTC day and the arrival of the report",
    (),
    (
        _count(
            "reports", "reports", "1: a report that was dropped, of which nothing else is stored"
        ),
    ),
)
QUARANTINE_BATCH = Measurement(
    RAW,
    "quarantine_batch",
    "the batch's number, in s since 1970",
    (),
    (
        _text("state", "planned, in-force, releasing or released"),
        _count("first_ns", "ns", "start of the span of time, since 1970"),
        _count("until_ns", "ns", "its end, not included"),
        _text("pattern", "JSON: what the servers had in common; no names"),
        _text("note", "the operator's reason"),
        _count("reports", "reports", "reports in the batch"),
        _count("node_reports", "nodes", "nodes in those reports, repeats included"),
    ),
)

NODE_DIMENSIONS = tuple(tag.name for tag in NODE_TAGS)
"""Dimensions of `daily_nodes`. `release` there is distribution and release, as `Debian 12`."""
SERVER_DIMENSIONS = tuple(tag.name for tag in SERVER_TAGS)
"""Dimensions of `daily_servers`."""
KERNEL = "kernel"
"""Dimension of `daily_servers`: the series of the kernel, as `6.6`."""
UPTIME = "uptime"
"""Dimension of `daily_servers`: how long Asterisk has run, as one of `UPTIMES`."""
UPTIMES = ("0-24h", "24h-30d", "30d+")
"""Values of the dimension `uptime` beside `unknown`: under 24 hours, up to 30 days, and over."""
WHOLE_DIMENSIONS = (KERNEL, UPTIME)
"""Further dimensions of `daily_servers`, counted for the whole network only."""
CONTAINED = {"release": "distro"}
"""Dimensions nested in another, such as a release in its distribution; they are not crossed."""

CHANNEL_FIELDS = ("dahdi", "simpleusb", "usbradio", "voter")
"""Channels with a field of their own in `daily_usage`; the others are in `other_channels`."""

FINAL = _count("final", "", "1 where the day is complete, 0 while it is open")
"""A field of every daily row, so that a query can exclude days that are not complete."""
WEEKLY = _count(
    "weekly", "", "the count again, on Sundays that are complete: all that a chart of years reads"
)


def _daily(
    name: str, tags: tuple[Tag, ...], *fields: Field, time: str = "00:00 UTC of the day"
) -> Measurement:
    return Measurement(DAILY, name, time, tags, fields)


DAILY_USAGE = _daily(
    "daily_usage",
    (),
    _count("reports", "reports", "reports received in the day"),
    _count("node_reports", "reports", "nodes in those reports, repeats included"),
    _count("servers", "servers", "distinct servers that reported in the day"),
    _count("nodes", "nodes", "distinct nodes that were reported in the day"),
    _count("asterisk_versions", "versions", "distinct known Asterisk versions of the nodes"),
    _count("asl_versions", "versions", "distinct known AllStarLink versions of the nodes"),
    _count(
        "uptime_median",
        "h",
        "median time since Asterisk started, of the servers that said it, by the day's last"
        " report, in whole hours; absent for fewer than k servers",
    ),
    _count("dahdi", "nodes", "nodes on DAHDI; absent where it may not be shown"),
    _count("simpleusb", "nodes", "nodes on SimpleUSB; absent where it may not be shown"),
    _count("usbradio", "nodes", "nodes on USBRadio; absent where it may not be shown"),
    _count("voter", "nodes", "nodes on Voter; absent where it may not be shown"),
    _count("other_channels", "nodes", "nodes on every channel not shown in its own field"),
    _count("registered_http", "nodes", "nodes registered by HTTP, those by both included"),
    _count("registered_iax", "nodes", "nodes registered by IAX2, those by both included"),
    _count("unregistered", "nodes", "nodes with no registration"),
    _count("nodes_7d", "nodes", "distinct nodes in the 7 days that end with this one"),
    _count("nodes_30d", "nodes", "distinct nodes in the 30 days that end with this one"),
    _count("servers_7d", "servers", "distinct servers in the 7 days that end with this one"),
    _count("servers_30d", "servers", "distinct servers in the 30 days that end with this one"),
    _count("new_nodes", "nodes", "nodes of the day that are in none of the 30 days before"),
    _count("lapsed_nodes", "nodes", "nodes of the day 30 days back that are in none since"),
    _count(
        "listed_nodes",
        "nodes",
        "public nodes on the node list; absent where the collector uses none",
    ),
    _count(
        "coverage",
        "nodes",
        "nodes on the node list that were reported in the 30 days that end with this one, down"
        " to a multiple of k; absent under k and without a list",
    ),
    _count(
        "opted_out_reports",
        "reports",
        "reports dropped because their owners have opted out, down to a multiple of k; absent"
        " under k",
    ),
    _count("erased_reports", "reports", "erased by their owners after the day was final"),
    _count("erased_node_reports", "reports", "nodes in those erased reports"),
    _count("imported", "", "1 where the day came from an older server's database"),
    FINAL,
)

ASL_REPORT = ReportLayout(SERVER_REPORT, NODE_REPORT, "nodes", days=DAILY_USAGE)

DIMENSION = Tag(
    "dimension",
    "which property is counted; of servers `kernel` and `uptime` too, within `all` alone",
)
VALUE = Tag("value", "the property's value, or `other`")
WITHIN = Tag("within", "the property that narrows the count, or `all`")
WITHIN_VALUE = Tag("within_value", "the value that it is narrowed to, or `all`")
TABLE_TAGS = (DIMENSION, VALUE, WITHIN, WITHIN_VALUE)

DAILY_NODES = _daily(
    "daily_nodes",
    TABLE_TAGS,
    _count("nodes", "nodes", "distinct nodes with this value, by the day's last report"),
    _count("total", "nodes", "all nodes of the table, of which those are a part"),
    FINAL,
    WEEKLY,
)
DAILY_SERVERS = _daily(
    "daily_servers",
    TABLE_TAGS,
    _count("servers", "servers", "distinct servers with this value, by the day's last report"),
    FINAL,
    WEEKLY,
)

DAILY_PACKAGES = _daily(
    "daily_packages",
    (
        Tag("package", "name of the Debian package"),
        Tag("version", "its version, `none` where it is not installed, or `other`"),
        Tag("upstream", "the version without Debian's epoch and revision, `none` or `other`"),
    ),
    _count("servers", "servers", "distinct servers, by the day's last report"),
    FINAL,
    WEEKLY,
)
DAILY_UPGRADES = _daily(
    "daily_upgrades",
    (
        Tag("from_version", "AllStarLink's version in a report of a node, or `other`"),
        Tag(
            "to_version",
            "the version in its next report, if the node did not have it in the last 30 days,"
            " or `other`",
        ),
    ),
    _count("nodes", "nodes", "distinct nodes that went from the one to the other that day"),
    FINAL,
)
HOURLY_USAGE = _daily(
    "hourly_usage",
    (),
    _count("reports", "reports", "reports received in the hour"),
    _count("nodes", "nodes", "distinct nodes in the hour"),
    _count("nodes_24h", "nodes", "distinct nodes in the 24 hours that end with this one"),
    _count("servers_24h", "servers", "distinct servers in the 24 hours that end with this one"),
    _number(
        "expected_reports",
        "reports",
        "median of `reports` of the same hour in the last 7 days; absent under 3 of them",
    ),
    _number(
        "expected_nodes_24h",
        "nodes",
        "median of `nodes_24h` of the same hour in the last 7 days; absent under 3 of them",
    ),
    _count("missed", "hours", "1 where none came though 5 or more were expected, else absent"),
    time="the start of the hour",
)

EVENT = _daily(
    "event",
    (
        Tag("kind", "`version`, `package`, `outage` or `note`"),
        Tag("subject", "`asl_version`, `asterisk_version`, a package, `intake` or `operator`"),
        Tag("item", "the version, the first hour of the outage, or the number of the note"),
    ),
    _text("text", "the event in English, or the note as it was written"),
    _count("hours", "hours", "length of an outage, else absent"),
    _count("expected", "reports", "reports expected in an outage, else absent"),
)

MONTH_REPORT = _daily(
    "month_report",
    (),
    _text(
        "report",
        "JSON: the month's published numbers as they were at its end, for the month's page",
    ),
    _count("days", "days", "complete days of the month"),
    _count("nodes", "nodes", "`nodes` of its last complete day"),
    _count("servers", "servers", "`servers` of its last complete day"),
    time="00:00 UTC of the month's last day",
)

_OWNER = _text("owner", "keyed digest of a server's pseudonym, 16 hexadecimal digits")
OWNER_CHOICE = Measurement(
    OWNERS,
    "owner_choice",
    "when the owner chose, UTC, in ns; unique in the process",
    (),
    (
        _OWNER,
        _text("choice", "`opt-out` or `opt-in`; an owner's latest counts"),
    ),
)
ERASURE_NOTICE = Measurement(
    OWNERS,
    "erasure_notice",
    "up to when reports were erased, UTC, in ns; unique in the process",
    (),
    (
        _OWNER,
        _text("days", "days of the erased reports, comma between"),
    ),
)

MEASUREMENTS = (
    NODE_REPORT,
    SERVER_REPORT,
    OPTED_OUT_REPORT,
    QUARANTINE_BATCH,
    DAILY_USAGE,
    DAILY_NODES,
    DAILY_SERVERS,
    DAILY_PACKAGES,
    DAILY_UPGRADES,
    HOURLY_USAGE,
    EVENT,
    MONTH_REPORT,
    OWNER_CHOICE,
    ERASURE_NOTICE,
    *LIBRENMS_MEASUREMENTS,
    *TELEMETRICS_MEASUREMENTS,
    *STATSD_MEASUREMENTS,
    *AMI_MEASUREMENTS,
)
DATABASES = tuple(sorted({measurement.database for measurement in MEASUREMENTS}))
"""All databases of InfluxDB."""
