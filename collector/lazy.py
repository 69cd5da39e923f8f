"""Libraries that a process imports when it first uses them, since many processes never do.

Only a process that rolls up days or reads downloads needs polars (65 ms of processor time, 20 MB),
only one that renders pages needs the libraries of templates, Markdown and dates. An import stops
the event loop until it is done: where requests are served, `load` imports in a thread first.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import jinja2
    import markdown_it
    import polars as pl
    from babel import dates, numbers


class _Lazy(ModuleType):
    """Stands for a module: imports it when an attribute is first read.

    Threads may do so at the same time: Python's own lock of the import lets all but one wait.
    """

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a module has attributes of any type
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)
        return value


FRAMES: Final = ("polars",)
"""Libraries for reading many rows."""
PAGES: Final = ("babel.dates", "babel.numbers", "jinja2", "markdown_it")
"""Libraries for rendering pages."""

if not TYPE_CHECKING:
    dates, numbers, jinja2, markdown_it, pl = map(_Lazy, PAGES + FRAMES)


async def load(names: tuple[str, ...]) -> None:
    """Import modules in a thread, unless they are imported."""
    for name in names:
        if name not in sys.modules:
            await asyncio.to_thread(import_module, name)


__all__ = ["FRAMES", "PAGES", "dates", "jinja2", "load", "markdown_it", "numbers", "pl"]
