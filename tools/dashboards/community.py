"""The community's dashboards: what the network is, for anybody, without login."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from collector.schema import (
    ALL,
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DAILY_SERVERS,
    DISTRO,
    NODE_DIMENSIONS,
    OTHER,
    REGISTRATION,
    RELEASE,
)
from tools.dashboards import queries as q
from tools.dashboards.colours import GREY, colours, painted
from tools.dashboards.kinds import (
    NOT_COUNTED,
    WHOLE_ONLY,
    bars,
    by_value,
    daily,
    lines,
    shares,
    stat,
    table,
    text,
)
from tools.dashboards.model import USAGE_DAILY, Dashboard, Json, Override, Panel

TAG: Final = "usage"
_NAMES: Final = {
    ASTERISK_VERSION.name: "Asterisk version",
    ASL_VERSION.name: "AllStarLink version",
    DISTRO.name: "Distribution",
    RELEASE.name: "Release",
    ARCH.name: "Architecture",
    CHANNEL.name: "Channel driver",
    REGISTRATION.name: "Registration",
}
_NODES: Final = "Nodes that reported on the last complete day (UTC), each counted once"
_SHARE: Final = (
    "Share of the nodes that reported on the day, under the filter; a node counts once, by its"
    " last report. Values of too few nodes are together in the grey `other`."
)


def _custom(name: str, label: str, values: dict[str, str]) -> Json:
    options = [
        {"text": shown, "value": value, "selected": value == ALL} for value, shown in values.items()
    ]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "hide": 0,
        "skipUrlSync": False,
        "multi": False,
        "includeAll": False,
        "query": ",".join(f"{shown} : {value}" for value, shown in values.items()),
        "queryValue": "",
        "options": options,
        "current": {"selected": True, "text": values[ALL], "value": ALL},
    }


def _query(name: str, label: str, statement: str, current: str) -> Json:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "hide": 0,
        "skipUrlSync": False,
        "multi": False,
        "includeAll": False,
        "datasource": USAGE_DAILY.reference,
        "query": statement,
        "definition": statement,
        "regex": "",
        "refresh": 1,
        "sort": 1,
        "options": [],
        "current": {"selected": False, "text": current, "value": current},
    }


_FILTER: Final = (
    _custom(
        "within",
        "Only nodes with this",
        {ALL: "(all nodes)", **{name: _NAMES[name] for name in NODE_DIMENSIONS}},
    ),
    _query("within_value", "being", q.values_within(), ALL),
)
_MISSED: Final[Json] = {
    "name": "Hours that our own intake missed",
    "datasource": USAGE_DAILY.reference,
    "enable": True,
    "hide": False,
    "iconColor": "orange",
    "query": q.missed_hours(),
    "textColumn": "count",
    "titleColumn": "",
    "tagsColumn": "",
    "timeEndColumn": "",
}


def _says(sentence: str) -> Panel:
    """What the dashboard counts, and where the method is."""
    return text(
        f'<p style="margin:0">{sentence} Days are UTC and complete; the open day is not drawn.'
        ' <a href="/method" target="_blank" rel="noopener">How it is counted</a> ·'
        ' <a href="/privacy" target="_blank" rel="noopener">what is kept of you</a></p>'
    )


def _now(dimension: str, title: str, what: str, *, width: int, height: int = 8) -> Panel:
    return bars(
        title,
        f"{_NODES}, by {what}. Together they are the nodes of that day under the filter; values of"
        " too few nodes are in the grey `other`.",
        by_value(dimension, time=q.LAST_DAY),
        colours(dimension),
        width=width,
        height=height,
    )


def _board(uid: str, title: str, description: str, *rows: tuple[Panel, ...]) -> Dashboard:
    return Dashboard(
        uid=uid,
        title=title,
        description=description,
        file=f"community/{uid.removeprefix('usage-')}.json",
        tag=TAG,
        rows=((_says(description),), *rows),
        variables=_FILTER,
        annotations=(_MISSED,),
        range=("now-1y/d", "now-1d/d"),
    )


def _fixed(name: str, colour: str, **custom: object) -> Override:
    properties = {f"custom.{key}": value for key, value in custom.items()}
    return Override(
        "byName", name, {"color": {"mode": "fixed", "fixedColor": colour}, **properties}
    )


OVERVIEW: Final = _board(
    "usage-overview",
    "AllStarLink network: overview",
    "Nodes are counted that sent a usage report in the day, each once; a server may host several.",
    (
        stat(
            "Nodes, last complete day",
            f"{_NODES}, under the filter; behind it, the days of the chosen time.",
            daily(q.total()),
            width=4,
        ),
        stat(
            "Servers, last complete day",
            "Servers that reported on the last complete day, each counted once, under the filter."
            " Servers have no channel and no registration of their own.",
            daily(q.total(DAILY_SERVERS)),
            width=4,
            no_value=NOT_COUNTED,
        ),
        *(
            stat(
                f"Nodes, change in {days} days",
                f"Nodes of the last complete day against those {days} days before, in per cent"
                " of the latter, under the filter.",
                daily(q.change(days)),
                width=3,
                unit="percent",
                line=False,
                steps=((None, "orange"), (-5, "text"), (0, "green")),
                defaults={"decimals": 1},
            )
            for days in (7, 30)
        ),
        stat(
            "New that day",
            "Nodes of the last complete day that had not reported in the 30 days before.",
            daily(q.usage("new_nodes"), "new", whole=True),
            width=3,
            colour="green",
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Lapsed that day",
            "Nodes that reported 30 days before the last complete day, and never since.",
            daily(q.usage("lapsed_nodes"), "lapsed", whole=True),
            width=3,
            colour="orange",
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Complete up to",
            "The last day of which every report is counted. A day is complete some 75 minutes"
            " after its end, at midnight UTC.",
            daily(q.freshness(), table=True),
            width=4,
            unit="time:YYYY-MM-DD",
            colour="text",
            line=False,
            fields="/^Time$/",
        ),
    ),
    (
        lines(
            "Nodes",
            "Nodes that reported on each day, under the filter, and, of the whole network, those"
            " that reported at least once in the 7 and 30 days up to it. A notch in the day that"
            " the 7 days do not show is a fault of our own intake; the orange marks say when.",
            (
                daily(q.total(), "reported that day"),
                daily(q.usage("nodes_7d"), "in 7 days", whole=True),
                daily(q.usage("nodes_30d"), "in 30 days", whole=True),
            ),
            width=24,
            height=9,
            fill=0,
            step=True,
            overrides=(
                _fixed("reported that day", "#5794f2", fillOpacity=25),
                _fixed("in 7 days", "#8ab8ff", lineWidth=2),
                _fixed("in 30 days", "#b877d9", lineWidth=2),
            ),
        ),
    ),
    (
        _now(CHANNEL.name, "Channel drivers", "channel driver", width=8),
        _now(ARCH.name, "Architectures", "machine architecture", width=8),
        _now(DISTRO.name, "Distributions", "distribution", width=8),
    ),
    (shares(ASL_VERSION.name, "AllStarLink versions, share of nodes", _SHARE, width=24, height=9),),
    (
        lines(
            "New and lapsed nodes",
            "New: nodes of the day that had not reported in the 30 days before. Lapsed: nodes of"
            " the day 30 days back that have not reported since.",
            (
                daily(q.usage("new_nodes"), "new", whole=True),
                daily(q.usage("lapsed_nodes"), "lapsed", whole=True),
            ),
            width=20,
            height=7,
            no_value=WHOLE_ONLY,
            step=True,
            overrides=(painted("new", "#73bf69"), painted("lapsed", "#ff9830")),
        ),
        stat(
            "Heard today so far",
            "Nodes heard since midnight UTC. The day is open: it is no drop that this is less than"
            " a whole day's number.",
            daily(q.usage("nodes", "time >= now() - 1d", final=False), "so far", whole=True),
            width=4,
            height=7,
            colour="text",
            line=False,
            no_value=WHOLE_ONLY,
        ),
    ),
)

VERSIONS: Final = _board(
    "usage-versions",
    "AllStarLink network: versions",
    "Nodes are counted by the version that their server ran at the day's last report.",
    (shares(ASL_VERSION.name, "AllStarLink versions, share of nodes", _SHARE, width=24),),
    (shares(ASTERISK_VERSION.name, "Asterisk versions, share of nodes", _SHARE, width=24),),
    (
        _now(ASL_VERSION.name, "AllStarLink versions now", "AllStarLink version", width=12),
        _now(ASTERISK_VERSION.name, "Asterisk versions now", "Asterisk version", width=12),
    ),
    (
        Panel(
            kind="barchart",
            title="Adoption: nodes by days since a version was first seen",
            description=(
                "For each AllStarLink version its nodes 7, 14, 21 … days after it first appeared"
                " here (days on which it was published, of the last 400), under the filter. A"
                " version that was there when counting began started earlier than shown."
            ),
            width=24,
            height=9,
            targets=(daily(q.adoption(ASL_VERSION.name), table=True),),
            unit="locale",
            no_value=NOT_COUNTED,
            defaults={
                "min": 0,
                "color": {"mode": "palette-classic"},
                "custom": {"lineWidth": 0, "fillOpacity": 85, "gradientMode": "none"},
            },
            overrides=colours(ASL_VERSION.name),
            transformations=(
                (
                    "groupingToMatrix",
                    {
                        "columnField": "value",
                        "rowField": "day",
                        "valueField": "nodes",
                        "emptyValue": "null",
                    },
                ),
            ),
            options={
                "xField": "day\\value",
                "orientation": "vertical",
                "stacking": "none",
                "barWidth": 0.97,
                "groupWidth": 0.8,
                "showValue": "never",
                "xTickLabelRotation": 0,
                "xTickLabelSpacing": 100,
                "legend": {
                    "showLegend": True,
                    "displayMode": "list",
                    "placement": "right",
                    "calcs": [],
                },
                "tooltip": {"mode": "multi", "sort": "none"},
            },
        ),
    ),
    (
        table(
            "Upgrades in the chosen time",
            "Nodes that reported one AllStarLink version and then, within 30 days, another. Flows"
            " of too few nodes in a day are not named; they are in the number beside.",
            daily(q.upgrades(other=False), table=True, whole=True),
            width=10,
            height=9,
            names={"from_version": "from", "to_version": "to", "nodes": "nodes"},
            sort="nodes",
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Other upgrades",
            "Nodes that changed their version in flows too small to be named.",
            daily(q.upgrades(other=True), OTHER, whole=True),
            width=4,
            height=9,
            colour=GREY,
            line=False,
            no_value=WHOLE_ONLY,
        ),
        table(
            "Oldest AllStarLink versions in use",
            "Versions on the last complete day with the days for which they have been seen, of the"
            " last 400, and the nodes that still run them, under the filter.",
            daily(q.ages(ASL_VERSION.name), table=True),
            width=10,
            height=9,
            names={"value": "version", "days": "days seen", "nodes": "nodes"},
            sort="days seen",
        ),
    ),
)

PLATFORMS: Final = _board(
    "usage-platforms",
    "AllStarLink network: platforms",
    "Nodes are counted by the system that their server ran at the day's last report.",
    (
        _now(RELEASE.name, "Distributions and releases now", "distribution and release", width=12),
        _now(ARCH.name, "Architectures now", "machine architecture", width=12),
    ),
    (
        shares(
            RELEASE.name,
            "Distributions and releases, share of nodes",
            _SHARE + " Narrowed to a distribution, its releases that may be named make 100 %.",
            width=24,
        ),
    ),
    (shares(ARCH.name, "Architectures, share of nodes", _SHARE, width=24),),
    (shares(DISTRO.name, "Distributions, share of nodes", _SHARE, width=24),),
)

CHANNELS: Final = _board(
    "usage-channels",
    "AllStarLink network: channels and registration",
    "Nodes are counted by their channel driver, and by how they are registered.",
    (
        _now(CHANNEL.name, "Channel drivers now", "channel driver", width=12),
        _now(REGISTRATION.name, "Registration now", "registration", width=12),
    ),
    (shares(CHANNEL.name, "Channel drivers, share of nodes", _SHARE, width=24),),
    (
        shares(
            REGISTRATION.name,
            "Registration, share of nodes",
            _SHARE + " `both` is registered by HTTP and by IAX2.",
            width=24,
        ),
    ),
)

_PACKAGES: Final = _board(
    "usage-packages",
    "AllStarLink network: packages",
    "Servers are counted by the version of each package that they listed in the day's last report;"
    " packages are counted for the whole network, not under the filter.",
    (
        bars(
            "Servers that have each package",
            "Servers that listed the package on the last complete day. Where all but a few have"
            " it, those few are counted in.",
            (daily(q.packages(), "$tag_package", whole=True),),
            colours(),
            width=8,
            height=18,
            no_value=WHOLE_ONLY,
        ),
        bars(
            "Versions of $package now",
            "Servers with each version of the chosen package on the last complete day; `none` does"
            " not have it. Together they are all servers of that day.",
            (
                daily(q.package(other=False, time=q.LAST_DAY), "$tag_version", whole=True),
                daily(q.package(other=True, time=q.LAST_DAY), OTHER, whole=True),
            ),
            colours(),
            width=16,
            height=18,
            no_value=WHOLE_ONLY,
        ),
    ),
    (
        lines(
            "Versions of $package, share of servers",
            "Share of the servers that reported on the day; `none` does not have the package."
            " Versions of too few servers are together in the grey `other`.",
            (
                daily(q.package(other=False), "$tag_version", whole=True),
                daily(q.package(other=True), OTHER, whole=True),
            ),
            width=24,
            height=9,
            overrides=colours(),
            no_value=WHOLE_ONLY,
            step=True,
            stacked="percent",
            legend="right",
        ),
    ),
)
PACKAGES: Final = replace(
    _PACKAGES, variables=(*_FILTER, _query("package", "Package", q.package_names(), "asl3"))
)

DASHBOARDS: Final = (OVERVIEW, VERSIONS, PLATFORMS, CHANNELS, PACKAGES)
