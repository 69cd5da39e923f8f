"""Owners' requests: to see the data held of a server, to erase it, and to opt out or in.

The proof of ownership is a report's body. The intake turns it into a pseudonym, so that no identity
gets here. `holdings` finds an owner's reports, `erasure` erases them, `requests` is the queue of
erasures, `choices` the opt-out choices, `sync` exchanges both with other collectors of the same
InfluxDB. `routes` serves the HTTP requests, `operations` describes them for OpenAPI, `texts` has
the replies; `services` joins them, and `parts` has what they use of the collector.
"""
