"""The community's dashboards: what the network is, for anybody, without login."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from collector.schema import (
    ARCH,
    CHANNEL,
    DISTRO,
    OTHER,
    REGISTRATION,
    RELEASE,
)
from tools.dashboards import queries as q
from tools.dashboards.colours import PACKAGE_VERSION, colours
from tools.dashboards.community_events import EVENTS, OF_PACKAGE
from tools.dashboards.community_overview import OVERVIEW
from tools.dashboards.community_parts import FILTER, SHARE, board, now
from tools.dashboards.community_versions import VERSIONS
from tools.dashboards.kinds import (
    WHOLE_ONLY,
    bars,
    daily,
    lines,
    shares,
)
from tools.dashboards.model import USAGE_DAILY
from tools.dashboards.variables import asked

PLATFORMS: Final = board(
    "usage-platforms",
    "AllStarLink network: platforms",
    "Nodes are counted by the system that their server ran at the day's last report.",
    (
        now(RELEASE.name, "Distributions and releases now", "distribution and release", width=12),
        now(ARCH.name, "Architectures now", "machine architecture", width=12),
    ),
    (
        shares(
            RELEASE.name,
            "Distributions and releases, share of nodes",
            SHARE + " Narrowed to a distribution, its releases that may be named make 100 %.",
            width=24,
        ),
    ),
    (shares(ARCH.name, "Architectures, share of nodes", SHARE, width=24),),
    (shares(DISTRO.name, "Distributions, share of nodes", SHARE, width=24),),
)

CHANNELS: Final = board(
    "usage-channels",
    "AllStarLink network: channels and registration",
    "Nodes are counted by their channel driver, and by how they are registered.",
    (
        now(CHANNEL.name, "Channel drivers now", "channel driver", width=12),
        now(REGISTRATION.name, "Registration now", "registration", width=12),
    ),
    (shares(CHANNEL.name, "Channel drivers, share of nodes", SHARE, width=24),),
    (
        shares(
            REGISTRATION.name,
            "Registration, share of nodes",
            SHARE + " `both` is registered by HTTP and by IAX2.",
            width=24,
        ),
    ),
)

_PACKAGES: Final = board(
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
            colours(PACKAGE_VERSION),
            width=16,
            height=18,
            no_value=WHOLE_ONLY,
        ),
    ),
    (
        lines(
            "Versions of $package, share of servers",
            "Share of the servers that reported on the day; `none` does not have the package."
            " Versions of too few servers are together in the grey `other`. Of more than 370 days"
            " every Sunday is drawn.",
            (
                *(
                    daily(q.package(other=other, time=time, weekly=weekly), alias, whole=True)
                    for time, weekly in ((q.SHORT, False), (q.LONG, True))
                    for other, alias in ((False, "$tag_version"), (True, OTHER))
                ),
            ),
            width=24,
            height=9,
            overrides=colours(PACKAGE_VERSION),
            no_value=WHOLE_ONLY,
            stacked="percent",
        ),
    ),
)
PACKAGES: Final = replace(
    _PACKAGES,
    variables=(
        *FILTER,
        asked("package", "Package", q.package_names(), USAGE_DAILY, current="asl3"),
    ),
    annotations=(*EVENTS, OF_PACKAGE),
)

DASHBOARDS: Final = (OVERVIEW, VERSIONS, PLATFORMS, CHANNELS, PACKAGES)
