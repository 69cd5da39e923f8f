"""Runs commands of the collector in this process, since a new process takes a second."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from typer.testing import CliRunner

from collector.cli import cli
from collector.cli.common import err, out


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    code: int
    out: str
    err: str


def command(
    environment: Mapping[str, str], *arguments: str | Path, answer: str = "", columns: int = 100
) -> Done:
    """Run `collector …` with only these settings; `answer` is its standard input.

    It runs in a thread, so that coroutines can call it. Its exceptions, except an exit, are raised
    here.
    """
    settings: dict[str, str | None] = dict.fromkeys(
        name for name in os.environ if name.startswith("COLLECTOR_")
    )
    settings |= environment
    # The consoles have the width of the terminal in which the tests run.
    out.width = err.width = columns
    with same_log_afterwards(), ThreadPoolExecutor(1) as thread:
        done = thread.submit(
            CliRunner().invoke, cli, [str(one) for one in arguments], input=answer, env=settings
        ).result()
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


@contextmanager
def same_log_afterwards() -> Iterator[None]:
    """Restore the logging configuration at exit, since a command changes it."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.configure(**configured)
        for name, module in list(sys.modules.items()):
            if name.startswith("collector."):
                # A logger caches its configuration when it is first used.
                getattr(getattr(module, "log", None), "__dict__", {}).pop("bind", None)
