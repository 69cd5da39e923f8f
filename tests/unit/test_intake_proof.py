"""Whose data a body is, where several kinds of sender are switched on."""

from __future__ import annotations

from collector.intakes.proof import Proof, prove
from collector.privacy import ServerPseudonym
from collector.problems import Reason, Refusal

PROOF = Proof(ServerPseudonym("0" * 16), {})
NO_JSON = Refusal(Reason.MALFORMED_JSON, "no JSON")
WRONG_FIELD = Refusal(Reason.INVALID_FIELD, "uuid: missing")


def test_first_reader_that_understands_a_body_names_its_owner() -> None:
    assert prove([lambda _body: NO_JSON, lambda _body: PROOF], b"{}") is PROOF


def test_refusal_is_of_the_reader_that_got_furthest() -> None:
    assert prove([lambda _body: NO_JSON, lambda _body: WRONG_FIELD], b"{}") is WRONG_FIELD
    assert prove([lambda _body: WRONG_FIELD, lambda _body: NO_JSON], b"{}") is WRONG_FIELD


def test_body_is_refused_where_no_sender_is_switched_on() -> None:
    found = prove([], b"{}")
    assert isinstance(found, Refusal)
    assert found.reason is Reason.INVALID_FIELD
