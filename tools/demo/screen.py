"""Output of the demo: numbered steps with their times, and a progress bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

_INDENT: Final = "     "


class Screen:
    """Prints the demo's `steps` to `console`; without progress bars if it is no terminal."""

    def __init__(self, console: Console, *, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._step = 0
        self._begun = time.monotonic()
        # Braille and block characters need an encoding that has them.
        self.ascii_only = not console.encoding.lower().startswith("utf")

    @property
    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._begun

    def say(self, words: str = "", *, style: str = "") -> None:
        """Print text without markup; long lines are left to the terminal to wrap."""
        self._console.print(Text(words, style=style), soft_wrap=True)

    def show(self, picture: RenderableType) -> None:
        """Print a table or a chart."""
        self._console.print(picture)

    def detail(self, words: str) -> None:
        """Print a detail of the last step."""
        self.say(_INDENT + words, style="dim")

    def step_done(self, words: str, seconds: float) -> None:
        """Print that the next step is done."""
        self._step += 1
        line = Text(f"{self._step}/{self._steps}  ", style="green")
        line.append(words, style="default").append(f"  {seconds:.1f} s", style="dim")
        self._console.print(line, soft_wrap=True)

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        """Run a step from entry to exit and print that it is done, with its time."""
        begun = time.monotonic()
        yield
        self.step_done(words, time.monotonic() - begun)

    @contextmanager
    def progress(self, words: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a progress bar from entry to exit; the function given advances it by one."""
        with Progress(
            TextColumn(f"{self._step + 1}/{self._steps}  {words}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as bar:
            task = bar.add_task(words, total=total)
            yield lambda: bar.advance(task)

    @contextmanager
    def status(self, words: str) -> Iterator[None]:
        """Show a line at the bottom of a terminal from entry to exit."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(words, spinner="line" if self.ascii_only else "dots"):
            yield
