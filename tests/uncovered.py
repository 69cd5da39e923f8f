"""A pytest plugin: extends pytest-cov's mark `no_cover` to fixtures and to started processes.

pytest-cov stops measuring a marked test in pytest's own process, while the test runs. Measured code
takes half as long again, which the slow repetition of what other tests cover need not pay: neither
in the fixtures of a module that is marked as a whole, nor in a collector that a marked test starts.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

_MARK: Final = "no_cover"
FOR_CHILDREN: Final = "COVERAGE_PROCESS_CONFIG"
"""The variable by which coverage measures each Python process that has it."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    module = item.getparent(pytest.Module)
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = getattr(plugin, "cov_controller", None)
    if controller is None or module is None or module.get_closest_marker(_MARK) is None:
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


@contextmanager
def _unmeasured(node: pytest.Item | pytest.Collector) -> Iterator[None]:
    held = os.environ.pop(FOR_CHILDREN, None) if node.get_closest_marker(_MARK) else None
    try:
        yield
    finally:
        if held is not None:
            os.environ[FOR_CHILDREN] = held


@pytest.fixture(scope="module", autouse=True)
def _children_of_module(request: pytest.FixtureRequest) -> Iterator[None]:
    with _unmeasured(request.node):
        yield


@pytest.fixture(autouse=True)
def _children_of_test(request: pytest.FixtureRequest) -> Iterator[None]:
    with _unmeasured(request.node):
        yield
