"""What only InfluxDB 2 has, through `influxdb-client`: errors in words, a bucket by name.

`influxdb-client` is imported where it is called: it takes long to load, and 1.x does without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from collector.influx.client import Influx
from collector.influx.errors import InfluxError, InfluxUnavailable
from collector.influx.trouble import unreachable

if TYPE_CHECKING:
    from influxdb_client import Bucket, InfluxDBClient, Organization
    from influxdb_client.client.exceptions import InfluxDBError


class NotPermitted(InfluxError):
    """The token, or the user, may not do this; the text names what was to be done."""


def speaks_v2(version: str) -> bool:
    """Whether a server's version (from `Influx.ping`) has buckets in place of databases."""
    return version.startswith("2")


async def awaits_setup(influx: Influx) -> bool:
    """Whether an InfluxDB 2 has neither organisation nor token yet. Raises InfluxUnavailable."""
    import aiohttp

    try:
        async with influx.session.get(f"{influx.url}/api/v2/setup") as response:
            if response.status != HTTPStatus.OK:
                return False
            said = await response.json(content_type=None)
    except ValueError:
        return False
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise InfluxUnavailable(unreachable(error)) from error
    return isinstance(said, dict) and said.get("allowed") is True


@contextmanager
def api(influx: Influx, doing: str, *, token: str | None = None) -> Iterator[InfluxDBClient]:
    """A client of the v2 API, which blocks: for a thread.

    `doing` completes "may not …" in errors; `token` stands in for the one of `influx`. Raises
    InfluxUnavailable, NotPermitted, InfluxError.
    """
    from influxdb_client import InfluxDBClient
    from influxdb_client.client.exceptions import InfluxDBError
    from urllib3.exceptions import HTTPError

    held = influx.token if token is None else token
    try:
        with InfluxDBClient(
            influx.url, token=held, org=influx.org, ssl_context=influx.tls()
        ) as client:
            yield client
    except HTTPError as error:
        raise InfluxUnavailable(
            f"InfluxDB at {influx.url} cannot be reached ({type(error).__name__})"
        ) from error
    except InfluxDBError as error:
        raise _worded(influx, doing, error) from error


def _worded(influx: Influx, doing: str, error: InfluxDBError) -> InfluxError:
    from influxdb_client.rest import ApiException

    status = error.status if isinstance(error, ApiException) else None
    said = " ".join(str(error.message or getattr(error, "reason", "")).split())
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return NotPermitted(
                f"the token may not {doing} (InfluxDB answers {status}: {said}):"
                " see to COLLECTOR_INFLUX_TOKEN"
            )
        case None if "organization" in said:
            return InfluxError(
                f"InfluxDB shows no organisation {influx.org!r} to this token:"
                " see to COLLECTOR_INFLUX_ORG and COLLECTOR_INFLUX_TOKEN"
            )
        case int() if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return InfluxUnavailable(f"InfluxDB answers {status}: {said}")
    return InfluxError(f"could not {doing}: InfluxDB answers {status}: {said}")


def organisation(client: InfluxDBClient, influx: Influx) -> Organization:
    """The organisation that the settings name. Raises InfluxError where the token sees none."""
    from influxdb_client.rest import ApiException

    if not influx.org:
        raise InfluxError("InfluxDB 2 needs an organisation: set COLLECTOR_INFLUX_ORG")
    try:
        found: list[Organization] = client.organizations_api().find_organizations(org=influx.org)
    except ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        found = []
    if not found:
        raise InfluxError(
            f"InfluxDB shows no organisation {influx.org!r} to this token:"
            " see to COLLECTOR_INFLUX_ORG and COLLECTOR_INFLUX_TOKEN"
        )
    return found[0]


def bucket(client: InfluxDBClient, influx: Influx, database: str) -> Bucket | None:
    """The bucket of a database of the schema, where there is one that the token may see."""
    from influxdb_client.rest import ApiException

    try:
        buckets = client.buckets_api().find_buckets(name=influx.name(database)).buckets
    except ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        buckets = []
    if len(buckets) > 1:
        # A token of all organisations sees the buckets of all; names are unique in one alone.
        mine = organisation(client, influx).id
        buckets = [found for found in buckets if found.org_id == mine]
    return buckets[0] if buckets else None
