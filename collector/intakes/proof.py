"""The proof of ownership: whose data a body is, and what its sender knows about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from collector.privacy import NodePseudonym, ServerPseudonym
from collector.problems import Reason, Refusal


@dataclass(frozen=True, slots=True)
class Proof:
    """The owner of a body, as a pseudonym, and what the body says of itself.

    `known` are fields as they would be stored: whoever sends the same values as a stored report is
    shown that report whole. `nodes` gives the node numbers that the body names, by pseudonym.
    """

    owner: ServerPseudonym
    known: Mapping[str, str]
    nodes: Mapping[NodePseudonym, int] = field(default_factory=dict)


def prove(readers: Sequence[Callable[[bytes], Proof | Refusal]], body: bytes) -> Proof | Refusal:
    """The proof that the first reader finds that understands a body.

    Where none does: the refusal of the reader that got furthest, past the form of the body.
    """
    refused = Refusal(Reason.INVALID_FIELD, "no sender is switched on here")
    for number, reader in enumerate(readers):
        found = reader(body)
        if isinstance(found, Proof):
            return found
        if not number or refused.reason is Reason.MALFORMED_JSON:
            refused = found
    return refused
