"""Client for InfluxDB 1.6 to 2.x; the only package that talks to it.

Raw and published data may be on two servers: `Influx` then sends each request to the server of its
database, and `Influx.servers` has the clients of both for what concerns a server.

`client` sends writes and queries, and has the results of writes; `reading` reads rows and checks
that none is missing, `writing` stores points or raises, `databases` creates databases or buckets
with their retention.
"""

from collector.influx.client import Influx
from collector.influx.diagnosis import RAW_VARIABLES, VARIABLES
from collector.influx.errors import CutShort, InfluxError, InfluxUnavailable, NoDatabase
from collector.influx.guarded import Guard, allowed
from collector.influx.quoting import identifier, string
from collector.influx.reading import Select, read, read_each, read_if_there
from collector.influx.responses import Series, rows_of

__all__ = [
    "RAW_VARIABLES",
    "VARIABLES",
    "CutShort",
    "Guard",
    "Influx",
    "InfluxError",
    "InfluxUnavailable",
    "NoDatabase",
    "Select",
    "Series",
    "allowed",
    "identifier",
    "read",
    "read_each",
    "read_if_there",
    "rows_of",
    "string",
]
