"""Exit codes of all commands."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit status of a command; `MEANINGS` explains each."""

    DONE = 0
    FAILED = 1
    WRONG_SETTING = 2
    INTERRUPTED = 130
    """128 + SIGINT, as shells have it."""


MEANINGS: Final = {
    ExitCode.DONE: "the command did what it was asked to, and found nothing wrong",
    ExitCode.FAILED: "it failed, did only a part, or found something wrong; a sentence on standard"
    " error, or in its output, says what",
    ExitCode.WRONG_SETTING: "an argument or a setting is wrong, so nothing was begun: starting it"
    " again does not help until that is mended",
    ExitCode.INTERRUPTED: "it was interrupted with Ctrl-C (SIGINT)",
}
