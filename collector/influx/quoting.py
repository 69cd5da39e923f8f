"""Quoting of string literals and identifiers in InfluxQL. Pure."""

from __future__ import annotations


def string(text: str) -> str:
    """Quote text as a string literal of InfluxQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def identifier(text: str) -> str:
    """Quote text as an identifier of InfluxQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
