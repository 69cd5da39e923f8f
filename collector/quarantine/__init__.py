"""Reports taken out of the series by an operator, and put back.

`pattern` picks servers from the reports of a span of time; `batch` marks their reports, remembers
what was done and why, and has the days computed anew. A report out of the series stays where it
is, with its owner's rights and its retention: docs/decisions/0042-quarantine.md.
"""
