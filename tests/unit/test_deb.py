"""The Debian package: its contents, its launcher and its scripts; tests/debian has its life."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import deb, manual

TARGET = deb.Target(13, "arm64")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that debhelper packs, with a library of this machine in the place of wheels."""
    root = tmp_path_factory.mktemp("deb") / "usage-collector"

    def environment(folder: Path, target: deb.Target) -> None:
        packages = folder / "lib" / target.python / "site-packages"
        packages.mkdir(parents=True)
        found = next(Path(sys.prefix).rglob("uvloop/loop.*.so"))
        shutil.copy(found, packages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deb, "environment", environment)
        # Its tests run the command itself, which takes seconds.
        patch.setattr(manual, "completion", str)
        if shutil.which("objdump") is None:
            patch.setattr(deb, "libraries", lambda _: iter(["libc6"]))
        deb.lay_tree(root, TARGET, "1.2.3")
    return root


def test_everything_that_is_packed_is_in_the_tree_and_nothing_is_left_to_fill_in(
    tree: Path,
) -> None:
    debian = tree / "debian"
    for line in (debian / "usage-collector.install").read_text().splitlines():
        *sources, _target = line.split()
        for source in sources:
            assert list(tree.glob(source)), source
    for source in (debian / "usage-collector.manpages").read_text().split():
        assert (tree / source).exists(), source
    for path in debian.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"@[A-Z_]+@", text), path
        if path.read_bytes().startswith(b"#!/bin/sh"):
            subprocess.run(["/bin/sh", "-n", path], check=True)
    assert "usr/bin/python3.13 " in (debian / "usage-collector.links").read_text()
    assert "Depends: python3.13, python3, libc6" in (debian / "control").read_text()
    assert "(1.2.3-1.deb13)" in (debian / "changelog").read_text()


def test_unit_user_and_settings_are_those_of_the_other_ways_to_deploy(tree: Path) -> None:
    systemd = deb.ROOT / "deploy/systemd"
    for packed, source in (
        ("debian/usage-collector.collector.service", "collector.service"),
        ("debian/usage-collector.sysusers", "collector.sysusers"),
        ("collector.env", "collector.env.example"),
        ("collector-limits", "collector-limits"),
        ("collector@.service", "collector@.service"),
    ):
        assert (tree / packed).read_bytes() == (systemd / source).read_bytes()
    unit = (systemd / "collector.service").read_text()
    settings = (systemd / "collector.env.example").read_text()
    assert "\nEnvironmentFile=/etc/collector/collector.env\n" in unit
    assert "\nStateDirectory=collector\n" in unit
    assert "\nCOLLECTOR_STATE_DIR=/var/lib/collector\n" in settings
    assert "\nCOLLECTOR_LISTEN=*:16080\n" in settings
    user = (systemd / "collector.sysusers").read_text().splitlines()[-1].split()
    assert user[:2] == ["u", "collector"]
    assert "\nUser=collector\n" in unit


def test_secrets_of_this_checkout_are_not_packed(tree: Path) -> None:
    names = [path.name for path in tree.rglob("*")]
    assert "asterisk.toml.example" in names
    assert not [name for name in names if name.endswith((".secret", "asterisk.toml", ".env.local"))]


def test_older_version_is_refused_with_a_sentence(tree: Path) -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("there is no dpkg")
    for words, refused in (
        (["upgrade", "1.2.4-1.deb12"], True),
        (["upgrade", "1.2.3+git20261126.1-1.deb13"], True),
        (["upgrade", "1.2.3-1.deb12"], False),
        (["upgrade", "1.2.3~dev0-1.deb13"], False),
        (["upgrade", "0.9-1.deb12"], False),
        (["install"], False),
        # The state is kept: the collector itself knows whether it can read it.
        (["install", "9.0-1.deb12"], False),
    ):
        done = subprocess.run(
            ["/bin/sh", tree / "debian/usage-collector.preinst", *words],
            check=False,
            capture_output=True,
            text=True,
        )
        assert bool(done.returncode) is refused, words
        assert ("is installed, and 1.2.3 is older" in done.stderr) is refused


def test_version_sorts_before_its_release_and_after_the_one_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tagged(*words: str) -> str:
        return "v1.0.0" if words[0] == "tag" else "1764117600"

    def untagged(*words: str) -> str:
        return "" if words[0] == "tag" else "1764117600"

    # A checkout, whether or not the tests run in one.
    shutil.copy(deb.ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(deb, "ROOT", tmp_path)
    monkeypatch.setattr(deb, "_git", tagged)
    release = deb.upstream_version()
    assert re.fullmatch(r"\d+\.\d+\.\d+(~\w+)?", release)
    monkeypatch.setattr(deb, "_git", untagged)
    assert deb.upstream_version() == f"{release}+git20251126.004000"


def test_library_of_no_known_package_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.so.1").touch()
    told = "  NEEDED               {}\n"

    def needs(*names: str) -> None:
        text = "".join(told.format(name) for name in names)
        monkeypatch.setattr(deb, "_run", lambda _: text)

    needs("libc.so.6", "libm.so.6", "ld-linux-aarch64.so.1", "own.so.1", "libstdc++.so.6")
    assert list(deb.libraries(tmp_path)) == ["libc6 (>= 2.36)", "libstdc++6 (>= 12)"]
    needs("libssl.so.3")
    with pytest.raises(deb.BuildError, match=r"libssl\.so\.3"):
        list(deb.libraries(tmp_path))


def test_missing_programs_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(deb.BuildError, match="apt install debhelper binutils"):
        deb.require(("dh", "debhelper"), ("objdump", "binutils"))


# The launcher


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Run the launcher with a text of settings; the environment that the command gets."""
    module: dict[str, Any] = runpy.run_path(str(deb.DEBIAN / "launcher.py"), run_name="launcher")
    main = module["main"]
    file = tmp_path / "collector.env"

    def launch(text: str | None, *words: str) -> dict[str, str]:
        seen: dict[str, str] = {}
        if text is not None:
            file.write_text(text)
        with monkeypatch.context() as patch:
            patch.setitem(main.__globals__, "SETTINGS", file)
            patch.setattr("collector.cli.main", lambda: seen.update(os.environ))
            patch.setattr(sys, "argv", ["collector", *words])
            before = dict(os.environ)
            try:
                main()
            finally:
                os.environ.clear()
                os.environ.update(before)
        return {name: seen[name] for name in seen if name.startswith("COLLECTOR_")}

    for name in [name for name in os.environ if name.startswith("COLLECTOR_")]:
        monkeypatch.delenv(name)
    return launch


def test_command_gets_the_services_settings_and_the_environment_wins(
    launched: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTOR_INFLUX_PREFIX", "trial_")
    text = (
        "# COLLECTOR_INSTANCE=7\n; COLLECTOR_INSTANCE=8\n\nCOLLECTOR_LISTEN=*:16080\n"
        " COLLECTOR_CONTACT = \"Jane # W1AW\" \nCOLLECTOR_INFLUX_ORG='us\\\nage'\n"
        "COLLECTOR_INFLUX_PREFIX=live_\nCOLLECTOR_K_ANONYMITY=\nnonsense\n"
    )
    assert launched(text) == {
        "COLLECTOR_LISTEN": "*:16080",
        "COLLECTOR_CONTACT": "Jane # W1AW",
        "COLLECTOR_INFLUX_ORG": "usage",
        "COLLECTOR_INFLUX_PREFIX": "trial_",
        "COLLECTOR_K_ANONYMITY": "",
    }


def test_command_without_the_services_settings_says_so_and_runs(
    launched: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    assert launched(None, "check") == {}

    def forbidden(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", forbidden)
    assert launched(None, "check") == {}
    assert "only root may read the service's settings" in capsys.readouterr().err
    for words in (["check", "--help"], []):
        assert launched(None, *words) == {}
        assert capsys.readouterr().err == ""
    # Under systemd, which has read them.
    monkeypatch.setenv("INVOCATION_ID", "x")
    launched(None, "serve")
    assert capsys.readouterr().err == ""


def test_what_installers_leave_is_not_packed(tmp_path: Path) -> None:
    for name in ("a/__pycache__/a.pyc", "a.dist-info/direct_url.json", "bin/collector", "a/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {str(path.relative_to(tmp_path)) for path in deb.unwanted(tmp_path)}
    assert found == {"a/__pycache__", "a.dist-info/direct_url.json", "bin"}
