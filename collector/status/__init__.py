"""State of a collector on one page, and what needs attention in it.

`report` is the form, `gather` fills it from the running process, the state directory and InfluxDB,
`problems` finds what an alert would be about, `doctor` adds the checks of `collector check`.
"""
