"""What the intakes of Asterisk's StatsD and manager interface take, drop and lose."""

from __future__ import annotations

from typing import Final

from tools.dashboards.axes import counts
from tools.dashboards.kinds import lines
from tools.dashboards.ops_parts import prom, red

ROW: Final = (
    lines(
        "StatsD samples a second",
        "Samples of StatsD taken a second, by Asterisk.",
        (
            prom(
                "sum by (asterisk) (rate(collector_statsd_samples_total[$__rate_interval]))",
                "{{asterisk}}",
            ),
        ),
        width=6,
        fill=0,
        no_value="none",
    ),
    counts(
        "StatsD dropped a minute",
        "Samples and datagrams of StatsD dropped a minute, by reason. `mapped-away` is meant to be;"
        " `kernel` is a receive buffer that was full, `foreign-address` a datagram of no Asterisk.",
        (prom("sum by (reason) (increase(collector_statsd_dropped_total[1m]))", "{{reason}}"),),
        width=6,
        fill=0,
        overrides=(red("/^kernel$/"),),
        no_value="none",
    ),
    lines(
        "AMI events a second",
        "Events of manager interfaces a second, by Asterisk; those that are not read included.",
        (
            prom(
                "sum by (asterisk) (rate(collector_ami_events_total[$__rate_interval]))",
                "{{asterisk}}",
            ),
        ),
        width=6,
        fill=0,
        no_value="none",
    ),
    counts(
        "AMI ends in an hour",
        "Connections to manager interfaces that ended or failed in the hour before, by reason, and"
        " questions that an Asterisk refuses for want of a right.",
        (
            prom(
                "sum by (asterisk, reason) (increase(collector_ami_ends_total[1h]))",
                "{{asterisk}} {{reason}}",
            ),
            prom(
                "sum by (asterisk) (increase(collector_ami_refused_total[1h]))",
                "{{asterisk}} refused",
            ),
        ),
        width=6,
        fill=0,
        no_value="none",
    ),
)
"""A row of panels."""
