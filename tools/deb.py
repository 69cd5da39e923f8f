"""Builder of the Debian packages of `make deb`: the locked wheels in a virtual environment.

Any Debian machine builds the packages of every release and architecture: uv unpacks the wheels of
the target, checked by their hashes, and debhelper makes the rest from `deploy/debian`. Needs
debhelper, and lintian to check the result.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from tools import manual

ROOT: Final = Path(__file__).resolve().parent.parent
DEBIAN: Final = ROOT / "deploy" / "debian"
NAME: Final = "usage-collector"
REVISION: Final = 1
PYTHONS: Final = {12: "3.11", 13: "3.13"}
"""Python's version in each supported release of Debian."""
PLATFORMS: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""The processor of each supported architecture, as platforms of wheels name it."""
# The older release's C library: wheels for it run on both.
_GLIBC: Final = "manylinux_2_36"
_WITHOUT_WHEEL: Final = ("nkeys",)
"""Locked packages that are published as source alone: pure Python, so built the same anywhere."""
_LIBRARIES: Final = {
    "libc.so.6": "libc6 (>= 2.36)",
    "libgcc_s.so.1": "libgcc-s1",
    "libstdc++.so.6": "libstdc++6 (>= 12)",
}
"""The packages of the libraries that wheels need; the C library's own parts are not listed."""
_OF_LIBC: Final = re.compile(r"^(ld-linux.*|lib(dl|m|pthread|rt|util)\.so\.\d+)$")
_UNITS: Final = ("collector-limits", "collector-statsd.socket", "collector@.service")
_SHARED: Final = ("asterisk", "cluster", "influxdb", "nginx", "prometheus", "telegraf")


class BuildError(Exception):
    """The package cannot be built; the message gives the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Target:
    """A release of Debian and an architecture."""

    release: int
    architecture: str

    @property
    def python(self) -> str:
        """The program of the release's Python, such as `python3.11`."""
        return f"python{PYTHONS[self.release]}"


def upstream_version() -> str:
    """The version for Debian: that of pyproject.toml, and the commit's time after a release."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = str(tomllib.load(file)["project"]["version"])
    # Debian sorts `~` before everything: a development version comes before its release.
    version = re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", version)
    if not (ROOT / ".git").exists() or _git("tag", "--points-at", "HEAD", f"v{version}"):
        return version
    return f"{version}+git{_committed():%Y%m%d.%H%M%S}"


def _committed() -> datetime:
    """When the code was committed, UTC; outside of a repository, SOURCE_DATE_EPOCH."""
    if (ROOT / ".git").exists():
        return datetime.fromtimestamp(int(_git("log", "-1", "--format=%ct")), UTC)
    return datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)


def _git(*words: str) -> str:
    return _run(["git", "-C", str(ROOT), *words]).strip()


def _run(
    command: Sequence[str | Path], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> str:
    """Run a program and return its standard output. Raises BuildError with its messages."""
    try:
        done = subprocess.run(  # noqa: S603 - commands are written in this file
            command, cwd=cwd, env=env, check=False, capture_output=True, text=True
        )
    except OSError as error:
        raise BuildError(f"`{command[0]}` could not be run: {error.strerror}") from error
    if done.returncode:
        words = " ".join(map(str, command))
        raise BuildError(f"`{words}` failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def environment(folder: Path, target: Target) -> None:
    """Lay the virtual environment of a target into a folder: locked wheels, and the collector."""
    packages = folder / "lib" / target.python / "site-packages"
    uv = Path(sys.executable).with_name("uv")
    platform = f"{PLATFORMS[target.architecture]}-{_GLIBC}"
    chosen = ["--python-platform", platform, "--python-version", PYTHONS[target.release]]
    locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    locked += [word for name in _WITHOUT_WHEEL for word in ("--no-binary", name)]
    _run(
        [
            *(uv, "pip", "install", "--quiet", "--link-mode", "copy", "--target", packages),
            *(*chosen, *locked),
            *("-r", "requirements/runtime.txt", "-r", "requirements/nats.txt"),
        ]
    )
    own = ["--no-index", "--no-deps", "--no-build-isolation", "--no-compile"]
    quiet = ["--quiet", "--disable-pip-version-check"]
    # Beside the others: pip would warn of a folder that is not empty.
    alone = folder.with_name(f"{folder.name}.own")
    _run([sys.executable, "-m", "pip", "install", *quiet, *own, "--target", alone, ROOT])
    for path in alone.iterdir():
        if path.name != "bin":
            path.rename(packages / path.name)
    shutil.rmtree(alone)
    for path in unwanted(packages):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "pyvenv.cfg").write_text(
        "home = /usr/bin\ninclude-system-site-packages = false\n"
        f"version = {PYTHONS[target.release]}\n"
    )
    launcher = folder / "bin" / "collector"
    launcher.parent.mkdir()
    text = (DEBIAN / "launcher.py").read_text(encoding="utf-8")
    launcher.write_text(f"#!/usr/lib/{NAME}/bin/python -I\n{text}", encoding="utf-8")
    launcher.chmod(0o755)


def unwanted(packages: Path) -> list[Path]:
    """What installers leave in a folder of packages that has no place in a Debian package."""
    found = [packages / "bin", *packages.glob(".lock")]
    # Paths of the building machine, and programs for another place.
    found += packages.glob("*.dist-info/direct_url.json")
    found += packages.glob("*.dist-info/uv_*.json")
    found += packages.rglob("__pycache__")
    return [path for path in found if path.exists()]


def libraries(folder: Path) -> Iterator[str]:
    """The Debian packages of the system's libraries that the wheels need. Raises BuildError."""
    own = {path.name for path in folder.rglob("*.so*")}
    needed = set()
    for path in folder.rglob("*.so*"):
        told = _run(["objdump", "-p", path])
        needed |= set(re.findall(r"^\s+NEEDED\s+(\S+)$", told, re.MULTILINE))
    for name in sorted(needed - own):
        if _OF_LIBC.match(name):
            continue
        if name not in _LIBRARIES:
            raise BuildError(f"a wheel needs {name}: name its package in {Path(__file__).name}")
        yield _LIBRARIES[name]


def lay_tree(tree: Path, target: Target, version: str) -> None:
    """Lay the tree that debhelper packs: the environment, the manual, and `debian/`."""
    environment(tree / "venv", target)
    manual.write(tree / "manual")
    debian = tree / "debian"
    shutil.copytree(DEBIAN, debian, ignore=shutil.ignore_patterns("launcher.py", "__pycache__"))
    systemd = ROOT / "deploy" / "systemd"
    shutil.copy(systemd / "collector.service", debian / f"{NAME}.collector.service")
    shutil.copy(systemd / "collector.sysusers", debian / f"{NAME}.sysusers")
    shutil.copy(systemd / "collector.env.example", tree / "collector.env")
    for unit in _UNITS:
        shutil.copy(systemd / unit, tree)
    for folder in _SHARED:
        kept = shutil.ignore_patterns("*.toml", "*.secret")
        shutil.copytree(ROOT / "deploy" / folder, tree / folder, ignore=kept)
    for folder in ("grafana", "provisioning", "docs"):
        shutil.copytree(ROOT / folder, tree / folder)
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tree)
    filled = {
        "@PYTHON@": target.python,
        "@PYTHON_VERSION@": PYTHONS[target.release],
        "@VERSION@": version,
        "@LIBRARIES@": ", ".join(libraries(tree / "venv")),
    }
    for path in debian.iterdir():
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for mark, value in filled.items():
                text = text.replace(mark, value)
            path.write_text(text, encoding="utf-8")
    (debian / "changelog").write_text(
        f"{NAME} ({version}-{REVISION}.deb{target.release}) stable; urgency=medium\n\n"
        "  * changelog.gz lists the changes.\n\n"
        f" -- {_maintainer()}  {format_datetime(_committed())}\n"
    )


def _maintainer() -> str:
    (found,) = re.findall(r"(?m)^Maintainer: (.*)$", (DEBIAN / "control").read_text("utf-8"))
    return str(found)


def build(target: Target, out: Path) -> Path:
    """Build the package of a target into a folder and return its path. Raises BuildError."""
    version = upstream_version()
    file = f"{NAME}_{version}-{REVISION}.deb{target.release}_{target.architecture}.deb"
    work = out / "build" / f"deb{target.release}-{target.architecture}"
    shutil.rmtree(work, ignore_errors=True)
    tree = work / NAME
    tree.mkdir(parents=True)
    lay_tree(tree, target, version)
    known = {
        "DEB_HOST_ARCH": target.architecture,
        # Files belong to root in the package, whoever builds it.
        "DEB_RULES_REQUIRES_ROOT": "no",
        "SOURCE_DATE_EPOCH": str(int(_committed().timestamp())),
    }
    _run(["debian/rules", "binary"], cwd=tree, env=os.environ | known)
    built = out / file
    shutil.move(work / file, built)
    shutil.rmtree(work)
    return built


def check(package: Path) -> str:
    """Return what lintian says of a package. Raises BuildError if it finds an error."""
    if shutil.which("lintian") is None:
        return "not checked: there is no lintian (Debian's package `lintian`)\n"
    # Debian's own rules for uploads, such as a bug that the upload closes, are none of ours.
    fixed = ["--tag-display-limit", "0", "--fail-on", "error", "--suppress-tags"]
    return _run(["lintian", *fixed, "initial-upload-closes-no-bugs", package])


def require(*programs: tuple[str, str]) -> None:
    """Raise BuildError unless these programs, each with its Debian package, are here."""
    missing = [package for program, package in programs if shutil.which(program) is None]
    if missing:
        raise BuildError(f"programs are missing: apt install {' '.join(missing)}")


def main() -> int:
    """Build the packages that the options name; return 1 if that fails, else 0."""
    parser = argparse.ArgumentParser(prog="deb", description="Builds the Debian packages.")
    parser.add_argument("--debian", type=int, choices=PYTHONS, help="default: all releases")
    parser.add_argument("--arch", choices=PLATFORMS, help="default: all architectures")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist/")
    options = parser.parse_args()
    out: Path = options.out.resolve()
    targets = [
        Target(release, architecture)
        for release in PYTHONS
        for architecture in PLATFORMS
        if options.debian in (None, release) and options.arch in (None, architecture)
    ]
    try:
        require(("dh", "debhelper"), ("po2debconf", "po-debconf"), ("objdump", "binutils"))
        for target in targets:
            built = build(target, out)
            print(f"deb: {built}")
            print(check(built), end="")
    except BuildError as error:
        print(f"deb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
