"""Outcomes of calls and attempts, by their hangup causes."""

from __future__ import annotations

import pytest

from collector.intakes.ami.message import Message
from collector.intakes.ami.state.causes import Cause, cause_of, outcome_of

# Cause and TechCause as Asterisk sends them: the tags, and the outcome of a call and an attempt.
CAUSES = {
    ("0", ""): (("0", "none"), "no_answer", "no_answer"),
    ("16", ""): (("16", "none"), "cancelled", "cancelled"),
    ("17", "486"): (("17", "486"), "busy", "busy"),
    ("18", "408"): (("18", "408"), "no_answer", "no_answer"),
    ("19", "480"): (("19", "480"), "no_answer", "no_answer"),
    ("26", ""): (("26", "none"), "cancelled", "cancelled"),
    ("1", "404"): (("1", "404"), "failed", "failed"),
    ("21", "603"): (("21", "603"), "failed", "failed"),
    ("34", "503"): (("34", "503"), "failed", "failed"),
    ("127", "487"): (("127", "487"), "cancelled", "cancelled"),
    ("127", "500"): (("127", "500"), "failed", "failed"),
    ("127", ""): (("127", "none"), "cancelled", "failed"),
    ("128", "700"): (("other", "none"), "failed", "failed"),
    ("", "x"): (("other", "none"), "failed", "failed"),
    ("-1", "99"): (("other", "none"), "failed", "failed"),
    ("\u0661\u0667", "200"): (("other", "none"), "failed", "failed"),
}


@pytest.mark.parametrize("sent", CAUSES)
def test_outcome_of_a_cause(sent: tuple[str, str]) -> None:
    tags, of_call, of_attempt = CAUSES[sent]
    cause = cause_of(Message("Hangup", {"Cause": sent[0], "TechCause": sent[1]}))
    assert cause == Cause(*tags)
    assert outcome_of(cause, is_caller=True) == of_call
    assert outcome_of(cause, is_caller=False) == of_attempt
