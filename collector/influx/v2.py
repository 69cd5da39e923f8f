"""The v2 API of InfluxDB 2, through `influxdb-client`: organisations, buckets, errors.

`influxdb-client` is imported when needed: it loads slowly, and 1.x does not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from collector.influx.client import Influx
from collector.influx.diagnosis import subject
from collector.influx.errors import InfluxError, InfluxUnavailable

if TYPE_CHECKING:
    from influxdb_client import Bucket, InfluxDBClient, Organization
    from influxdb_client.client.exceptions import InfluxDBError


class NotPermitted(InfluxError):
    """The token or user lacks the permission; the text names the action."""


def speaks_v2(version: str) -> bool:
    """Whether a server of this version (see `Influx.ping`) has the v2 API."""
    return version.startswith("2")


async def awaits_setup(influx: Influx) -> bool:
    """Whether an InfluxDB 2 has not been set up yet. Raises InfluxUnavailable."""
    import aiohttp

    try:
        async with influx.session.get(f"{influx.url}/api/v2/setup") as response:
            if response.status != HTTPStatus.OK:
                return False
            said = await response.json(content_type=None)
    except ValueError:
        return False
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise InfluxUnavailable(influx.unreachable(error)) from error
    return isinstance(said, dict) and said.get("allowed") is True


@contextmanager
def api(influx: Influx, doing: str) -> Iterator[InfluxDBClient]:
    """Context of a client for the v2 API, which blocks, so use it in a thread.

    `doing` completes "may not …" in errors. Raises InfluxUnavailable, NotPermitted, InfluxError.
    """
    from influxdb_client import InfluxDBClient
    from influxdb_client.client.exceptions import InfluxDBError
    from urllib3.exceptions import HTTPError

    try:
        with InfluxDBClient(
            influx.url, token=influx.token, org=influx.org, ssl_context=influx.tls()
        ) as client:
            yield client
    except HTTPError as error:
        raise InfluxUnavailable(
            f"{subject(influx.variables)} at {influx.url} cannot be reached"
            f" ({type(error).__name__})"
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
                f" check {influx.variables}_TOKEN"
            )
        case None if "organization" in said:
            return _no_organisation(influx)
        case int() if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return InfluxUnavailable(f"InfluxDB answers {status}: {said}")
    return InfluxError(f"could not {doing}: InfluxDB answers {status}: {said}")


def _no_organisation(influx: Influx) -> InfluxError:
    return InfluxError(
        f"InfluxDB shows no organisation {influx.org!r} to this token:"
        f" check {influx.variables}_ORG and {influx.variables}_TOKEN"
    )


def organisation(client: InfluxDBClient, influx: Influx) -> Organization:
    """The organisation in the settings. Raises InfluxError if the token may not see it."""
    from influxdb_client.rest import ApiException

    if not influx.org:
        raise InfluxError(f"InfluxDB 2 needs an organisation: set {influx.variables}_ORG")
    try:
        found: list[Organization] = client.organizations_api().find_organizations(org=influx.org)
    except ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        found = []
    if not found:
        raise _no_organisation(influx)
    return found[0]


def bucket(client: InfluxDBClient, influx: Influx, database: str) -> Bucket | None:
    """The bucket of a database of the schema; None if there is none that the token may see."""
    from influxdb_client.rest import ApiException

    try:
        buckets = client.buckets_api().find_buckets(name=influx.name(database)).buckets
    except ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        buckets = []
    if len(buckets) > 1:
        # An operator token sees all organisations; names are unique within one only.
        mine = organisation(client, influx).id
        buckets = [found for found in buckets if found.org_id == mine]
    return buckets[0] if buckets else None
