"""Backup of the daily series and the settings into a directory, and restore from it.

A backup holds a gzip file of line protocol for each month of the daily series, `settings.env`
without secrets, on request the pseudonym key, and `manifest.json` with counts and checksums of all
files. It holds no raw reports: they are stored for a promised time only, and a copy would outlive
that promise and the erasures that owners ask for.
"""
