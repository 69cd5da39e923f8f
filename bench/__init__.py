"""Benchmarks: figures as ratios within one run, repeatable by `make bench`."""
