"""The community's dashboards: what the network is, for anybody, without login."""

from __future__ import annotations

from typing import Final

from collector.schema import ARCH, CHANNEL, DISTRO, OTHER, REGISTRATION, RELEASE
from tools.dashboards import queries as q
from tools.dashboards.colours import PACKAGE_VERSION, colours, painted
from tools.dashboards.community_events import OF_PACKAGE
from tools.dashboards.community_overview import OVERVIEW
from tools.dashboards.community_parts import board, now, over_time
from tools.dashboards.community_servers import SERVER_ROWS, SERVER_TABLES
from tools.dashboards.community_versions import VERSIONS
from tools.dashboards.kinds import WHOLE_ONLY, bars, daily
from tools.dashboards.model import USAGE_DAILY
from tools.dashboards.palette import GREY
from tools.dashboards.tables import greatest, shares
from tools.dashboards.variables import asked

PLATFORMS: Final = board(
    "usage-platforms",
    "AllStarLink network: platforms",
    "Nodes are counted by the system in the day's last report.",
    (
        now(RELEASE.name, "release", width=12),
        now(ARCH.name, "machine architecture", width=12),
    ),
    (
        over_time(
            RELEASE.name,
            "release",
            more=" Narrowed to a distribution, its releases that may be named make 100 %.",
        ),
    ),
    (over_time(ARCH.name, "machine architecture"),),
    (over_time(DISTRO.name, "distribution"),),
    *SERVER_ROWS,
    over_time=(
        *(q.nodes_by(name) for name in (RELEASE.name, ARCH.name, DISTRO.name)),
        *SERVER_TABLES,
    ),
)

CHANNELS: Final = board(
    "usage-channels",
    "AllStarLink network: channels and registration",
    "Nodes are counted by channel driver, and by registration.",
    (
        now(CHANNEL.name, "channel driver", width=12),
        now(REGISTRATION.name, "registration", width=12),
    ),
    (over_time(CHANNEL.name, "channel driver"),),
    (
        over_time(
            REGISTRATION.name,
            "registration",
            more=" `both` is registered by HTTP and by IAX2.",
        ),
    ),
    over_time=tuple(q.nodes_by(name) for name in (CHANNEL.name, REGISTRATION.name)),
)

_TALL: Final = 12

PACKAGES: Final = board(
    "usage-packages",
    "AllStarLink network: packages",
    "Servers of the whole network are counted by their packages.",
    (
        bars(
            "Servers by package, last full day",
            "Servers that listed the package on the last complete day. Where all but a few have"
            " it, those few are counted in.",
            (daily(q.packages(), "$tag_package", whole=True),),
            (),
            width=8,
            height=_TALL,
            no_value=WHOLE_ONLY,
        ),
        *(
            greatest(
                f"Servers by $package {what}, last full day",
                f"Servers with each {what} of the chosen package on the last complete day: the"
                " greatest, the others together, in the dark grey `other` those of too few"
                " servers; `none` does not have it. Together they are all servers of that day.",
                q.servers_by(tag),
                # Revisions of one version would have its colour, side by side.
                colours(PACKAGE_VERSION) if tag == "upstream" else (painted(OTHER, GREY),),
                width=8,
                height=_TALL,
                no_value=WHOLE_ONLY,
                whole=True,
            )
            for tag, what in (("upstream", "version"), ("version", "revision"))
        ),
    ),
    (
        shares(
            "Servers by $package version, share of each day",
            "Share of the servers that reported on the day, by the version without Debian's"
            " revision; `none` does not have the package. The greatest of the chosen time have"
            " names, in the order of size on the last day; the others are together in the pale"
            " grey, and versions of too few servers in the dark grey `other`. Of more than 370 days"
            " every Sunday is drawn.",
            q.servers_by("upstream"),
            colours(PACKAGE_VERSION),
            width=24,
            no_value=WHOLE_ONLY,
            whole=True,
        ),
    ),
    variables=(asked("package", "Package", q.package_names(), USAGE_DAILY, current="asl3"),),
    annotations=(OF_PACKAGE,),
    over_time=(q.servers_by("upstream"),),
)

DASHBOARDS: Final = (OVERVIEW, VERSIONS, PLATFORMS, CHANNELS, PACKAGES)
