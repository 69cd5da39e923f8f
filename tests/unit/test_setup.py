"""The set-up, with programs in the place of pip, apt and dpkg that note how they are called."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import setup

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> setup.Checkout:
    """A checkout with lock files, in a place with a space in its name."""
    root = tmp_path / "the checkout"
    (root / "requirements").mkdir(parents=True)
    (root / ".local").mkdir()
    (root / "pyproject.toml").write_text("[project]\n")
    for name in ("build", "runtime", "demo", "dev"):
        (root / "requirements" / f"{name}.txt").write_text(f"{name}==1\n")
    return setup.Checkout(root)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty but for what the programs of a test need themselves."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for needed in ("sh", "mkdir", "touch", "cat"):
        found = next(p for d in ("/usr/bin", "/bin") if (p := Path(d) / needed).exists())
        (folder / needed).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def debian(programs: Path, *, lists: bool = True, file: str = "usr/bin/x") -> Path:
    """Lay an apt-get that has any package, once `update` was run if lists are wanting, and dpkg."""
    notes = programs / "notes"
    known = "" if lists else f'case "$*" in *update*) touch "{programs}/lists"; exit;; esac\n'
    if not lists:
        known += f'[ -e "{programs}/lists" ] || {{ echo E: no package >&2; exit 100; }}\n'
    program(programs / "apt-get", f'echo "$@" >> "{notes}"\n{known}touch package.deb')
    program(programs / "dpkg", f'mkdir -p "$3/$(dirname {file})"; echo new > "$3/{file}"')
    program(programs / "dirname", 'echo "${1%/*}"')
    return notes


# Debian's packages


def test_package_is_unpacked_with_the_machines_lists_and_only_once(
    checkout: setup.Checkout, programs: Path
) -> None:
    notes = debian(programs)
    folder = setup.unpack(checkout, "influxdb")
    assert (folder / "usr/bin/x").read_text() == "new\n"
    assert setup.unpack(checkout, "influxdb") == folder
    assert len(notes.read_text().splitlines()) == 1
    assert "Dir::State" not in notes.read_text()


def test_empty_package_lists_are_fetched_into_the_checkout(
    checkout: setup.Checkout, programs: Path
) -> None:
    notes = debian(programs, lists=False)
    setup.unpack(checkout, "influxdb")
    first, update, second = notes.read_text().splitlines()
    assert first.endswith("download influxdb")
    assert update.endswith("update")
    assert second.endswith("download influxdb")
    for command in (update, second):
        assert f"Dir::State={checkout.local}/apt/state" in command
        assert f"Dir::Cache={checkout.local}/apt/cache" in command


def test_interrupted_unpacking_is_begun_anew(checkout: setup.Checkout, programs: Path) -> None:
    debian(programs)
    torn = checkout.local / "influxdb.unfinished" / "torn"
    torn.mkdir(parents=True)
    assert not (setup.unpack(checkout, "influxdb") / "torn").exists()


def test_machine_without_apt_is_told_what_is_needed(
    checkout: setup.Checkout, programs: Path
) -> None:
    del programs
    with pytest.raises(setup.SetupError, match=r"`influxd` of the 1\.x line on\s+PATH"):
        setup.ensure_influxd(checkout)


def test_failed_download_shows_apts_words(checkout: setup.Checkout, programs: Path) -> None:
    program(programs / "apt-get", "echo E: no network here >&2; exit 100")
    program(programs / "dpkg", "exit 0")
    with pytest.raises(setup.SetupError, match="no network here"):
        setup.ensure_influxd(checkout)


def test_proxies_are_unpacked_unless_they_are_on_path(
    checkout: setup.Checkout, programs: Path
) -> None:
    debian(programs)
    program(programs / "caddy", "exit 0")
    setup.ensure_proxies(checkout)
    assert (checkout.local / "nginx").is_dir()
    assert not (checkout.local / "caddy").exists()


def test_machine_without_proxies_and_apt_is_told_what_is_skipped(
    checkout: setup.Checkout, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del programs
    setup.ensure_proxies(checkout)
    said = capsys.readouterr().out
    assert "there is no nginx" in said
    assert "there is no caddy" in said


def test_demo_of_a_cluster_needs_haproxy_and_says_so(
    checkout: setup.Checkout, programs: Path
) -> None:
    if Path("/usr/sbin/haproxy").exists():
        pytest.skip("this machine has an HAProxy")
    with pytest.raises(setup.SetupError, match="Put a `haproxy` on PATH"):
        setup.ensure_haproxy(checkout)
    debian(programs)
    setup.ensure_haproxy(checkout)
    assert (checkout.local / "haproxy").is_dir()


def test_influxd_on_path_is_enough(checkout: setup.Checkout, programs: Path) -> None:
    program(programs / "influxd", "echo InfluxDB v1.8.10")
    setup.ensure_influxd(checkout)
    assert not list(checkout.local.iterdir())


# The virtual environment


def test_working_virtual_environment_is_kept(checkout: setup.Checkout) -> None:
    program(checkout.python, "exit 0")
    mine = checkout.venv / "mine"
    mine.touch()
    setup.ensure_venv(checkout)
    assert mine.exists()


def test_broken_virtual_environment_is_made_anew(checkout: setup.Checkout) -> None:
    checkout.python.parent.mkdir(parents=True)
    checkout.python.symlink_to("/nowhere/python3.11")
    setup.ensure_venv(checkout)
    assert setup.works(checkout.python, "import pip")


def test_pip_comes_from_debians_wheel_where_ensurepip_is_missing(
    checkout: setup.Checkout, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = "usr/share/python-wheels/pip-23.0.1-py3-none-any.whl"
    debian(programs, file=wheel)
    calls: list[tuple[str | Path, ...]] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(setup, "WHEEL_FOLDERS", ())
    monkeypatch.setattr(setup, "install", lambda _, *words, pip: calls.append((*words, *pip)))
    setup.ensure_venv(checkout)
    assert setup.works(checkout.python)
    assert not setup.works(checkout.python, "import pip")
    path = checkout.local / "python3-pip-whl" / wheel
    assert calls == [("--no-index", "--no-deps", str(path), path / "pip")]


def test_no_pip_anywhere_names_the_package_to_install(
    checkout: setup.Checkout, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del programs
    monkeypatch.setattr(setup, "WHEEL_FOLDERS", ())
    with pytest.raises(setup.SetupError, match=r"python3-venv"):
        setup.pip_wheel(checkout)


def test_pips_own_settings_cannot_lead_it_out_of_the_checkout(
    checkout: setup.Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_CERT", "/etc/ours.pem")
    environment = setup.pip_environment(checkout)
    assert environment["PIP_USER"] == "0"
    assert environment["PIP_CERT"] == "/etc/ours.pem"
    assert not {"PIP_TARGET", "PYTHONPATH"} & environment.keys()


def test_machine_without_certificates_gets_debians(
    checkout: setup.Checkout, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian(programs, file="usr/share/ca-certificates/mozilla/One.crt")
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(setup, "CA_BUNDLE", checkout.root / "nowhere.crt")
    bundle = Path(setup.pip_environment(checkout)["PIP_CERT"])
    assert bundle.read_text() == "new\n"


# Installing


@pytest.fixture
def pip_calls(checkout: setup.Checkout) -> Path:
    """Lay an interpreter that notes its arguments; the notes."""
    notes = checkout.root / "pip-calls"
    program(checkout.python, f'echo "$@" >> "{notes}"')
    return notes


def test_packages_are_installed_by_hash_and_once(checkout: setup.Checkout, pip_calls: Path) -> None:
    setup.ensure_packages(checkout, "runtime")
    packages, project = pip_calls.read_text().splitlines()
    assert "--require-hashes" in packages
    assert "build.txt" in packages
    assert "runtime.txt" in packages
    assert "demo.txt" in packages
    assert "--no-deps --no-build-isolation --editable" in project
    setup.ensure_packages(checkout, "runtime")
    assert len(pip_calls.read_text().splitlines()) == 2


@pytest.mark.parametrize("changed", ["requirements/runtime.txt", "pyproject.toml"])
def test_changed_file_is_installed_anew(
    checkout: setup.Checkout, pip_calls: Path, changed: str
) -> None:
    setup.ensure_packages(checkout, "runtime")
    (checkout.root / changed).write_text("other==2\n")
    setup.ensure_packages(checkout, "runtime")
    assert len(pip_calls.read_text().splitlines()) == 4


def test_failed_installation_is_tried_again_and_shows_pips_words(
    checkout: setup.Checkout, pip_calls: Path
) -> None:
    program(checkout.python, "echo ERROR: hashes differ >&2; exit 1")
    with pytest.raises(setup.CommandError, match="hashes differ"):
        setup.ensure_packages(checkout, "dev")
    program(checkout.python, f'echo "$@" >> "{pip_calls}"')
    setup.ensure_packages(checkout, "dev")
    assert "dev.txt" in pip_calls.read_text()


def test_missing_program_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(setup.CommandError, match="could not be run: No such file"):
        setup.run([tmp_path / "nothing"])


# The committed files


@pytest.mark.parametrize("name", ["build", "runtime", "demo", "nats", "cluster", "dev"])
def test_lock_file_pins_by_hash_and_names_no_address(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    assert "--index-url" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_development_packages_agree_with_the_runtime_ones() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return set(re.findall(r"^([\w.-]+==\S+)", text, re.MULTILINE))

    runtime = pins("runtime")
    shared = {pin.partition("==")[0] for pin in runtime}
    assert {pin for pin in pins("dev") if pin.partition("==")[0] in shared} <= runtime


def test_make_alone_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = subprocess.run(
        ["/usr/bin/env", "make", "-C", str(ROOT), "--no-print-directory"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert declared is not None
    assert re.findall(r"make (\S+) ", shown) == re.findall(r"^([\w-]+):", makefile, re.MULTILINE)
    assert set(declared[1].split()) == set(re.findall(r"make (\S+) ", shown))


def test_set_up_needs_the_standard_library_only() -> None:
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
         "import tools.setup"],
        check=True,
    )  # fmt: skip
