"""Events of the published series: marks that explain a day's numbers.

Versions and packages that appear in the published tables for the first time, and outages of the
intake, are found by the rollup (`collector.rollup.events`); notes are written by operators.
"""
