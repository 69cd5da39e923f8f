"""Whose data a body is, where several kinds of sender are switched on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from collector.intakes.proof import Proof, prove
from collector.privacy import ServerPseudonym
from collector.problems import Reason, Refusal

PROOF = Proof(ServerPseudonym("0" * 16), {})
NO_JSON = Refusal(Reason.MALFORMED_JSON, "no JSON")
WRONG_FIELD = Refusal(Reason.INVALID_FIELD, "uuid: missing")


def test_first_reader_that_understands_a_body_names_its_owner() -> None:
    assert prove([lambda _body: NO_JSON, lambda _body: PROOF], b"{}") is PROOF


def test_refusal_is_of_the_reader_that_got_furthest() -> None:
    assert prove([lambda _body: NO_JSON, lambda _body: WRONG_FIELD], b"{}") == WRONG_FIELD
    assert prove([lambda _body: WRONG_FIELD, lambda _body: NO_JSON], b"{}") == WRONG_FIELD
    assert prove([lambda _body: NO_JSON, lambda _body: NO_JSON], b"{}") == NO_JSON


def test_refusal_names_what_each_sender_misses() -> None:
    machine = Refusal(Reason.INVALID_FIELD, "machine_id: missing")
    found = prove([lambda _body: WRONG_FIELD, lambda _body: machine], b"{}")
    assert isinstance(found, Refusal)
    assert found.detail == "uuid: missing; for another sender, machine_id: missing"


def test_sender_without_owners_says_nothing_of_a_body() -> None:
    for refusal in (NO_JSON, WRONG_FIELD):
        said = partial(lambda refusal, _body: refusal, refusal)
        assert prove([lambda _body: None, said, lambda _body: None], b"{}") == refusal


@pytest.mark.parametrize("readers", [[], [lambda _body: None]], ids=["none", "without owners"])
def test_body_is_refused_where_no_sender_with_owners_is_switched_on(
    readers: list[Callable[[bytes], None]],
) -> None:
    found = prove(readers, b"{}")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.INVALID_FIELD
