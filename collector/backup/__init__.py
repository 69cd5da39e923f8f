"""The published series and the settings in a directory, and back from it.

A backup holds one gzip of line protocol for each month of the daily series, `settings.env`
without its secrets, on request the pseudonym key, and `manifest.json` with counts and checksums
of them all. Raw reports are not in it: they are kept for a promised time only, and a copy would
outlive the promise and the erasures that owners ask for.
"""
