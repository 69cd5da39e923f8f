"""The set-up's part for the tests in a browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import setup


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def lay_program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_chromium_on_path_is_enough(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_program(programs, "chromium", "exit 1")
    lay_program(programs, "apt-get", "exit 1")
    setup.ensure_chromium()
    assert capsys.readouterr().out == ""


def test_who_is_not_root_is_told_that_tests_are_skipped(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_program(programs, "apt-get", "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    setup.ensure_chromium()
    assert "are skipped" in capsys.readouterr().out


def test_root_installs_it_after_old_lists_are_renewed(
    programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    calls = tmp_path / "calls"
    lay_program(
        programs,
        "apt-get",
        f'echo "$@" >> {calls}\n'
        f'case "$*" in *update*) : > {tmp_path}/lists;; esac\n'
        f"test -e {tmp_path}/lists",
    )
    setup.ensure_chromium()
    words = [line.split() for line in calls.read_text().splitlines()]
    assert ["install" in line for line in words] == [True, False, True]
    assert "chromium" in words[-1]
    assert "--no-install-recommends" in words[-1]


def test_failed_installation_is_no_failed_set_up(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    lay_program(programs, "apt-get", "echo no network >&2; exit 100")
    setup.ensure_chromium()
    assert "no network" in capsys.readouterr().out
