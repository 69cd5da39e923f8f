"""StatsD of Asterisk and of everything else that speaks it: from datagrams to points.

`line` parses, `mapping` and `names` give names their meaning, `aggregate` holds what one Asterisk
has sent, with `gauges` and `starts` for gauges that stay right. All of these are pure.
"""
