"""Asks what Grafana asks, without one: the queries of panels, and the alert rules.

`rules` reads the provisioned rules, `expressions` computes their conditions, `sources` answers
queries from running servers, `panels` finds the panels without data.
"""
