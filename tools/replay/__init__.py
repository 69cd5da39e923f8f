"""Recorded traffic of a real Asterisk, read and sent again: for the demo and the tests.

`captures` reads recordings; `ami_script` and `ami_server` play one of a manager interface, with
`pbx` to answer questions; `statsd` sends one of StatsD.
"""
