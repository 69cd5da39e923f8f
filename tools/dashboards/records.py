"""Dashboards of telemetrics-client's records, for operators.

Counts are asked of InfluxDB, whichever records store there is. What is in the records store itself
(payloads, guilty functions, updates) is asked of PostgreSQL, for which Grafana has a datasource
built in; for SQLite it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from collector.schema.telemetrics import TELEMETRICS_RECORD
from tools.dashboards.axes import counts
from tools.dashboards.colours import painted
from tools.dashboards.kinds import bars, lines, stat, table
from tools.dashboards.meanings import BLUE, GREY, ORANGE, RED
from tools.dashboards.model import (
    RECORDS,
    TELEMETRICS,
    Dashboard,
    Json,
    Override,
    Panel,
    Target,
)

TAG: Final = "telemetrics"
_FROM: Final = f'FROM "{TELEMETRICS_RECORD.name}" WHERE $timeFilter'
_MOST: Final = 20
_NO_STORE: Final = "none, or the records store is not PostgreSQL"
_NOT_CHOSEN: Final = "no record is chosen: click the number of one above"
_BLANK: Final = [
    {"type": "special", "options": {"match": match, "result": {"text": " ", "index": index}}}
    for index, match in enumerate(("null", "empty"))
]
"""An empty cell stays empty: without this it says what an empty table says."""
_LEAST_PX: Final = {
    "Function": 190,
    "Classification": 190,
    "Found in the payload": 190,
    "Bank and status": 240,
    "Process": 130,
    "Machine": 130,
    "Kernel": 130,
    "Label": 190,
    "Details": 190,
    "Captured": 165,
    "System": 120,
    "Architecture": 100,
    "Board": 100,
    "BIOS": 100,
    "Processor": 130,
    "Event": 100,
    "External": 80,
}
"""Least width of columns with names."""
_NUMBER_PX: Final = 90
"""Width of a column of numbers, so that names have the rest."""
_SEVERITIES: Final = {
    "1": ("1 low", GREY),
    "2": ("2 medium", BLUE),
    "3": ("3 high", ORANGE),
    "4": ("4 critical", RED),
}
_WITHIN: Final = "$__unixEpochNanoFilter(r.stamp)"
_DAY: Final = "$__unixEpochNanoGroup(r.stamp, '1d')"
_JOINED: Final = f"FROM findings f JOIN records r ON r.stamp = f.stamp WHERE {_WITHIN}"
_CRASHES: Final = f"{_JOINED} AND f.kind IN ('crash', 'oops')"
_FEW_BARS: Final = 5
"""Height of a panel of two or three bars, which would be thick in a higher one."""
_BARS: Final = 60
"""Most bars beside each other: more could not be told apart."""
_MONTH: Final = ("now-30d", "now")


def counted(query: str, alias: str = "", *, rows: bool = False) -> Target:
    """A query of the counts in InfluxDB."""
    return Target(TELEMETRICS, query, alias, rows)


def stored(sql: str, *, rows: bool = True) -> Target:
    """A query of the records store in PostgreSQL: rows, or series by `time` and `metric`."""
    return Target(RECORDS, sql, "", rows)


def _textbox(name: str, label: str) -> Json:
    """A variable that is typed; empty finds everything."""
    return {
        "type": "textbox",
        "name": name,
        "label": label,
        "hide": 0,
        "skipUrlSync": False,
        "query": "",
        "current": {"selected": False, "text": "", "value": ""},
        "options": [{"selected": True, "text": "", "value": ""}],
    }


def _board(
    name: str,
    title: str,
    description: str,
    rows: tuple[tuple[Panel, ...], ...],
    variables: tuple[Json, ...] = (),
) -> Dashboard:
    return Dashboard(
        uid=f"telemetrics-{name}",
        title=f"Telemetrics: {title}",
        description=description,
        file=f"ops/telemetrics-{name}.json",
        tag=TAG,
        range=_MONTH,
        rows=rows,
        variables=variables,
    )


def _daily(panel: Panel) -> Panel:
    """The same counts as stacked bars, about one for each day of a month."""
    custom = panel.defaults["custom"] | {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0}
    return replace(panel, defaults={**panel.defaults, "custom": custom}, points=_BARS)


def _by_tag(
    tag: str,
    title: str,
    description: str,
    *,
    width: int = 12,
    height: int = 8,
    overrides: tuple[Override, ...] = (),
) -> Panel:
    return bars(
        title,
        description,
        (
            counted(
                f'SELECT count("payload_bytes") {_FROM} GROUP BY "{tag}" SLIMIT {_MOST}',
                f"$tag_{tag}",
            ),
        ),
        overrides,
        width=width,
        height=height,
        no_value="no records",
    )


def _over_time(
    tag: str, title: str, description: str, *, overrides: tuple[Override, ...] = ()
) -> Panel:
    panel = counts(
        title,
        description,
        (
            counted(
                f'SELECT count("payload_bytes") {_FROM}'
                f' GROUP BY time($__interval), "{tag}" fill(0) SLIMIT {_MOST}',
                f"$tag_{tag}",
            ),
        ),
        width=24,
        stacked="normal",
        overrides=overrides,
        interval="1h",
        no_value="no records",
    )
    return _daily(panel)


def _list(
    title: str,
    description: str,
    sql: str,
    names: dict[str, str],
    *,
    sort: str,
    width: int = 24,
    height: int = 10,
    narrow: Mapping[str, int] | None = None,
    no_value: str = _NO_STORE,
) -> Panel:
    """Rows of the records store; `narrow` has the widths in px of columns that need little."""
    panel = table(
        title,
        description,
        stored(sql),
        width=width,
        height=height,
        names=names,
        sort=sort,
        no_value=no_value,
        unit="none",
    )
    widths = tuple(
        Override("byName", name, {"custom.width": width}) for name, width in (narrow or {}).items()
    )
    # On a phone the table is wider than the page and can be moved; a name is readable on both.
    widths += tuple(
        Override("byName", name, {"custom.minWidth": least})
        for name, least in _LEAST_PX.items()
        if name in names.values()
    )
    defaults = {**panel.defaults, "mappings": _BLANK}
    return replace(panel, defaults=defaults, overrides=(*panel.overrides, *widths))


def _series(title: str, description: str, sql: str, *, width: int = 24) -> Panel:
    panel = counts(
        title,
        description,
        (stored(sql, rows=False),),
        width=width,
        height=9,
        stacked="normal",
        no_value=_NO_STORE,
    )
    # A day without an event has no row, and no line would be drawn beside it.
    custom = panel.defaults["custom"] | {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0}
    return replace(panel, defaults={**panel.defaults, "custom": custom})


_BY_SEVERITY: Final = tuple(
    Override("byName", number, {"displayName": word, **painted("", colour).properties})
    for number, (word, colour) in _SEVERITIES.items()
)

_SEARCH: Final = (
    f"{_WITHIN}"
    " AND ('${classification:raw}' = '' OR r.classification LIKE '%' || '${classification:raw}'"
    " || '%')"
    " AND ('${severity:raw}' = '' OR CAST(r.severity AS text) = '${severity:raw}')"
    " AND ('${build:raw}' = '' OR r.build = '${build:raw}')"
    " AND ('${machine:raw}' = '' OR r.machine_id = '${machine:raw}' OR r.owner = '${machine:raw}')"
    " AND ('${words:raw}' = '' OR encode(r.payload, 'escape') LIKE '%' || '${words:raw}' || '%')"
)
_ONE: Final = "CAST(r.id AS text) = '${id:raw}'"
_LINKED: Final = Override(
    "byName",
    "Record",
    {
        "links": [
            {
                "title": "this record",
                "url": "/d/telemetrics-records?var-id=${__value.raw}&${__url_time_range}",
            }
        ]
    },
)


def _linked(panel: Panel) -> Panel:
    """The same list with a link from each record's number to the record."""
    return replace(panel, overrides=(*panel.overrides, _LINKED))


RECORDS_BOARD: Final = _board(
    "records",
    "Records",
    "Search records, and look at one whole. CSV comes from the panel's menu (Inspect, Data) or from"
    " /api/records.",
    (
        (
            _over_time(
                "severity",
                "Records received, by severity",
                "Records received, by severity: 1 is low, 4 critical.",
                overrides=_BY_SEVERITY,
            ),
        ),
        (
            _linked(
                _list(
                    "Records received, the newest first",
                    "The newest 500 records that the fields above select; a number opens the record"
                    " below.",
                    "SELECT r.id, to_timestamp(r.stamp / 1000000000) AS received, r.severity,"
                    " r.classification, f.label, r.build, r.machine_id,"
                    " r.kernel_version,"
                    " length(r.payload) AS bytes FROM records r"
                    f" LEFT JOIN findings f ON f.stamp = r.stamp WHERE {_SEARCH}"
                    " ORDER BY r.id DESC LIMIT 500",
                    {
                        "id": "Record",
                        "classification": "Classification",
                        "label": "Found in the payload",
                        "severity": "Severity",
                        "received": "Received",
                        "build": "Build",
                        "machine_id": "Machine",
                        "kernel_version": "Kernel",
                        "bytes": "Payload, bytes",
                    },
                    sort="Record",
                    height=14,
                    narrow={
                        "Record": 80,
                        "Received": 165,
                        "Severity": 80,
                        "Build": 90,
                        "Payload, bytes": 120,
                    },
                )
            ),
        ),
        (
            _list(
                "The chosen record: its fields",
                "All fields of the record whose number is chosen.",
                "SELECT r.id, r.system_name, r.build, r.arch, r.machine_type, r.board_name,"
                " r.bios_version, r.cpu_model, r.event_id, r.external,"
                " to_timestamp(r.ts_capture) AS captured FROM records r WHERE"
                f" {_ONE}",
                {
                    "id": "Record",
                    "captured": "Captured",
                    "system_name": "System",
                    "build": "Build",
                    "arch": "Architecture",
                    "machine_type": "Machine",
                    "board_name": "Board",
                    "bios_version": "BIOS",
                    "cpu_model": "Processor",
                    "event_id": "Event",
                    "external": "External",
                },
                sort="Record",
                height=4,
                no_value=_NOT_CHOSEN,
            ),
        ),
        (
            _list(
                "The chosen record: its payload",
                "The payload line by line; bytes that are no ASCII are shown by their numbers.",
                "SELECT line FROM records r,"
                " regexp_split_to_table(encode(r.payload, 'escape'), E'\\n') AS line"
                f" WHERE {_ONE}",
                {"line": "Line"},
                sort="",
                width=12,
                height=12,
                no_value=_NOT_CHOSEN,
            ),
            _list(
                "The chosen record: what was found in it",
                "The parser, the label and the details that it gave.",
                "SELECT f.parser, f.kind, f.label, f.detail FROM findings f"
                f" JOIN records r ON r.stamp = f.stamp WHERE {_ONE}",
                {"parser": "Parser", "kind": "Kind", "label": "Label", "detail": "Details"},
                sort="",
                width=12,
                height=12,
                no_value=_NOT_CHOSEN,
            ),
        ),
    ),
    tuple(
        _textbox(name, label)
        for name, label in (
            ("classification", "Classification has"),
            ("severity", "Severity"),
            ("build", "Build"),
            ("machine", "Machine id or pseudonym"),
            ("words", "Payload has"),
            ("id", "Record"),
        )
    ),
)

BUILDS: Final = _board(
    "builds",
    "Builds",
    "Records by build of the system.",
    (
        (
            _over_time(
                "build", "Records received, by build", "Records received, by build of the system."
            ),
        ),
        (
            _by_tag(
                "build",
                "Records in the chosen time, by build",
                "Records of each build in the chosen time.",
            ),
            bars(
                "Severe records in the chosen time, by build",
                "Records of severity 3 and 4 of each build in the chosen time.",
                (
                    counted(
                        f'SELECT count("payload_bytes") {_FROM} AND "severity" =~ /^[34]$/'
                        f' GROUP BY "build" SLIMIT {_MOST}',
                        "$tag_build",
                    ),
                ),
                (),
                width=12,
                no_value="no severe records",
            ),
        ),
    ),
)

STATS: Final = _board(
    "stats",
    "Stats",
    "Shares of classifications, platforms and systems.",
    (
        (
            _by_tag(
                "probe",
                "Records by probe",
                "Records in the chosen time by the classification's second part.",
            ),
            _by_tag(
                "severity",
                "Records by severity",
                "Records in the chosen time by severity: 1 is low, 4 critical.",
                overrides=_BY_SEVERITY,
            ),
        ),
        tuple(
            _by_tag(
                tag, title, f"Records in the chosen time by {words}.", width=8, height=_FEW_BARS
            )
            for tag, title, words in (
                ("domain", "Records by domain", "the classification's first part"),
                ("arch", "Records by architecture", "machine architecture"),
                ("system_name", "Records by system", "distribution"),
            )
        ),
        (
            _over_time(
                "probe",
                "Records received, by probe",
                "Records received, by the classification's second part.",
            ),
        ),
    ),
)

_TOP: Final = f"SELECT f.label {_CRASHES} GROUP BY f.label ORDER BY count(*) DESC, f.label LIMIT 10"
CRASHES: Final = _board(
    "crashes",
    "Crashes",
    "The functions that crashes and kernel oopses are blamed on: docs/senders/telemetrics.md says"
    " how one is found.",
    (
        (
            _list(
                "Top ten of the functions that crash, last 7 days",
                "Functions with the most crashes in the 7 days before the end of the chosen time.",
                "SELECT f.label, count(*) AS crashes, count(DISTINCT r.owner) AS machines,"
                " count(DISTINCT r.build) AS builds FROM findings f"
                " JOIN records r ON r.stamp = f.stamp WHERE f.kind IN ('crash', 'oops')"
                " AND r.stamp > $__unixEpochNanoTo() - 604800000000000"
                " AND r.stamp <= $__unixEpochNanoTo()"
                " GROUP BY f.label ORDER BY crashes DESC, f.label LIMIT 10",
                {
                    "label": "Function",
                    "crashes": "Crashes",
                    "machines": "Machines",
                    "builds": "Builds",
                },
                sort="Crashes",
                height=12,
                narrow={"Crashes": _NUMBER_PX, "Machines": _NUMBER_PX, "Builds": _NUMBER_PX},
            ),
        ),
        (
            _series(
                "Crashes a day, by function",
                "Crashes a day of the ten functions with the most in the chosen time.",
                f"SELECT {_DAY} AS time, f.label AS metric, count(*) AS value {_CRASHES}"
                f" AND f.label IN ({_TOP}) GROUP BY 1, 2 ORDER BY 1",
            ),
        ),
        (
            _linked(
                _list(
                    "Crashes, the newest first",
                    "The newest 200 crashes; a number opens the record.",
                    "SELECT r.id, to_timestamp(r.stamp / 1000000000) AS received, f.label,"
                    " f.detail::json->>'process' AS process, r.build, r.classification"
                    f" {_CRASHES} ORDER BY r.id DESC LIMIT 200",
                    {
                        "id": "Record",
                        "label": "Function",
                        "process": "Process",
                        "received": "Received",
                        "build": "Build",
                        "classification": "Classification",
                    },
                    sort="Record",
                    height=12,
                    narrow={"Record": 80, "Received": 165, "Build": 90},
                )
            ),
        ),
    ),
)

MCE: Final = _board(
    "mce",
    "MCE and thermal",
    "Machine checks, and processors that were throttled because of heat.",
    (
        (
            _list(
                "Machine checks by status",
                "Machine checks in the chosen time by bank and status, and how many machines had"
                " them.",
                "SELECT f.label, count(*) AS checks, count(DISTINCT r.owner) AS machines"
                f" {_JOINED} AND f.kind = 'machine-check' GROUP BY f.label"
                " ORDER BY checks DESC LIMIT 50",
                {"label": "Bank and status", "checks": "Checks", "machines": "Machines"},
                sort="Checks",
                width=12,
                narrow={"Checks": _NUMBER_PX, "Machines": _NUMBER_PX},
            ),
            _list(
                "Machine checks by build and kind",
                "Machine checks in the chosen time by build and classification.",
                f"SELECT r.build, r.classification, count(*) AS checks {_JOINED}"
                " AND f.kind = 'machine-check' GROUP BY r.build, r.classification"
                " ORDER BY checks DESC LIMIT 50",
                {"build": "Build", "classification": "Classification", "checks": "Checks"},
                sort="Checks",
                width=12,
                narrow={"Build": 90, "Checks": _NUMBER_PX},
            ),
        ),
        (
            _series(
                "Machine checks a day, by classification",
                "Machine checks a day, by classification.",
                f"SELECT {_DAY} AS time, r.classification AS metric, count(*) AS value {_JOINED}"
                " AND f.kind = 'machine-check' GROUP BY 1, 2 ORDER BY 1",
                width=12,
            ),
            _series(
                "Thermal events a day, by kind",
                "Thermal events a day: throttled, and back to normal.",
                f"SELECT {_DAY} AS time, f.label AS metric, count(*) AS value {_JOINED}"
                " AND f.kind = 'thermal' GROUP BY 1, 2 ORDER BY 1",
                width=12,
            ),
        ),
    ),
)

_UPDATES: Final = f"{_JOINED} AND f.kind = 'update'"
_OLD: Final = "f.detail::json->>'from'"
_NEW: Final = "f.detail::json->>'to'"
_FAILED: Final = "count(*) FILTER (WHERE coalesce(f.detail::json->>'result', '0') != '0')"


def _matrix() -> Panel:
    panel = _list(
        "Updates in the chosen time, from row to column",
        "Updates in the chosen time from the build in a row to the build in a column; `total` is"
        " the sum of a row or a column.",
        f"SELECT coalesce({_OLD}, 'total') AS \"from\", coalesce({_NEW}, 'total') AS \"to\","
        f" count(*) AS updates {_UPDATES} GROUP BY CUBE ({_OLD}, {_NEW})"
        " ORDER BY 1, 2",
        {"from": "From", "to": "To", "updates": "Updates"},
        sort="",
        height=11,
    )
    matrix = {"columnField": "to", "rowField": "from", "valueField": "updates"}
    return replace(panel, transformations=(("groupingToMatrix", matrix),))


UPDATES: Final = _board(
    "updates",
    "Updates",
    "Updates from build to build, as SWUPD reports them.",
    (
        (_matrix(),),
        (
            _list(
                "Updates by builds, and those that failed",
                "Updates in the chosen time by the builds that they went from and to, with those"
                " that failed.",
                f"SELECT {_OLD} AS old, {_NEW} AS new, count(*) AS updates,"
                f" {_FAILED} AS failed, count(DISTINCT r.owner) AS machines {_UPDATES}"
                " GROUP BY 1, 2 ORDER BY updates DESC LIMIT 200",
                {
                    "old": "From",
                    "new": "To",
                    "updates": "Updates",
                    "failed": "Failed",
                    "machines": "Machines",
                },
                sort="Updates",
                narrow={"Updates": _NUMBER_PX, "Failed": _NUMBER_PX, "Machines": _NUMBER_PX},
            ),
        ),
        (
            _series(
                "Updates a day, by the build that they went to",
                "Updates a day by the build that they went to.",
                f"SELECT {_DAY} AS time, {_NEW} AS metric, count(*) AS value {_UPDATES}"
                " GROUP BY 1, 2 ORDER BY 1",
            ),
        ),
    ),
)

_MACHINES: Final = 'count(distinct("server"))'
POPULATION: Final = _board(
    "population",
    "Population",
    "Distinct machine ids by build. A client changes its id every 3 days, so a week counts a"
    " machine up to three times: compare builds and weeks, and take no number for machines.",
    (
        (
            stat(
                "Machine ids of the last 3 days",
                "Distinct ids in the 3 days before the end of the chosen time: nearest to the"
                " number of machines, and at most twice that.",
                counted(
                    f'SELECT {_MACHINES} FROM "{TELEMETRICS_RECORD.name}"'
                    " WHERE time > ${__to}ms - 3d AND time <= ${__to}ms"
                ),
                width=8,
                height=6,
                line=False,
                no_value="none",
            ),
            bars(
                "Machine ids by build, last 3 days",
                "Distinct ids by build in the 3 days before the end of the chosen time.",
                (
                    counted(
                        f'SELECT {_MACHINES} FROM "{TELEMETRICS_RECORD.name}"'
                        " WHERE time > ${__to}ms - 3d AND time <= ${__to}ms"
                        f' GROUP BY "build" SLIMIT {_MOST}',
                        "$tag_build",
                    ),
                ),
                (),
                width=16,
                height=6,
                no_value="none",
            ),
        ),
        (
            lines(
                "Machine ids by build and week",
                "Distinct ids in each week by build; fuzzy, since ids change every 3 days.",
                (
                    counted(
                        f"SELECT {_MACHINES} {_FROM}"
                        f' GROUP BY time(7d), "build" fill(none) SLIMIT {_MOST}',
                        "$tag_build",
                    ),
                ),
                width=24,
                fill=0,
                step=True,
                no_value="none",
            ),
        ),
    ),
)

DASHBOARDS: Final = (RECORDS_BOARD, BUILDS, STATS, CRASHES, MCE, UPDATES, POPULATION)
