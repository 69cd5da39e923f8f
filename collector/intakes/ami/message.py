"""A parsed message of Asterisk's manager interface (AMI)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """An event, an item of a list, or a response.

    `event` is the event's name; "" for a response. `headers` maps names of wanted headers, as
    Asterisk spells them, to values without surrounding blanks. The first of a repeated header
    counts: a dialplan's UserEvent can add headers only after Asterisk's own.
    """

    event: str
    headers: Mapping[str, str]
