"""`collector serve` with a failing part: `python tests/sabotage.py thread|delivery …`."""

from __future__ import annotations

import sys
from functools import partial
from typing import NoReturn

from collector import app, outbox
from collector.cli import cli
from collector.delivery.loop import Delivery
from collector.outbox import Outbox
from collector.supervisor import Patience, Supervisor

_OF_THE_OUTBOX = "thread"


class Frail(Outbox):
    """An outbox whose thread fails after it has worked for a while."""

    _left = 2

    def _housekeep(self) -> None:
        self._left -= 1
        if not self._left:
            raise ZeroDivisionError
        super()._housekeep()


async def fail(_delivery: object) -> NoReturn:
    """A delivery loop that fails at its start."""
    raise ZeroDivisionError


def main() -> None:
    """Serve with the failing part that the first argument names."""
    if sys.argv[1] == _OF_THE_OUTBOX:
        outbox.Outbox = Frail  # type: ignore[misc]
    else:
        hasty = Patience(first_s=0.1, most_s=0.2, give_up_s=1.0)
        app.Supervisor = partial(Supervisor, patience=hasty)  # type: ignore[attr-defined, assignment]
        Delivery.run = fail  # type: ignore[method-assign, assignment]
    cli(["serve"], prog_name="collector")


if __name__ == "__main__":
    main()
