"""All Prometheus metrics of the product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

# Creation times of counters double the page, and Prometheus does not use them.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# How the values of a gauge are combined over the workers that run.
_SUM: Final = "livesum"
_MIN: Final = "livemin"
_MAX: Final = "livemax"


class AmiMetrics:
    """The metrics of the connections to Asterisk's manager interface."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ami_connected = Gauge(
            "collector_ami_connected",
            "1 while the collector is logged in to an Asterisk's manager interface, else 0.",
            ("asterisk",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.ami_events = Counter(
            "collector_ami_events",
            "Events of an Asterisk's manager interface, by name; `other`: those that are not read.",
            ("asterisk", "event"),
            registry=registry,
        )
        self.ami_bytes = Counter(
            "collector_ami_bytes",
            "Bytes received from an Asterisk's manager interface.",
            ("asterisk",),
            registry=registry,
        )
        self.ami_dropped = Counter(
            "collector_ami_dropped",
            "Messages and points of the manager interface that were dropped, by reason.",
            ("reason",),
            registry=registry,
        )
        self.ami_logins = Counter(
            "collector_ami_logins",
            "Logins to an Asterisk's manager interface that succeeded; all but one reconnect.",
            ("asterisk",),
            registry=registry,
        )
        self.ami_ends = Counter(
            "collector_ami_ends",
            "Connections to an Asterisk's manager interface that ended or failed, by reason.",
            ("asterisk", "reason"),
            registry=registry,
        )
        self.ami_refused = Counter(
            "collector_ami_refused",
            "Questions about its state that an Asterisk does not answer us: a right is missing in"
            " manager.conf, or a module.",
            ("asterisk", "question"),
            registry=registry,
        )


class Metrics(AmiMetrics):
    """The metrics of one process, with their registry."""

    def __init__(self) -> None:  # noqa: PLR0915 - one metric a statement
        self.registry = CollectorRegistry()
        super().__init__(self.registry)
        self._followed: list[tuple[Gauge, Callable[[], float]]] = []
        registry = self.registry

        self.role = Gauge(
            "collector_role",
            "1, with the role of the process: serve, receive, publish.",
            ("role",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.reports = Counter(
            "collector_reports",
            "Submissions by sender and outcome: accepted, or the reason of the refusal.",
            ("intake", "outcome"),
            registry=registry,
        )
        self.nodes = Counter(
            "collector_nodes",
            "Nodes in accepted submissions: stored, or why ignored.",
            ("outcome",),
            registry=registry,
        )
        self.repaired = Counter(
            "collector_repaired_bodies",
            "Submissions whose JSON was repaired, by what was wrong with it.",
            ("repair",),
            registry=registry,
        )
        self.ignored_values = Counter(
            "collector_ignored_values",
            "Submissions of which a value was ignored or cut, by its field.",
            ("field",),
            registry=registry,
        )
        self.over_budget = Counter(
            "collector_tag_values_over_budget",
            "Tag values stored as `other` because the tag's budget was spent.",
            ("tag",),
            registry=registry,
        )
        self.tag_values = Gauge(
            "collector_tag_values",
            "Distinct values that a tag holds now, against its budget.",
            ("tag",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.tag_budget = Gauge(
            "collector_tag_budget",
            "Distinct values that a tag may hold.",
            ("tag",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.suspicions = Counter(
            "collector_suspicions",
            "What may be an attempt to fool the numbers, in accepted submissions, by kind.",
            ("kind",),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "collector_request_seconds",
            "Time from a submission's headers to its reply.",
            buckets=_LATENCY,
            registry=registry,
        )
        self.http_refusals = Counter(
            "collector_http_refusals",
            "Connections and requests refused before anything was understood of them, by reason.",
            ("reason",),
            registry=registry,
        )
        self.connections = Gauge(
            "collector_connections",
            "Connections that are open, by the address that they came to: public or metrics.",
            ("address",),
            multiprocess_mode=_SUM,
            registry=registry,
        )
        self.rate_limited_addresses = Gauge(
            "collector_rate_limit_addresses",
            "Sender addresses (as keyed digests) that the rate limit holds a counter of.",
            multiprocess_mode=_SUM,
            registry=registry,
        )

        self.statsd_datagrams = Counter(
            "collector_statsd_datagrams",
            "Datagrams of StatsD, and lines of its connections, that were taken.",
            ("asterisk",),
            registry=registry,
        )
        self.statsd_samples = Counter(
            "collector_statsd_samples",
            "Samples of StatsD that were taken.",
            ("asterisk",),
            registry=registry,
        )
        self.statsd_dropped = Counter(
            "collector_statsd_dropped",
            "Samples, datagrams, lines and connections of StatsD that were dropped, by reason;"
            " `kernel`: the receive buffer was full.",
            ("reason",),
            registry=registry,
        )
        self.statsd_ignored = Counter(
            "collector_statsd_ignored",
            "Samples of StatsD of which a part was ignored, by part.",
            ("part",),
            registry=registry,
        )
        self.statsd_underflows = Counter(
            "collector_statsd_underflows",
            "Times that a gauge of things would have fallen under 0.",
            ("asterisk",),
            registry=registry,
        )
        self.statsd_restarts = Counter(
            "collector_statsd_restarts",
            "Starts of Asterisk that were recognised by its StatsD.",
            ("asterisk",),
            registry=registry,
        )
        self.statsd_renamed = Counter(
            "collector_statsd_renamed",
            "Samples whose names an Asterisk with meter_support=no has changed; they are taken"
            " under their own.",
            ("asterisk",),
            registry=registry,
        )
        self.statsd_uncertain = Gauge(
            "collector_statsd_uncertain_gauges",
            "Gauges that may be wrong, as of the last flush.",
            ("asterisk",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.statsd_heard = Gauge(
            "collector_statsd_last_datagram_timestamp_seconds",
            "When the last datagram of an Asterisk came, in s since 1970.",
            ("asterisk",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.statsd_flushes = Counter(
            "collector_statsd_flushes",
            "Flushes of StatsD: stored, or put off because the outbox was unavailable.",
            ("outcome",),
            registry=registry,
        )
        self.statsd_buffer_bytes = Gauge(
            "collector_statsd_receive_buffer_bytes",
            "Size of the smallest receive buffer of StatsD's sockets, as the kernel counts it.",
            multiprocess_mode=_MAX,
            registry=registry,
        )

        self.outbox_reports = Gauge(
            "collector_outbox_reports",
            "Reports in the outbox that a target does not have yet: InfluxDB, the records store.",
            ("target",),
            multiprocess_mode=_SUM,
            registry=registry,
        )
        self.outbox_age_seconds = Gauge(
            "collector_outbox_age_seconds",
            "Age of the oldest report that a target does not have yet; 0 for none.",
            ("target",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.outbox_bytes = Gauge(
            "collector_outbox_bytes",
            "Size of the outbox on disk, delivered lines that are kept for replay included.",
            multiprocess_mode=_SUM,
            registry=registry,
        )
        self.disk_free_bytes = Gauge(
            "collector_disk_free_bytes",
            "Room left for the collector on the disk of the outbox.",
            multiprocess_mode=_MIN,
            registry=registry,
        )
        self.disk_size_bytes = Gauge(
            "collector_disk_size_bytes",
            "Size of the disk of the outbox.",
            multiprocess_mode=_MIN,
            registry=registry,
        )
        self.outbox_accepting = Gauge(
            "collector_outbox_accepting",
            "1 while the outbox takes reports, 0 while senders get 503.",
            multiprocess_mode=_MIN,
            registry=registry,
        )
        self.outbox_commits = Counter(
            "collector_outbox_commits",
            "Commits of the outbox; each may hold many reports.",
            registry=registry,
        )
        self.outbox_failures = Counter(
            "collector_outbox_failures",
            "Commits of the outbox that failed; their senders got 503.",
            registry=registry,
        )
        self.outboxes_set_aside = Gauge(
            "collector_outboxes_set_aside",
            "Damaged outboxes in the state directory that wait for `collector outbox recover`.",
            multiprocess_mode=_SUM,
            registry=registry,
        )
        self.dead_letters = Gauge(
            "collector_dead_letters",
            "Lines that their target refused for good, set aside for an operator.",
            multiprocess_mode=_SUM,
            registry=registry,
        )

        self.expiring = Gauge(
            "collector_expiring",
            "Dead letters and set-aside files that are deleted within 7 days, for their age.",
            multiprocess_mode=_SUM,
            registry=registry,
        )
        self.expired = Counter(
            "collector_expired",
            "Dead letters and set-aside files deleted for their age: as old as raw reports may be.",
            ("kind",),
            registry=registry,
        )

        self.writer_lines = Counter(
            "collector_writer_lines",
            "Lines by what became of them: written, or set aside as dead letters.",
            ("target", "outcome"),
            registry=registry,
        )
        self.writer_requests = Counter(
            "collector_writer_requests",
            "Write requests to InfluxDB and transactions of the records store by outcome.",
            ("target", "outcome"),
            registry=registry,
        )
        self.writer_seconds = Histogram(
            "collector_writer_request_seconds",
            "Time of a write request to InfluxDB or a transaction of the records store.",
            ("target",),
            buckets=_LATENCY,
            registry=registry,
        )
        self.writer_blocked = Gauge(
            "collector_writer_blocked",
            "1 while delivery to a target makes no progress, by reason.",
            ("target", "reason"),
            multiprocess_mode=_MAX,
            registry=registry,
        )

        self.writer_erased = Counter(
            "collector_writer_erased",
            "Messages that were not passed on: their owner has had the report erased meanwhile.",
            ("target",),
            registry=registry,
        )
        self.stream_redelivered = Counter(
            "collector_stream_redelivered",
            "Messages that JetStream delivered again, since no writer had acknowledged them.",
            ("target",),
            registry=registry,
        )
        self.stream_waiting = Gauge(
            "collector_stream_waiting",
            "Messages in the stream that no writer has stored yet, as the writer last saw it.",
            ("target",),
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.stream_bytes = Gauge(
            "collector_stream_bytes",
            "Size of the stream, as the writer last saw it.",
            multiprocess_mode=_MAX,
            registry=registry,
        )

        self.records_purged = Counter(
            "collector_records_purged",
            "Records deleted from the records store because they were as old as they may be.",
            registry=registry,
        )
        self.payload_parsers = Counter(
            "collector_payload_parsers",
            "Payloads of records by parser and outcome: found, nothing, or failed.",
            ("parser", "outcome"),
            registry=registry,
        )

        self.clock_wrong = Gauge(
            "collector_clock_wrong",
            "1 while the machine's clock cannot be right; reports are taken and not delivered.",
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.redated_reports = Counter(
            "collector_redated_reports",
            "Reports that waited while the clock was set, and were dated anew.",
            registry=registry,
        )

        self.nodelist_nodes = Gauge(
            "collector_nodelist_nodes",
            "Nodes on the public node list in use; 0 while none is.",
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.nodelist_fetches = Counter(
            "collector_nodelist_fetches",
            "Fetches of the public node list by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.nodelist_age_seconds = Gauge(
            "collector_nodelist_age_seconds",
            "Time since the public node list in use was last confirmed; 0 while none is.",
            multiprocess_mode=_MAX,
            registry=registry,
        )

        self.erasures = Counter(
            "collector_erasures",
            "Erasures that owners asked for, by outcome: queued, delayed, or done.",
            ("outcome",),
            registry=registry,
        )
        self.erasures_queued = Gauge(
            "collector_erasures_queued",
            "Erasures over the hourly limit that wait for an operator.",
            multiprocess_mode=_SUM,
            registry=registry,
        )
        self.erasures_waiting = Gauge(
            "collector_erasures_waiting",
            "Erasures that are remembered until InfluxDB lets them be done.",
            multiprocess_mode=_SUM,
            registry=registry,
        )
        self.opted_out = Gauge(
            "collector_opted_out_servers",
            "Servers whose owners want no report to be kept.",
            multiprocess_mode=_MAX,
            registry=registry,
        )

        self.rollup_runs = Counter(
            "collector_rollup_runs",
            "Runs of a day's rollup by outcome.",
            ("outcome",),
            registry=registry,
        )
        self.rollup_seconds = Histogram(
            "collector_rollup_seconds",
            "Time of one day's rollup.",
            buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
            registry=registry,
        )
        self.publisher_leads = Gauge(
            "collector_publisher_leads",
            "1: this process holds the publisher's lease in NATS and computes days; 0: not so.",
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.rollup_days_due = Gauge(
            "collector_rollup_days_due",
            "Days that are still to be computed: missing, or changed since they were.",
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.rollup_days_refused = Gauge(
            "collector_rollup_days_refused",
            "Final days whose raw reports now say over 20 % less; an operator must decide.",
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.rollup_days_failing = Gauge(
            "collector_rollup_days_failing",
            "Days whose computation failed; all others go on, and these are tried again.",
            multiprocess_mode=_MAX,
            registry=registry,
        )
        self.loop_failures = Counter(
            "collector_loop_failures",
            "Failures of a loop that was then started again, by loop.",
            ("loop",),
            registry=registry,
        )
        self.rollup_last_success = Gauge(
            "collector_rollup_last_success_timestamp_seconds",
            "When a day was last rolled up, in seconds since 1970; 0 for not since the start.",
            multiprocess_mode=_MAX,
            registry=registry,
        )

    def follow(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Set a gauge, or one of its children, to a function's value, now and at each `refresh`.

        `Gauge.set_function` does not work with several processes: the parent would show 0.
        """
        self._followed.append((gauge, value))
        gauge.set(value())

    def refresh(self) -> None:
        """Update the gauges that follow a function, in the thread in which it may be called."""
        for gauge, value in self._followed:
            gauge.set(value())
