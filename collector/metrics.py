"""All Prometheus metrics of the product."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# Creation times of counters double the page, and Prometheus does not use them.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one process, with their registry."""

    def __init__(self) -> None:  # noqa: PLR0915 - one metric a statement
        self.registry = CollectorRegistry()
        self._followed: list[tuple[Gauge, Callable[[], float]]] = []
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        # Gauges by how their values are combined over the workers that run.
        gauge = partial(Gauge, registry=self.registry)
        total = partial(gauge, multiprocess_mode="livesum")
        lowest = partial(gauge, multiprocess_mode="livemin")
        highest = partial(gauge, multiprocess_mode="livemax")

        self.ami_connected = highest(
            "collector_ami_connected",
            "1 while the collector is logged in to an Asterisk's manager interface, else 0.",
            ("asterisk",),
        )
        self.ami_events = counter(
            "collector_ami_events",
            "Events of an Asterisk's manager interface, by name; `other`: those that are not read.",
            ("asterisk", "event"),
        )
        self.ami_bytes = counter(
            "collector_ami_bytes",
            "Bytes received from an Asterisk's manager interface.",
            ("asterisk",),
        )
        self.ami_dropped = counter(
            "collector_ami_dropped",
            "Messages and points of the manager interface that were dropped, by reason.",
            ("reason",),
        )
        self.ami_logins = counter(
            "collector_ami_logins",
            "Logins to an Asterisk's manager interface that succeeded; all but one reconnect.",
            ("asterisk",),
        )
        self.ami_ends = counter(
            "collector_ami_ends",
            "Connections to an Asterisk's manager interface that ended or failed, by reason.",
            ("asterisk", "reason"),
        )
        self.ami_refused = counter(
            "collector_ami_refused",
            "Questions about its state that an Asterisk does not answer us: a right is missing in"
            " manager.conf, or a module.",
            ("asterisk", "question"),
        )

        self.role = highest(
            "collector_role", "1, with the role of the process: serve, receive, publish.", ("role",)
        )
        self.reports = counter(
            "collector_reports",
            "Submissions by sender and outcome: accepted, or the reason of the refusal.",
            ("intake", "outcome"),
        )
        self.nodes = counter(
            "collector_nodes",
            "Nodes in accepted submissions: stored, or why ignored.",
            ("outcome",),
        )
        self.repaired = counter(
            "collector_repaired_bodies",
            "Submissions whose JSON was repaired, by what was wrong with it.",
            ("repair",),
        )
        self.ignored_values = counter(
            "collector_ignored_values",
            "Submissions of which a value was ignored or cut, by its field.",
            ("field",),
        )
        self.over_budget = counter(
            "collector_tag_values_over_budget",
            "Tag values stored as `other` because the tag's budget was spent.",
            ("tag",),
        )
        self.tag_values = highest(
            "collector_tag_values",
            "Distinct values that a tag holds now, against its budget.",
            ("tag",),
        )
        self.tag_budget = highest(
            "collector_tag_budget", "Distinct values that a tag may hold.", ("tag",)
        )
        self.suspicions = counter(
            "collector_suspicions",
            "What may be an attempt to fool the numbers, in accepted submissions, by kind.",
            ("kind",),
        )
        self.request_seconds = histogram(
            "collector_request_seconds",
            "Time from a submission's headers to its reply.",
            buckets=_LATENCY,
        )
        self.http_refusals = counter(
            "collector_http_refusals",
            "Connections and requests refused before a handler read them, by reason.",
            ("reason",),
        )
        self.connections = total(
            "collector_connections",
            "Connections that are open, by the address that they came to: public or metrics.",
            ("address",),
        )
        self.rate_limited_addresses = total(
            "collector_rate_limit_addresses",
            "Sender addresses (as keyed digests) that the rate limit holds a counter of.",
        )

        self.statsd_datagrams = counter(
            "collector_statsd_datagrams",
            "Datagrams of StatsD, and lines of its connections, that were taken.",
            ("asterisk",),
        )
        self.statsd_samples = counter(
            "collector_statsd_samples", "Samples of StatsD that were taken.", ("asterisk",)
        )
        self.statsd_dropped = counter(
            "collector_statsd_dropped",
            "Samples, datagrams, lines and connections of StatsD that were dropped, by reason;"
            " `kernel`: the receive buffer was full.",
            ("reason",),
        )
        self.statsd_ignored = counter(
            "collector_statsd_ignored",
            "Samples of StatsD of which a part was ignored, by part.",
            ("part",),
        )
        self.statsd_underflows = counter(
            "collector_statsd_underflows",
            "Times that a gauge of things would have fallen under 0.",
            ("asterisk",),
        )
        self.statsd_restarts = counter(
            "collector_statsd_restarts",
            "Starts of Asterisk that were recognised by its StatsD.",
            ("asterisk",),
        )
        self.statsd_renamed = counter(
            "collector_statsd_renamed",
            "Samples whose names an Asterisk with meter_support=no has changed; they are taken"
            " under their own.",
            ("asterisk",),
        )
        self.statsd_uncertain = highest(
            "collector_statsd_uncertain_gauges",
            "Gauges that may be wrong, as of the last flush.",
            ("asterisk",),
        )
        self.statsd_heard = highest(
            "collector_statsd_last_datagram_timestamp_seconds",
            "When the last datagram of an Asterisk came, in s since 1970.",
            ("asterisk",),
        )
        self.statsd_flushes = counter(
            "collector_statsd_flushes",
            "Flushes of StatsD: stored, or put off because the outbox was unavailable.",
            ("outcome",),
        )
        self.statsd_buffer_bytes = highest(
            "collector_statsd_receive_buffer_bytes",
            "Size of the smallest receive buffer of StatsD's sockets, as the kernel counts it.",
        )

        self.outbox_reports = total(
            "collector_outbox_reports",
            "Reports in the outbox that a target does not have yet: InfluxDB, the records store.",
            ("target",),
        )
        self.outbox_age_seconds = highest(
            "collector_outbox_age_seconds",
            "Age of the oldest report that a target does not have yet; 0 for none.",
            ("target",),
        )
        self.outbox_bytes = total(
            "collector_outbox_bytes",
            "Size of the outbox on disk, delivered lines that are kept for replay included.",
        )
        self.disk_free_bytes = lowest(
            "collector_disk_free_bytes", "Room left for the collector on the disk of the outbox."
        )
        self.disk_size_bytes = lowest(
            "collector_disk_size_bytes", "Size of the disk of the outbox."
        )
        self.outbox_accepting = lowest(
            "collector_outbox_accepting",
            "1 while the outbox takes reports, 0 while senders get 503.",
        )
        self.outbox_commits = counter(
            "collector_outbox_commits", "Commits of the outbox; each may hold many reports."
        )
        self.outbox_failures = counter(
            "collector_outbox_failures", "Commits of the outbox that failed; their senders got 503."
        )
        self.outboxes_set_aside = total(
            "collector_outboxes_set_aside",
            "Damaged outboxes in the state directory that wait for `collector outbox recover`.",
        )
        self.dead_letters = total(
            "collector_dead_letters",
            "Lines that their target refused for good, set aside for an operator.",
        )

        self.expiring = total(
            "collector_expiring",
            "Dead letters and set-aside files that are deleted within 7 days, for their age.",
        )
        self.expired = counter(
            "collector_expired",
            "Dead letters and set-aside files deleted for their age: as old as raw reports may be.",
            ("kind",),
        )

        self.writer_lines = counter(
            "collector_writer_lines",
            "Lines by what became of them: written, or set aside as dead letters.",
            ("target", "outcome"),
        )
        self.writer_requests = counter(
            "collector_writer_requests",
            "Write requests to InfluxDB and transactions of the records store by outcome.",
            ("target", "outcome"),
        )
        self.writer_seconds = histogram(
            "collector_writer_request_seconds",
            "Time of a write request to InfluxDB or a transaction of the records store.",
            ("target",),
            buckets=_LATENCY,
        )
        self.writer_blocked = highest(
            "collector_writer_blocked",
            "1 while delivery to a target makes no progress, by reason.",
            ("target", "reason"),
        )

        self.writer_erased = counter(
            "collector_writer_erased",
            "Messages that were not passed on: their owner has had the report erased meanwhile.",
            ("target",),
        )
        self.stream_redelivered = counter(
            "collector_stream_redelivered",
            "Messages that JetStream delivered again, since no writer had acknowledged them.",
            ("target",),
        )
        self.stream_waiting = highest(
            "collector_stream_waiting",
            "Messages in the stream that no writer has stored yet, as the writer last saw it.",
            ("target",),
        )
        self.stream_bytes = highest(
            "collector_stream_bytes", "Size of the stream, as the writer last saw it."
        )

        self.records_purged = counter(
            "collector_records_purged",
            "Records deleted from the records store because they were as old as they may be.",
        )
        self.payload_parsers = counter(
            "collector_payload_parsers",
            "Payloads of records by parser and outcome: found, nothing, or failed.",
            ("parser", "outcome"),
        )

        self.clock_wrong = highest(
            "collector_clock_wrong",
            "1 while the machine's clock cannot be right; reports are taken and not delivered.",
        )
        self.redated_reports = counter(
            "collector_redated_reports",
            "Reports that waited while the clock was set, and were dated anew.",
        )

        self.nodelist_nodes = highest(
            "collector_nodelist_nodes", "Nodes on the public node list in use; 0 while none is."
        )
        self.nodelist_fetches = counter(
            "collector_nodelist_fetches",
            "Fetches of the public node list by outcome.",
            ("outcome",),
        )
        self.nodelist_age_seconds = highest(
            "collector_nodelist_age_seconds",
            "Time since the public node list in use was last confirmed; 0 while none is.",
        )

        self.erasures = counter(
            "collector_erasures",
            "Erasures that owners asked for, by outcome: queued, delayed, or done.",
            ("outcome",),
        )
        self.erasures_queued = total(
            "collector_erasures_queued", "Erasures over the hourly limit that wait for an operator."
        )
        self.erasures_waiting = total(
            "collector_erasures_waiting",
            "Erasures that are remembered until InfluxDB lets them be done.",
        )
        self.opted_out = highest(
            "collector_opted_out_servers", "Servers whose owners want no report to be kept."
        )

        self.rollup_runs = counter(
            "collector_rollup_runs", "Runs of a day's rollup by outcome.", ("outcome",)
        )
        self.rollup_seconds = histogram(
            "collector_rollup_seconds",
            "Time of one day's rollup.",
            buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
        )
        self.publisher_leads = highest(
            "collector_publisher_leads",
            "1: this process holds the publisher's lease in NATS and computes days; 0: not so.",
        )
        self.rollup_days_due = highest(
            "collector_rollup_days_due",
            "Days that are still to be computed: missing, or changed since they were.",
        )
        self.rollup_days_refused = highest(
            "collector_rollup_days_refused",
            "Final days whose raw reports now say over 20 % less; an operator must decide.",
        )
        self.rollup_days_failing = highest(
            "collector_rollup_days_failing",
            "Days whose computation failed; all others go on, and these are tried again.",
        )
        self.loop_failures = counter(
            "collector_loop_failures",
            "Failures of a loop that was then started again, by loop.",
            ("loop",),
        )
        self.rollup_last_success = highest(
            "collector_rollup_last_success_timestamp_seconds",
            "When a day was last rolled up, in seconds since 1970; 0 for not since the start.",
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
