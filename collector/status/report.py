"""Form of `collector status --json`. Names stay as they are; new ones may be added."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, Field


class Process(BaseModel):
    """The running collector, as its private address shows it."""

    running: bool = Field(description="whether a collector answers at COLLECTOR_METRICS_LISTEN")
    ready: bool | None = Field(None, description="whether it takes reports; null if not running")
    role: str = Field("serve", description="its role: `serve`, `receive` or `publish`")
    why: str = Field("", description="why it is not running, not ready or not whole; else empty")
    workers: int = Field(description="COLLECTOR_WORKERS")


class Intake(BaseModel):
    """Reports taken in. The counts of outcomes are null if no collector is running."""

    outcomes: dict[str, int] | None = Field(
        None, description="submissions since the process's start: `accepted`, or why refused"
    )
    newest: datetime | None = Field(None, description="when the newest report was received")
    hour: datetime | None = Field(None, description="start of the newest hour counted")
    reports: int | None = Field(None, description="reports of that hour")
    expected_reports: float | None = Field(None, description="usual number of reports in it")


class Outbox(BaseModel):
    """The outboxes of all workers together."""

    waiting: dict[str, int] = Field(description="undelivered reports by target")
    oldest_age_s: int | None = Field(None, description="age of the oldest of them, in s")
    bytes: int = Field(description="size on disk")
    limit_bytes: int = Field(description="COLLECTOR_OUTBOX_MAX; 503 when it is reached")
    dead_letters: int = Field(description="lines that their target refused for good")
    refusals: dict[str, int] = Field(
        default_factory=dict, description="dead letters by the target's words"
    )
    set_aside: int = Field(description="damaged outboxes that wait for `collector outbox recover`")
    blocked: list[str] = Field(
        default_factory=list,
        description="targets to which delivery makes no progress now, with the reason, as"
        " `influx: denied`; empty if the collector does not run",
    )
    problem: str = Field("", description="why the outbox cannot be read; else empty")


class InfluxDB(BaseModel):
    """An InfluxDB: that of the published series, or that of raw data if it has its own."""

    url: str = Field(description="its address, without secrets")
    version: str | None = Field(None, description="its version; null if it does not answer")
    problem: str = Field("", description="why it does not answer; else empty")


class LastDay(BaseModel):
    """The newest final day of the published series; null where there is none."""

    day: date | None = Field(None, description="the day, UTC")
    nodes: int | None = Field(None, description="distinct nodes of that day")
    servers: int | None = Field(None, description="distinct servers of that day")
    reports: int | None = Field(None, description="reports of that day")


class Alerts(BaseModel):
    """Figures that alerts are about; null if unknown."""

    nodes_24h: int | None = Field(None, description="distinct nodes in 24 hours")
    expected_nodes_24h: float | None = Field(None, description="usual number of them")
    erasures_queued: int | None = Field(None, description="erasures that wait for an operator")
    orders_behind: list[str] | None = Field(
        None,
        description="processes with open orders of owners; null without NATS",
    )
    days_due: int | None = Field(None, description="days that are still to be computed")
    days_failing: int | None = Field(None, description="days whose computation failed")
    clock_wrong: bool | None = Field(None, description="whether the clock cannot be right")


class Retention(BaseModel):
    """A database and how long it keeps points."""

    database: str = Field(description="name in InfluxDB")
    seconds: int | None = Field(description="retention in s; 0: for ever; null: no such database")


class Disk(BaseModel):
    """The file system of the state directory; null if it does not exist."""

    path: str = Field(description="COLLECTOR_STATE_DIR")
    free_bytes: int | None = Field(None, description="room left")
    size_bytes: int | None = Field(None, description="size")


class Certificate(BaseModel):
    """The TLS certificate of an address that a setting names."""

    setting: str = Field(description="the setting")
    address: str = Field(description="HOST:PORT")
    ends: datetime | None = Field(None, description="when it ends; null if it cannot be read")
    problem: str = Field("", description="why it cannot be read or trusted; else empty")


class Status(BaseModel):
    """The state of a collector."""

    made: datetime = Field(description="when this was read, UTC")
    version: str = Field(description="version of the command")
    collector: Process
    intake: Intake
    outbox: Outbox
    influxdb: InfluxDB
    influxdb_raw: InfluxDB | None = Field(
        None, description="that of raw data; null if it is the same"
    )
    last_day: LastDay
    alerts: Alerts
    retention: list[Retention]
    disk: Disk
    certificates: list[Certificate]


class Finding(BaseModel):
    """One thing that the doctor looked at."""

    check: str = Field(description="name of the check, which stays as it is")
    good: bool = Field(description="whether all is well")
    text: str = Field(description="the state, or the problem")
    do: str = Field("", description="what to do about it; empty if all is well")
    runbook: str = Field("", description="heading of docs/runbook.md with more; may be empty")


class Diagnosis(BaseModel):
    """Form of `collector doctor --json`."""

    made: datetime = Field(description="when this was read, UTC")
    good: bool = Field(description="whether all findings are good")
    findings: list[Finding]
