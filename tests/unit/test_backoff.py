from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.backoff import backoff


def test_pause_doubles_up_to_the_most() -> None:
    pauses = [backoff(failures, first_s=0.2, most_s=30.0) for failures in range(1, 10)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_pause_after_any_number_of_failures_is_within_its_bounds(
    failures: int, jitter: float
) -> None:
    assert 0.1 <= backoff(failures, first_s=0.2, most_s=30.0, jitter=jitter) <= 30.0


@given(st.integers(1, 10**6))
def test_half_of_a_pause_is_left_to_chance(failures: int) -> None:
    whole = backoff(failures, first_s=0.2, most_s=30.0)
    assert backoff(failures, first_s=0.2, most_s=30.0, jitter=0.0) == whole / 2
