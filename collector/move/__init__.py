"""Move of all databases from one InfluxDB to another, while the collector takes reports.

`journal` remembers what has been copied and counted, so that an interrupted move goes on where it
ended; `copy` copies one database; `move` does all of them.
"""
