"""Variables of dashboards whose values a datasource is asked for."""

from __future__ import annotations

from typing import Final

from tools.dashboards.model import Json, Source

ANY: Final = ".*"
"""Value of a variable of which all values are chosen, where a regular expression is meant."""


def asked(
    name: str,
    label: str,
    statement: str,
    source: Source,
    *,
    current: str = "",
    many: bool = False,
    hidden: bool = False,
) -> Json:
    """Build a variable whose values are the rows of a query, asked as the page loads.

    `many` lets several values be chosen, or all, which is then the default; queries must match
    them by regular expression. Otherwise `current` is the default. `hidden` is for queries alone:
    all values, in the order of the answer, asked again for another range.
    """
    if hidden:
        return asked(name, label, statement, source, many=True) | {
            "hide": 2,
            "skipUrlSync": True,
            "refresh": 2,
            "sort": 0,
            # All is then the values themselves.
            "allValue": None,
        }
    chosen = {"selected": many, "text": current, "value": current}
    if many:
        chosen |= {"text": ["All"], "value": ["$__all"]}
    found: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "hide": 0,
        "skipUrlSync": False,
        "multi": many,
        "includeAll": many,
        "datasource": source.reference,
        "query": statement,
        "definition": statement,
        "regex": "",
        "refresh": 1,
        "sort": 1,
        "options": [],
        "current": chosen,
    }
    return found | ({"allValue": ANY} if many else {})
