"""Proof of ownership: the owner of a body, and the values that its sender knows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from collector.privacy import NodePseudonym, ServerPseudonym
from collector.problems import Reason, Refusal


@dataclass(frozen=True, slots=True)
class Proof:
    """The owner of a body, as a pseudonym, and values in the body.

    `known` are fields as they would be stored: a sender that knows these values of a stored report
    may see all of it. `nodes` has the node numbers in the body, by pseudonym.
    """

    owner: ServerPseudonym
    known: Mapping[str, str]
    nodes: Mapping[NodePseudonym, int] = field(default_factory=dict)


def prove(
    readers: Sequence[Callable[[bytes], Proof | Refusal | None]], body: bytes
) -> Proof | Refusal:
    """The proof from the first reader that accepts a body.

    If none does, the refusals that are not `malformed-json`, as one; else the first one.
    """
    refused: list[Refusal] = []
    for reader in readers:
        found = reader(body)
        if isinstance(found, Proof):
            return found
        if found is not None:
            refused.append(found)
    wrong = [one for one in refused if one.reason is not Reason.MALFORMED_JSON] or refused[:1]
    if not wrong:
        return Refusal(
            Reason.INVALID_FIELD, "no intake that has owners is enabled on this collector"
        )
    details = dict.fromkeys(one.detail for one in wrong)
    return Refusal(wrong[0].reason, "; for another sender, ".join(details))
