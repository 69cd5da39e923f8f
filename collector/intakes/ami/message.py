"""A parsed message of Asterisk's manager interface (AMI)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """An event, an item of a list, or a response.

    `event` is the event's name; "" for a response. `headers` holds the headers that are wanted, by
    the name that Asterisk gives them, without surrounding blanks. Of a repeated header the first
    counts: a dialplan's UserEvent can add headers, but not before Asterisk's own.
    """

    event: str
    headers: Mapping[str, str]
