"""LibreNMS's installs: what they watch and what they run, for anybody, without login.

A folder of its own: a community without LibreNMS does not provision it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from collector.schema import ALL, OTHER
from collector.schema.librenms import DAILY_LIBRENMS, DAILY_LIBRENMS_TOTALS
from tools.dashboards.breakdowns import Table
from tools.dashboards.colours import PACKAGE_VERSION, colours, painted
from tools.dashboards.kinds import daily, lines, stat, table, text
from tools.dashboards.model import USAGE_DAILY, Dashboard, Panel
from tools.dashboards.palette import GREY
from tools.dashboards.queries import DONE, IN_RANGE, LAST_DAY
from tools.dashboards.tables import greatest, shares
from tools.dashboards.variables import asked

_IN_SHARES: Final = ("librenms_release", "php_version", "database_version", "python_version")
"""Groups whose values are drawn by day."""
_MOST: Final = 50
"""Values in a table; the greatest come first."""
_NOBODY: Final = "no group of so many installs"
_SUM: Final = (
    " A sum over the installs that reported on the day, each by its last report. Values that too"
    " few installs have are together in the grey `other`."
)


def _of(field: str, time: str = IN_RANGE) -> str:
    """A number of the day."""
    return f'SELECT "{field}" FROM "{DAILY_LIBRENMS.name}" WHERE {time} AND {DONE}'


def _greatest(group: str) -> str:
    """The values of a group on the last complete day with the greatest totals."""
    return (
        f'SELECT top("total", "value", {_MOST}) AS "sum", "installs"'
        f' FROM "{DAILY_LIBRENMS_TOTALS.name}" WHERE {LAST_DAY} AND {DONE}'
        f" AND \"group\" = '{group}'"
        f" AND \"value\" != '{ALL}' AND \"value\" != '{OTHER}'"
    )


def _whole(group: str) -> str:
    """The total of a group by day."""
    return (
        f'SELECT "total" FROM "{DAILY_LIBRENMS_TOTALS.name}" WHERE {IN_RANGE} AND {DONE}'
        f" AND \"group\" = '{group}' AND \"value\" = '{ALL}'"
    )


def _groups() -> str:
    """Groups that are published, for the variable."""
    return f'SHOW TAG VALUES FROM "{DAILY_LIBRENMS_TOTALS.name}" WITH KEY = "group"'


def _table(group: str) -> Table:
    """The published table of a group, for panels of its greatest values."""
    return Table(
        counted=DAILY_LIBRENMS_TOTALS,
        split="value",
        name="group",
        where=f"\"group\" = '{group}' AND \"value\" != '{ALL}'",
        done=DONE,
        variable=f"greatest_{group}",
        rest_names=group,
    )


def _share(group: str, title: str, what: str, *, width: int) -> Panel:
    """The share of each of the greatest values of a group, day by day."""
    return shares(
        title,
        f"{what}{_SUM}",
        _table(group),
        colours(PACKAGE_VERSION),
        width=width,
        weekly=False,
        no_value=_NOBODY,
    )


def _now(group: str, title: str, what: str, *, width: int) -> Panel:
    """The greatest values of a group on the last complete day, as bars."""
    return greatest(
        title,
        f"{what}{_SUM}",
        _table(group),
        (painted(OTHER, GREY),),
        width=width,
        no_value=_NOBODY,
    )


def _list(group: str, title: str, what: str, counted: str, *, width: int) -> Panel:
    """The greatest values of a group on the last complete day, as a table."""
    return table(
        title,
        f"{what} The {_MOST} greatest. `installs` is left out where it would tell that only a few"
        " do not have the value.",
        daily(_greatest(group), table=True),
        width=width,
        height=11,
        names={"value": "value", "sum": counted, "installs": "installs"},
        sort=counted,
        no_value=_NOBODY,
    )


def _last(title: str, description: str, field: str) -> Panel:
    """A number of the last complete day."""
    return stat(
        title,
        description,
        daily(_of(field)),
        width=6,
        height=3,
        line=False,
        no_value=_NOBODY,
    )


def _by_day(title: str, description: str, field: str) -> Panel:
    """A number of each day; its title names it, so that it needs no legend."""
    panel = lines(title, description, (daily(_of(field), field),), width=8, no_value=_NOBODY)
    blue = {"color": {"mode": "fixed", "fixedColor": "blue"}}
    options = {**panel.options, "legend": {"showLegend": False}}
    return replace(panel, defaults={**panel.defaults, **blue}, options=options)


LIBRENMS: Final = Dashboard(
    uid="librenms",
    title="LibreNMS",
    description="Installs of LibreNMS are counted that reported on the day.",
    file="librenms/librenms.json",
    tag="librenms",
    rows=(
        (
            text(
                '<div style="font-size:12px;line-height:1.3">Installs of LibreNMS with statistics'
                " switched on are counted once a day; what they watch is added up. Complete days"
                ' (UTC) only. <a href="/method" target="_blank" rel="noopener">How it is'
                ' counted</a> · <a href="/privacy" target="_blank" rel="noopener">what is kept of'
                " you</a></div>",
                height=2,
            ),
        ),
        (
            _last(
                "Installs, last day", "Installs that reported on the last complete day.", "installs"
            ),
            _last("Devices, last day", "Devices that those installs watch, added up.", "devices"),
            _last("Ports, last day", "Ports of those devices, added up.", "ports"),
            stat(
                "Sensors, last day",
                "Sensors of those devices, added up.",
                daily(_whole("sensors")),
                width=6,
                height=3,
                line=False,
                no_value=_NOBODY,
            ),
        ),
        (
            _by_day(
                "Installs by day",
                "Installs that reported on each day. An install that was off that day is missing.",
                "installs",
            ),
            _by_day(
                "Devices by day",
                "Devices of the installs that reported on each day, added up.",
                "devices",
            ),
            _by_day(
                "Ports by day",
                "Ports of the installs that reported on each day, added up.",
                "ports",
            ),
        ),
        (
            _list(
                "os",
                "Devices by operating system, last day",
                "Devices by operating system.",
                "devices",
                width=8,
            ),
            _list(
                "hardware", "Devices by hardware, last day", "Devices by model.", "devices", width=8
            ),
            _list(
                "applications",
                "Applications on devices, last day",
                "Applications on devices.",
                "devices",
                width=8,
            ),
        ),
        (
            _now("type", "Devices by type, last day", "Devices by type.", width=8),
            _now(
                "snmp_version",
                "Devices by version of SNMP, last day",
                "Devices by version of SNMP.",
                width=8,
            ),
            _now("sensors", "Sensors by class, last day", "Sensors by class.", width=8),
        ),
        (
            _share(
                "librenms_release",
                "Share of installs by release of LibreNMS",
                "Installs by release.",
                width=12,
            ),
            _share(
                "php_version",
                "Share of installs by version of PHP",
                "Installs by version.",
                width=12,
            ),
        ),
        (
            _share(
                "database_version",
                "Share of installs by database",
                "Installs by database server and version.",
                width=12,
            ),
            _share(
                "python_version",
                "Share of installs by version of Python",
                "Installs by version.",
                width=12,
            ),
        ),
        (
            _list(
                "$group",
                "Chosen group, last day: $group",
                "Values of the chosen group on the last complete day.",
                "sum",
                width=8,
            ),
            lines(
                "Chosen group, total by day: $group",
                "The total of the chosen group, day by day.",
                (daily(_whole("$group"), "total"),),
                width=16,
                height=11,
                no_value=_NOBODY,
            ),
        ),
    ),
    variables=(
        asked("group", "Group", _groups(), USAGE_DAILY, current="port_type"),
        *(_table(group).greatest(USAGE_DAILY, IN_RANGE) for group in _IN_SHARES),
    ),
    range=("now-1y/d", "now-1d/d"),
)
