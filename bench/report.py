"""docs/performance.md, as the benchmarks write it: a section each, kept until measured again."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tools.embedded import find_influxd

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "performance.md"
_KEPT: Final = ROOT / "bench" / "results.json"

_HEAD: Final = (
    "# Performance\n\n"
    "This page is written by `make bench`; `python -m bench NAME` measures one section anew."
    " Machines are noisy:\nwhat counts are the ratios, each of two things measured in turn in the"
    " same run. Every section tells when and on what it\nwas taken.\n"
)

SECTIONS: Final = (
    "intake",
    "workers",
    "drain",
    "hops",
    "rollup",
    "large",
    "queries",
    "statsd",
    "ami",
    "footprint",
)


def machine() -> str:
    """What a figure depends on, in a line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "pydantic", "polars")
    )
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB; Linux {platform.release()},"
        f" Python {platform.python_version()}, {packages}, SQLite {sqlite3.sqlite_version},"
        f" {_influxd()}"
    )


def _influxd() -> str:
    done = subprocess.run(
        [find_influxd(ROOT), "version"], check=True, capture_output=True, text=True
    )
    return " ".join(done.stdout.split()[:2]).replace("v1", "1")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def middle(values: Sequence[float]) -> float:
    """The median; of an even number the upper one."""
    return sorted(values)[len(values) // 2]


def record(section: str, title: str, text: str) -> None:
    """Print a section, keep it, and write the page anew."""
    print(f"\n{title}\n\n{text}\n", flush=True)
    kept: dict[str, str] = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    when = datetime.now(UTC).date().isoformat()
    kept[section] = (
        f"## {title}\n\n{text}\n\n`python -m bench {section}`, {when}, on {machine()}.\n"
    )
    _KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    PAGE.write_text("\n".join([_HEAD, *(kept[name] for name in SECTIONS if name in kept)]))
