"""The set-up's MariaDB for the tests of the import, with programs in the place of apt and dpkg."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import setup


@pytest.fixture
def checkout(tmp_path: Path) -> setup.Checkout:
    (tmp_path / ".local").mkdir()
    return setup.Checkout(tmp_path)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_mariadb_on_path_is_enough(checkout: setup.Checkout, programs: Path) -> None:
    program(programs / "mariadbd", "exit 0")
    setup.ensure_mariadb(checkout)
    assert not list(checkout.local.iterdir())


def test_packages_are_unpacked_where_there_is_none(
    checkout: setup.Checkout, programs: Path
) -> None:
    program(programs / "apt-get", ": > package.deb")
    program(programs / "dpkg", '/bin/mkdir -p "$3"')
    setup.ensure_mariadb(checkout)
    assert {path.name for path in checkout.local.iterdir()} == set(setup.MARIADB)


def test_machine_without_apt_can_be_set_up_all_the_same(
    checkout: setup.Checkout, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del programs
    setup.ensure_mariadb(checkout)
    assert "tests of the import, which are skipped" in capsys.readouterr().out
