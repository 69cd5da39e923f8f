"""The memory limit of a control group, and the warning where it is too low for the workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.cgroup import memory_limit, memory_needed, rollup_memory
from collector.cli import serve
from collector.settings import Settings

GIB = 1 << 30


def lay(root: Path, limits: dict[str, str], own: str) -> int | None:
    for group, limit in limits.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / "memory.max").write_text(f"{limit}\n")
    (root / "own").write_text(own)
    return memory_limit(root, root / "own")


def test_lowest_limit_of_the_group_and_those_above_it_counts(tmp_path: Path) -> None:
    service = "0::/system.slice/collector.service\n"
    slices = {"system.slice": str(2 * GIB), "system.slice/collector.service": str(GIB)}
    assert lay(tmp_path / "a", slices, service) == GIB
    slices = {"system.slice": str(GIB), "system.slice/collector.service": "max"}
    assert lay(tmp_path / "b", slices, service) == GIB
    # A container sees its own group as the root.
    assert lay(tmp_path / "c", {".": str(GIB)}, "0::/\n") == GIB
    for number, own in enumerate(("", "12:memory:/x\n", service)):
        assert lay(tmp_path / str(number), {".": "max"}, own) is None
    assert memory_limit(tmp_path, tmp_path / "nothing") is None


def test_rollup_takes_what_a_limit_leaves_it_and_no_more_than_it_was_given() -> None:
    assert rollup_memory(GIB, 4, None) == GIB
    assert rollup_memory(GIB, 1, memory_needed(1)) == GIB // 2
    assert rollup_memory(GIB, 4, 8 * GIB) == GIB
    assert rollup_memory(GIB, 4, GIB) == GIB // 8


def test_limit_that_is_too_low_for_the_workers_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert memory_needed(1) == GIB
    assert memory_needed(4) == 1792 << 20
    for limit, workers, said in ((GIB, 4, True), (GIB, 1, False), (None, 64, False)):
        monkeypatch.setattr("collector.cgroup.memory_limit", lambda limit=limit: limit)
        serve.warn_of_memory(Settings(workers=workers))
        found = capsys.readouterr()
        assert ("1024 MiB, and 4 workers may need 1792 MiB" in found.err) is said, found
