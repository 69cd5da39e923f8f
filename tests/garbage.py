"""A pytest plugin: Python's garbage collector runs seldom, and after each file.

A worker holds several hundred thousand objects of collected tests and loaded modules, which live as
long as it does. To examine them again and again took a quarter of the processor time of all tests.
What a file leaves open is found when the file ends, so that no other file is blamed for it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

gc.set_threshold(20_000, 20, 50)


def pytest_collection_finish() -> None:
    """Exclude what exists before the first test from all later collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _garbage_of_module() -> Iterator[None]:
    yield
    gc.collect()
