"""What the owner of a server may ask for: to see what is held, to have it erased, to be left out.

The proof is a body as the client sends it; the intake tells whose it is, so that no identity gets
here. `holdings` finds, `erasure` erases, `requests` takes erasures in and brings them to their end,
`choices` remembers who is left out, `sync` tells other collectors of the same InfluxDB and hears
from them; `routes`, `texts` and `page` are what an owner sees.
"""
