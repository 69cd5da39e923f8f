from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.delivery.loop import backoff

MOST = 30.0


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wait_is_never_longer_than_30_seconds(attempt: int, jitter: float) -> None:
    assert 0.1 <= backoff(attempt, jitter) <= MOST


@given(st.integers(1, 10**6))
def test_half_of_a_wait_is_left_to_chance(attempt: int) -> None:
    assert backoff(attempt, 0.0) == backoff(attempt, 1.0) / 2


def test_waits_double() -> None:
    assert [backoff(n, 1.0) for n in range(1, 10)] == [
        0.2,
        0.4,
        0.8,
        1.6,
        3.2,
        6.4,
        12.8,
        25.6,
        30.0,
    ]
