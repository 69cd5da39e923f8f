"""`make bench`: every benchmark, one after the other, or those that are named."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from bench import ami, drain, footprint, hops, intake, large, queries, rollup, statsd, workers
from bench.report import SECTIONS

MEASURE: Final[dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, None]]]] = {
    "intake": lambda options: intake.main(options.peer),
    "workers": lambda _options: workers.main(),
    "drain": lambda _options: drain.main(),
    "hops": lambda _options: hops.main(),
    "rollup": lambda _options: rollup.main(),
    "large": lambda _options: large.main(),
    "queries": lambda _options: queries.main(),
    "statsd": lambda _options: statsd.main(),
    "ami": lambda _options: ami.main(),
    "footprint": lambda _options: footprint.main(),
}


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SECTIONS))
    parser.add_argument("--peer", metavar="URL", help="measure another server beside: URL/usage")
    options = parser.parse_args()
    if unknown := set(options.names) - MEASURE.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    for name in options.names or MEASURE:
        asyncio.run(MEASURE[name](options))


if __name__ == "__main__":
    main()
