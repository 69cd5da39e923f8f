"""Client for InfluxDB 1.6 to 2.x; the only package that talks to it.

`client` sends writes and queries, `reading` reads rows and checks that none is missing, `writing`
stores points or raises, `databases` creates databases or buckets with their retention.
"""

from collector.influx.client import (
    Denied,
    Influx,
    Rejected,
    TooLarge,
    Unavailable,
    WriteResult,
    Written,
)
from collector.influx.errors import CutShort, InfluxError, InfluxUnavailable, NoDatabase
from collector.influx.quoting import identifier, string
from collector.influx.reading import Select, read, stream_csv
from collector.influx.responses import Series, rows_of

__all__ = [
    "CutShort",
    "Denied",
    "Influx",
    "InfluxError",
    "InfluxUnavailable",
    "NoDatabase",
    "Rejected",
    "Select",
    "Series",
    "TooLarge",
    "Unavailable",
    "WriteResult",
    "Written",
    "identifier",
    "read",
    "rows_of",
    "stream_csv",
    "string",
]
