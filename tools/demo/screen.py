"""How the demo speaks: numbered steps with their times, and a progress bar on a terminal."""

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
    """Says on `console` what happens in how many `steps`; elsewhere than on a terminal, plainly."""

    def __init__(self, console: Console, *, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._step = 0
        self._begun = time.monotonic()
        # Braille and blocks where they can be written at all.
        self.ascii_only = not console.encoding.lower().startswith("utf")

    @property
    def seconds(self) -> float:
        """How long ago the first word was said."""
        return time.monotonic() - self._begun

    def say(self, words: str = "", *, style: str = "") -> None:
        """Print words as they are; a line too long for the screen is the terminal's to break."""
        self._console.print(Text(words, style=style), soft_wrap=True)

    def show(self, picture: RenderableType) -> None:
        """Print a table or a chart."""
        self._console.print(picture)

    def detail(self, words: str) -> None:
        """Something more about the step said last."""
        self.say(_INDENT + words, style="dim")

    def step_done(self, words: str, seconds: float) -> None:
        """Say that the next step is done."""
        self._step += 1
        line = Text(f"{self._step}/{self._steps}  ", style="green")
        line.append(words, style="default").append(f"  {seconds:.1f} s", style="dim")
        self._console.print(line, soft_wrap=True)

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        """A step of which no more is to be said than that it is done."""
        begun = time.monotonic()
        yield
        self.step_done(words, time.monotonic() - begun)

    @contextmanager
    def progress(self, words: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar that the function given moves by one; it goes when the work is done."""
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
