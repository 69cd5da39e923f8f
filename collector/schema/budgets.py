"""Budgets of tags: how many distinct values each open-ended tag may have, for each sender.

Budgets are named as the memory names them, which all senders share. Commands read them here: the
intakes take much longer to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collector.schema import NODE_TAGS, REGISTRATION
from collector.schema.librenms import GROUPS_BUDGET
from collector.schema.telemetrics import TELEMETRICS_TAGS

LIBRENMS_GROUP: Final = "librenms_group"
"""The budget of LibreNMS's groups that may be stored under their names beside the known ones."""


def telemetrics_budget(tag: str) -> str:
    """The name of the budget of a tag of telemetrics-client's records."""
    return f"telemetrics_{tag}"


ASL_BUDGETS: Final[Mapping[str, int]] = {
    tag.name: tag.budget for tag in NODE_TAGS if tag.budget and tag is not REGISTRATION
}
LIBRENMS_BUDGETS: Final[Mapping[str, int]] = {LIBRENMS_GROUP: GROUPS_BUDGET}
TELEMETRICS_BUDGETS: Final[Mapping[str, int]] = {
    telemetrics_budget(tag.name): tag.budget or 0 for tag in TELEMETRICS_TAGS
}
BUDGETS: Final[Mapping[str, int]] = {**ASL_BUDGETS, **LIBRENMS_BUDGETS, **TELEMETRICS_BUDGETS}
"""The budgets of all senders."""
