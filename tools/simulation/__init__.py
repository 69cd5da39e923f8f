"""A simulated fleet of AllStarLink servers, for demonstrations, tests and benchmarks.

`fleet` draws the servers (`catalogue`: the releases they run, `timeline`: one server's life,
`bodies`: the reports it sends, byte for byte as the real client); `sending` stores the reports of
past days or posts those of today. `python -m tools.simulation --help` is the command.
"""
