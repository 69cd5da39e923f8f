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
    assert {path.name for path in checkout.local.iterdir()} == {each[0] for each in setup.MARIADB}


def test_package_of_another_name_in_this_release_is_taken(
    checkout: setup.Checkout, programs: Path
) -> None:
    program(
        programs / "apt-get", 'case "$*" in *"download old"*) : > package.deb;; *) exit 100;; esac'
    )
    program(programs / "dpkg", '/bin/mkdir -p "$3"')
    assert setup.unpack(checkout, "new", "old") == checkout.local / "old"
    (programs / "apt-get").unlink()
    assert setup.unpack(checkout, "new", "old") == checkout.local / "old"


def test_package_lists_are_fetched_once_for_all_packages(
    checkout: setup.Checkout, programs: Path
) -> None:
    notes = checkout.root / "notes"
    program(
        programs / "apt-get", f'echo "$@" >> "{notes}"; case "$*" in *update) ;; *) exit 100;; esac'
    )
    program(programs / "dpkg", "exit 0")
    for names in (("new", "old"), ("other",)):
        with pytest.raises(setup.SetupError, match=f"download {names[0]}"):
            setup.unpack(checkout, *names)
    assert sum(line.endswith("update") for line in notes.read_text().splitlines()) == 1


def test_promtool_is_unpacked_where_it_is_a_package_of_its_own(
    checkout: setup.Checkout, programs: Path
) -> None:
    for release, has_promtool in (("13", False), ("12", True)):
        checkout_of = setup.Checkout(checkout.root / release)
        checkout_of.local.mkdir(parents=True)
        held = "prometheus promtool" if has_promtool else "prometheus"
        program(programs / "apt-get", ": > package.deb")
        program(
            programs / "dpkg",
            f'/bin/mkdir -p "$3/usr/bin"; cd "$3/usr/bin"; for name in {held}; do : > $name; done',
        )
        setup.ensure_prometheus(checkout_of)
        unpacked = {path.name for path in checkout_of.local.iterdir()}
        assert unpacked == ({"prometheus"} if has_promtool else {"prometheus", "promtool"})


def test_machine_without_apt_can_be_set_up_all_the_same(
    checkout: setup.Checkout, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del programs
    setup.ensure_mariadb(checkout)
    assert "tests of the import, which are skipped" in capsys.readouterr().out
