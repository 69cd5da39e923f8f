"""Factories of objects that both `serve` and the commands build from the settings.

Intakes and rollup are imported inside them, so that a command without them starts quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from collector.influx import Influx
from collector.schema import DAILY, OWNERS, RAW
from collector.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from collector.intakes import Intake
    from collector.outbox import Outboxes
    from collector.rollup.daily import Daily
    from collector.rollup.events import Events
    from collector.rollup.librenms import LibreNMSDays
    from collector.rollup.reconcile import Reconciler
    from collector.rollup.schedule import DaySeries


def retention(settings: Settings, intakes: Sequence[Intake] | None = None) -> dict[str, int]:
    """Retention of each database, in seconds (0: for ever); `intakes` are all if not given."""
    from collector.intakes import INTAKES

    found = {RAW: settings.retention_raw, DAILY: settings.retention_daily, OWNERS: 0}
    for intake in INTAKES if intakes is None else intakes:
        if intake.is_on(settings):
            found.update(intake.retention(settings))
    return found


def of_senders(settings: Settings) -> list[str]:
    """The databases that belong to senders alone, those of disabled senders included."""
    from collector.intakes import INTAKES

    return sorted({name for intake in INTAKES for name in intake.retention(settings)})


def influx_of(settings: Settings, *, retry_ping: bool = True) -> Influx:
    """A client of InfluxDB; `retry_ping` is for commands, as loops try again by themselves."""
    return Influx(
        settings.influx_url,
        token=settings.influx_token.get_secret_value(),
        org=settings.influx_org,
        prefix=settings.influx_prefix,
        ca_file=settings.influx_ca_file,
        retry_ping=retry_ping,
    )


def outboxes_of(whole: Settings) -> Outboxes:
    """The outboxes of all workers of a state directory, former workers included."""
    from collector.outbox import Outboxes
    from collector.worker import directories

    return Outboxes(lambda: directories(whole.state_dir))


def daily_of(settings: Settings, influx: Influx) -> Daily:
    """The daily rollup."""
    from collector.memory import days_of_erasures
    from collector.rollup.cache import FactsCache
    from collector.rollup.daily import Daily

    return Daily(
        influx,
        k=settings.k_anonymity,
        retention_s=settings.retention_raw,
        cache=FactsCache(settings.state_dir, k=settings.k_anonymity),
        erasures=partial(days_of_erasures, settings.state_dir),
        listed=_listed(settings),
    )


def _listed(settings: Settings) -> Callable[[], pl.Series | None]:
    """The nodes on the node list that the intake uses, if it uses one."""
    if not settings.nodelist_url:
        return lambda: None
    from collector.rollup.listed import ListedNodes
    from collector.state import read_key

    return ListedNodes(settings.state_dir, partial(read_key, settings.key_file)).pseudonyms


def other_days_of(settings: Settings, influx: Influx) -> list[DaySeries]:
    """Series computed after the days of `asl-telemetry`: other senders' days, events, months."""
    from collector.rollup.months import Months

    others = [librenms_days_of(settings, influx)] if settings.librenms else []
    # The report of a month has its events.
    return [*others, events_of(influx), Months(influx)]


def events_of(influx: Influx) -> Events:
    """The events of the published series."""
    from collector.rollup.events import Events

    return Events(influx)


def librenms_days_of(settings: Settings, influx: Influx) -> LibreNMSDays:
    """The daily series of LibreNMS's reports."""
    from collector.memory import days_of_erasures
    from collector.rollup.librenms import LibreNMSDays

    return LibreNMSDays(
        influx,
        k=settings.k_anonymity,
        retention_s=settings.retention_librenms,
        erasures=partial(days_of_erasures, settings.state_dir),
    )


def reconciler_of(settings: Settings, influx: Influx) -> Reconciler:
    """The reconciler, which finds the days that the rollup must compute."""
    from collector.memory import days_of_erasures
    from collector.rollup.cache import FactsCache
    from collector.rollup.reconcile import Reconciler

    return Reconciler(
        influx,
        retention_s=settings.retention_raw,
        cache=FactsCache(settings.state_dir, k=settings.k_anonymity),
        erasures=partial(days_of_erasures, settings.state_dir),
    )
