"""Anonymous usage telemetry for AllStarLink: reports in, honest daily series out.

An intake validates a report, swaps identities for keyed pseudonyms and turns it into line
protocol; the outbox makes those lines durable before the sender hears "accepted"; delivery
carries them to InfluxDB's private `usage_raw`; the rollup counts whole UTC days from there into
the public, k-anonymous `usage_daily`; Grafana, pages and downloads read only that. Imports point
the same way as the data.
"""
