"""How much is kept, for how long, and how much room is left."""

from __future__ import annotations

from typing import Final

from collector.schema import (
    DAILY_USAGE,
    SERVER_REPORT,
)
from tools.dashboards.colours import painted
from tools.dashboards.kinds import daily, lines, stat
from tools.dashboards.meanings import BLUE, ORANGE
from tools.dashboards.model import USAGE_RAW, Dashboard, Override, Target
from tools.dashboards.ops_parts import (
    BAD,
    GOOD,
    NOT_MEASURED,
    TAG,
    figure,
    prom,
)
from tools.dashboards.queries import OVER

STORAGE: Final = Dashboard(
    uid="collector-storage",
    title="Collector: retention and storage",
    description="How much is kept, for how long, and how much room is left.",
    file="ops/storage.json",
    tag=TAG,
    range=("now-30d/d", "now"),
    refresh="5m",
    rows=(
        (
            figure(
                "Disk free, share",
                "Free share of the disk that holds the outbox. Under 10 % is an alert.",
                prom("min(collector_disk_free_bytes / collector_disk_size_bytes)", now=True),
                width=6,
                unit="percentunit",
                steps=((None, "red"), (0.1, "orange"), (0.2, "green")),
                defaults={"decimals": 0},
            ),
            figure(
                "Disk free, bytes",
                "Room left for the collector on the disk of the outbox.",
                prom("min(collector_disk_free_bytes)", now=True),
                width=6,
                unit="bytes",
            ),
            figure(
                "Outbox on disk",
                "Size of the outbox, with the delivered lines that are kept for replay.",
                prom("sum(collector_outbox_bytes)", now=True),
                width=6,
                unit="bytes",
            ),
            stat(
                "Oldest raw report",
                "Raw reports before this are gone, as the retention of usage_raw says.",
                Target(
                    USAGE_RAW,
                    f'SELECT first("nodes") FROM "{SERVER_REPORT.name}" WHERE time < now()',
                    table=True,
                ),
                width=6,
                unit="time:YYYY\u2011MM\u2011DD",
                height=3,
                colour="text",
                line=False,
                fields="/^Time$/",
                no_value="none",
            ),
        ),
        (
            lines(
                "Disk free, and size of the outbox (right)",
                "Room left on the disk of the outbox, and the outbox itself (right).",
                (
                    prom("min(collector_disk_free_bytes)", "free"),
                    prom("sum(collector_outbox_bytes)", "outbox"),
                ),
                width=12,
                unit="bytes",
                no_value=NOT_MEASURED,
                overrides=(
                    painted("free", GOOD),
                    Override(
                        "byName",
                        "outbox",
                        {
                            "color": {"mode": "fixed", "fixedColor": BLUE},
                            "custom.axisPlacement": "right",
                            "custom.fillOpacity": 0,
                        },
                    ),
                ),
            ),
            lines(
                "Reports a day: raw ones kept, and those counted",
                "Reports in usage_raw by the day (UTC) on which they came: what can still be"
                " computed again; dashed, those that the daily series have. Complete days only.",
                (
                    Target(
                        USAGE_RAW,
                        f'SELECT count("nodes") FROM "{SERVER_REPORT.name}" WHERE $timeFilter'
                        f" AND time < {OVER} GROUP BY time(1d) fill(0)",
                        "raw",
                    ),
                    daily(
                        f'SELECT "reports" FROM "{DAILY_USAGE.name}" WHERE $timeFilter'
                        f" AND time < {OVER}",
                        "counted",
                    ),
                ),
                width=12,
                step=True,
                overrides=(
                    painted("raw", BLUE),
                    Override(
                        "byName",
                        "counted",
                        {
                            "color": {"mode": "fixed", "fixedColor": ORANGE},
                            "custom.fillOpacity": 0,
                            "custom.lineStyle": {"fill": "dash", "dash": [6, 6]},
                        },
                    ),
                ),
                no_value="no raw report",
            ),
        ),
        (
            lines(
                "InfluxDB 2 on disk, by bucket",
                "Size of InfluxDB's shards on disk; InfluxDB 2 alone tells it.",
                (prom("sum by (bucket) (storage_shard_disk_size)", "{{bucket}}"),),
                width=12,
                unit="bytes",
                stacked="normal",
                no_value="InfluxDB 2 alone tells it",
            ),
            lines(
                "Lines to InfluxDB a minute, by what became of them",
                "Lines a minute by what became of them: written, or set aside as dead letters.",
                (
                    prom(
                        "60 * sum by (outcome)"
                        " (rate(collector_writer_lines_total[$__rate_interval]))",
                        "{{outcome}}",
                    ),
                ),
                width=12,
                no_value="nothing was written",
                overrides=(painted("written", GOOD), painted("dead-letter", BAD)),
            ),
        ),
    ),
)
