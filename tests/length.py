"""How long the tests are: a few repetitions that are the same each time, or all of them afresh.

`make test` leaves TEST_LONG unset: few repetitions, the same seeds in every run. `make long` sets
it to a number, from which every seed of that run comes; the same number gives the same run again.
"""

from __future__ import annotations

import os
from typing import Final

import hypothesis

LONG: Final = os.environ.get("TEST_LONG", "")
"""The number that `make long` gives; empty in `make test`."""

_SEED: Final = int(LONG or 0)
_FEW: Final = 30
_MANY: Final = 300


def repeat(few: int, many: int) -> int:
    """How many repetitions there are to be: `few` in `make test`, `many` in `make long`."""
    return many if LONG else few


def seeds(few: int, many: int) -> range:
    """Seeds of random tests: the same ones in `make test`, others in each `make long`."""
    return range(_SEED, _SEED + repeat(few, many))


def seed(fixed: int) -> int:
    """The seed of a random test that runs once: `fixed`, or another in each `make long`."""
    return fixed + _SEED


def set_up_hypothesis() -> None:
    """Give hypothesis as many examples, and the same ones, as the other random tests have."""
    hypothesis.settings.register_profile(
        "collector",
        # How long an example takes says more of the machine than of the code.
        deadline=None,
        max_examples=repeat(_FEW, _MANY),
        # In `make long` the seed is pytest's option --hypothesis-seed.
        derandomize=not LONG,
        database=None,
    )
    hypothesis.settings.load_profile("collector")
