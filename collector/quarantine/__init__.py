"""Quarantine: operators exclude reports from the series, and include them again.

`pattern` selects servers from the reports of a time span, `batch` is their stored description, and
`quarantine` marks their reports and recomputes the days. Reports in quarantine stay in `usage_raw`,
with the same retention and owners' rights: docs/decisions/0042-quarantine.md.
"""
