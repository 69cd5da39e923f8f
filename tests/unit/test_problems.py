from __future__ import annotations

import json
import re

import pytest

from collector import problems
from collector.problems import Reason, Refusal

TABLE = {
    "malformed-json": 400,
    "invalid-field": 400,
    "no-public-nodes": 400,
    "too-large": 413,
    "unsupported-encoding": 415,
    "rate-limited": 429,
    "unavailable": 503,
    "unauthorized": 401,
    "forbidden": 403,
    "gone": 410,
    "not-found": 404,
    "method-not-allowed": 405,
}


STATUS = {reason.value: Refusal(reason, "").status for reason in Reason}


def test_reason_has_the_status_of_the_table() -> None:
    assert TABLE.items() <= STATUS.items()


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_one_word_with_a_status(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reason)
    assert 400 <= Refusal(reason, "").status < 600


def test_table_in_the_module_is_true() -> None:
    rows = re.findall(r"^\| (\d+) \| ([a-z-]+) \|", problems.__doc__ or "", re.MULTILINE)
    assert rows
    assert all(STATUS[reason] == int(status) for status, reason in rows)


def test_reply_is_a_problem_with_its_reason() -> None:
    response = Refusal(Reason.RATE_LIMITED, "too many", 12).response()
    assert response.status == 429
    assert response.content_type == "application/problem+json"
    assert response.headers["Retry-After"] == "12"
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "reason": "rate-limited",
        "detail": "too many",
    }


def test_reply_that_is_final_names_no_time() -> None:
    assert "Retry-After" not in Refusal(Reason.TOO_LARGE, "").response().headers
