"""Versions of the tables, each a file named by its number."""
