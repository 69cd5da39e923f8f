"""Grafana's dashboards and alert rules, made from typed Python: `python -m tools.dashboards`.

No part of the program: it writes `grafana/dashboards/` and `provisioning/ops/alerting/rules.json`,
which are committed, and a test compares the two.
"""
