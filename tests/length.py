"""Number of repetitions and seeds of random tests, for `make test` and `make long`.

`make test` leaves TEST_LONG unset: few repetitions, with the same seeds in every run. `make long`
sets it to a number, from which all seeds of the run derive; the same number repeats the run.
"""

from __future__ import annotations

import os
from typing import Final

import hypothesis

LONG: Final = os.environ.get("TEST_LONG", "")
"""The number that `make long` sets; empty in `make test`."""

_SEED: Final = int(LONG or 0)
_FEW: Final = 30
_MANY: Final = 300


def repeat(few: int, many: int) -> int:
    """The number of repetitions: `few` in `make test`, `many` in `make long`."""
    return many if LONG else few


def seeds(few: int, many: int) -> range:
    """The seeds of a random test: fixed in `make test`, different in each `make long`."""
    return range(_SEED, _SEED + repeat(few, many))


def seed(fixed: int) -> int:
    """The seed of a random test that runs once: `fixed`, or different in each `make long`."""
    return fixed + _SEED


def set_up_hypothesis() -> None:
    """Configure hypothesis to follow the same rules for repetitions and seeds."""
    hypothesis.settings.register_profile(
        "collector",
        # The time of an example depends more on the machine than on the code.
        deadline=None,
        max_examples=repeat(_FEW, _MANY),
        # In `make long` the seed is pytest's option --hypothesis-seed.
        derandomize=not LONG,
        database=None,
    )
    hypothesis.settings.load_profile("collector")
