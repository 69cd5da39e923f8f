"""Groups of commands: each command has examples, which its help ends with.

A test runs the examples, and the manual page has them too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Final, TypeVar

import typer
from rich.markup import escape

Function = TypeVar("Function", bound=Callable[..., Any])

_HEADING: Final = "Examples:"
_INDENT: Final = "  "


class Commands(typer.Typer):
    """A group of commands whose help wraps its paragraphs and ends with examples."""

    def command(  # type: ignore[override] # of Typer's parameters, those that are used here
        self, name: str | None = None, *, examples: Sequence[str] = (), hidden: bool = False
    ) -> Callable[[Function], Function]:
        """Register a command; each of the examples is a whole command line, at most 76 wide."""
        lines = [_HEADING, *(f"{_INDENT}{escape(example)}" for example in examples)]
        # A line break at the start keeps the indent of those that follow.
        epilog = "\n" + "\n".join(lines) if examples else None

        def register(function: Function) -> Function:
            paragraphs = (inspect.getdoc(function) or "").split("\n\n")
            text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
            typer.Typer.command(self, name, help=text, epilog=epilog, hidden=hidden)(function)
            return function

        return register

    def only(self, arguments: Sequence[str]) -> Commands:
        """The same with no command or group but that of the first argument, if there is one.

        Typer makes the parameters of every command before it runs one, which takes 15 ms.
        """
        one = copy(self)
        one.registered_commands = [c for c in one.registered_commands if c.name in arguments[:1]]
        one.registered_groups = [g for g in one.registered_groups if g.name in arguments[:1]]
        return one if one.registered_commands or one.registered_groups else self


def examples_in(epilog: str | None) -> list[str]:
    """The examples of a command, from its epilog."""
    lines = (epilog or "").split("\n")
    return [line.strip().replace("\\[", "[") for line in lines if line.startswith(_INDENT)]
