"""InfluxDB, 1.6 to 2.x: the only package that talks to it.

`client` writes, queries and deletes; `databases` makes databases or buckets with their retention.
"""

from collector.influx.client import (
    Denied,
    Influx,
    InfluxError,
    InfluxUnavailable,
    Rejected,
    Series,
    TooLarge,
    Unavailable,
    WriteResult,
    Written,
    day_csv,
    identifier,
    string,
)

__all__ = [
    "Denied",
    "Influx",
    "InfluxError",
    "InfluxUnavailable",
    "Rejected",
    "Series",
    "TooLarge",
    "Unavailable",
    "WriteResult",
    "Written",
    "day_csv",
    "identifier",
    "string",
]
