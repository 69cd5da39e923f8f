"""`make bench`: every benchmark, one after the other."""

from __future__ import annotations

import asyncio
import sys

from bench import rollup

if __name__ == "__main__":
    asyncio.run(rollup.main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
