"""Prepares a checkout: `.venv` from the lock files, and an influxd for the demo and the tests.

It uses the standard library only, since it runs before anything is installed, and needs neither
root nor pip nor ensurepip: missing programs are unpacked from Debian's packages into `.local/`.
Steps that are already done are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.embedded import UNPACKED, InfluxdNotFoundError, find_influxd

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
WHEEL_FOLDERS = (Path("/usr/share/python-wheels"),)

Names = tuple[str, ...]
"""The names of one package in different releases of Debian, the newest first."""

MARIADB: tuple[Names, ...] = (
    ("mariadb-server-core",),
    ("mariadb-client",),
    ("libaio1t64", "libaio1"),
    ("liburing2",),
    ("libnuma1",),
)
"""Debian's packages of MariaDB, with its less common libraries, for the tests of the import."""

POSTGRESQL: tuple[Names, ...] = (
    ("postgresql-17", "postgresql-15"),
    ("libpq5",),
    ("libicu76", "libicu72"),
    ("libldap2", "libldap-2.5-0"),
    ("libsasl2-2",),
    ("libxml2", "libxml2-16"),
    ("libgssapi-krb5-2",),
    ("libkrb5-3",),
    ("libk5crypto3",),
    ("libkrb5support0",),
    ("libcom-err2",),
    ("libkeyutils1",),
)
"""Debian's packages of PostgreSQL, with the libraries that a small Debian does not have, for the
tests of the records store."""

JQ: tuple[Names, ...] = (("jq",), ("libjq1",), ("libonig5",))
"""Debian's packages of jq with its libraries, for the tests of the examples that use it."""

HAPROXY: tuple[Names, ...] = (
    ("haproxy",),
    ("liblua5.3-0",),
    ("liblua5.4-0",),
    ("libopentracing-c-wrapper0t64", "libopentracing-c-wrapper0"),
    ("libopentracing1",),
    ("libjemalloc2",),
)
"""Debian's packages of HAProxy, with the libraries that a small Debian does not have, for the demo
of a cluster. Debian 12's needs Lua 5.3, Debian 13's Lua 5.4."""

CHROMIUM = ("chromium", "fonts-dejavu-core")
"""Debian's packages of a browser and a font, for the tests of the pages."""

WRK = ("wrk", "libluajit-5.1-2")
"""Debian's packages of the load generator for the benchmarks."""

REDIRECTING_PIP = ("TARGET", "PREFIX", "ROOT", "USER", "REQUIRE_VIRTUALENV", "PYTHON", "DRY_RUN")
"""Settings of pip that would install packages outside the virtual environment."""


class SetupError(Exception):
    """The set-up cannot continue; the message gives the reason and the remedy."""


class CommandError(SetupError):
    """A program failed; the message holds its output."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """Paths in a checkout of the project."""

    root: Path

    @property
    def local(self) -> Path:
        """The folder of programs unpacked from Debian's packages."""
        return self.root / ".local"

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """The virtual environment's interpreter."""
        return self.venv / "bin" / "python"

    def lock_file(self, name: str) -> Path:
        """Return the lock file of `runtime`, `build` or `dev`."""
        return self.root / "requirements" / f"{name}.txt"


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program quietly and return its standard output. Raises `CommandError`."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(  # noqa: S603 - commands are written in this file
            words,
            check=False,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise CommandError(f"`{words[0]}` could not be run: {error.strerror}.") from error
    if done.returncode != 0:
        raise CommandError(
            f"`{' '.join(words)}` failed ({done.returncode}):\n{done.stdout}{done.stderr}".rstrip()
        )
    return done.stdout


def say(message: str) -> None:
    """Print a progress message."""
    print(f"setup: {message}", flush=True)


@contextlib.contextmanager
def alone(checkout: Checkout) -> Iterator[None]:
    """Lock the checkout for one set-up; a second one waits."""
    checkout.local.mkdir(exist_ok=True)
    with (checkout.local / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Debian's packages


def unpack(checkout: Checkout, *names: str) -> Path:
    """Return a folder with the files of a Debian package, without installing it.

    `names` are the package's names in different releases; the first that this one has is taken.
    Raises `SetupError`.
    """
    for name in names:
        if (checkout.local / name).exists():
            return checkout.local / name
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise SetupError(f"Debian's package `{names[0]}` is needed, and there is no apt here.")
    downloads = checkout.local / "downloads"
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    name = download(checkout, names, downloads)
    folder = checkout.local / name
    say(f"unpacking Debian's package {name} into {folder.relative_to(checkout.root)}/")
    unfinished = checkout.local / f"{name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for archive in downloads.glob("*.deb"):
        run(["dpkg", "-x", archive, unfinished])
    unfinished.rename(folder)
    shutil.rmtree(downloads)
    return folder


def download(checkout: Checkout, names: Sequence[str], folder: Path) -> str:
    """Download the first of these packages that can be had into a folder; return its name.

    If the machine's package lists have none of them, lists are fetched into the checkout: the
    machine's may be empty or outdated, and only root may update them. Raises `CommandError`.
    """
    reasons: list[str] = []
    for own_lists in (False, True):
        options = own_apt_folders(checkout) if own_lists else []
        reasons.clear()
        for name in names:
            try:
                run(apt("download", name, options=options), cwd=folder, env=plain_locale())
            except CommandError as error:
                reasons.append(str(error))
            else:
                return name
    raise CommandError("\n".join(reasons))


def apt(*words: str, options: Sequence[str] = ()) -> list[str]:
    """Return an apt-get command that asks no questions and retries failed downloads."""
    # As root, apt switches to a user of its own, who may have no access to this checkout.
    fixed = ["Acquire::Retries=3", "APT::Sandbox::User=root"]
    return [
        "apt-get",
        "--quiet",
        *(part for option in [*fixed, *options] for part in ("-o", option)),
        *words,
    ]


def own_apt_folders(checkout: Checkout) -> list[str]:
    """Return the options with which apt uses lists and caches inside the checkout.

    The lists are fetched once. Raises `CommandError`.
    """
    state, cache = checkout.local / "apt" / "state", checkout.local / "apt" / "cache"
    options = [
        f"Dir::State={state}",
        f"Dir::Cache={cache}",
        "Dir::State::status=/var/lib/dpkg/status",
        "Acquire::Languages=none",
    ]
    fetched = checkout.local / "apt" / "fetched"
    if not fetched.exists():
        for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        run(apt("update", options=options), env=plain_locale())
        fetched.touch()
    return options


def plain_locale() -> dict[str, str]:
    """Return the environment, with programs' messages in English."""
    return {**os.environ, "LC_ALL": "C"}


# The virtual environment


def ensure_venv(checkout: Checkout) -> None:
    """Make the virtual environment with pip in it, or keep the one that works."""
    if not works(checkout.python):
        say(f"making .venv with Python {sys.version.split()[0]}")
        # Links to an interpreter that no longer exists; venv cannot overwrite them.
        shutil.rmtree(checkout.venv, ignore_errors=True)
        bundled = importlib.util.find_spec("ensurepip") is not None
        flags = [] if bundled else ["--without-pip"]
        run([sys.executable, "-m", "venv", *flags, checkout.venv], env=pip_environment(checkout))
    if not works(checkout.python, "import pip"):
        wheel = pip_wheel(checkout)
        # Python can run code from a wheel (a zip file), so pip installs itself.
        install(checkout, "--no-index", "--no-deps", str(wheel), pip=[wheel / "pip"])


def works(python: Path, statement: str = "import venv") -> bool:
    """Tell whether this interpreter runs, is new enough and can run the statement."""
    check = f"import sys; assert sys.version_info >= (3, 11); {statement}"
    try:
        run([python, "-I", "-c", check])
    except CommandError:
        return False
    return True


def pip_wheel(checkout: Checkout) -> Path:
    """Return the wheel of pip that Debian ships for virtual environments."""
    for folder in WHEEL_FOLDERS:
        for wheel in folder.glob("pip-*.whl"):
            return wheel
    try:
        unpacked = unpack(checkout, "python3-pip-whl")
    except SetupError as error:
        raise SetupError(
            f"{error}\n\nPython's ensurepip is missing, and Debian's pip could not be had. "
            "Install `python3-venv` (Debian) or a Python with ensurepip, then try again."
        ) from error
    return next((unpacked / "usr/share/python-wheels").glob("pip-*.whl"))


def pip_environment(checkout: Checkout) -> dict[str, str]:
    """Return the environment without variables that lead pip or Python out of the checkout."""
    astray = {f"PIP_{name}" for name in REDIRECTING_PIP}
    astray |= {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    environment = {name: value for name, value in os.environ.items() if name not in astray}
    # Variables override pip's configuration files, which may hold `user = true`.
    environment |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    known = {"PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
    if not known & environment.keys() and not CA_BUNDLE.exists() and shutil.which("apt-get"):
        environment["PIP_CERT"] = str(certificates(checkout))
    return environment


def certificates(checkout: Checkout) -> Path:
    """Return Debian's file of certificate authorities, unpacked if the machine has none."""
    bundle = checkout.local / "ca-certificates.crt"
    if not bundle.exists():
        folder = unpack(checkout, "ca-certificates")
        parts = sorted((folder / "usr/share/ca-certificates").rglob("*.crt"))
        bundle.write_text("".join(part.read_text() for part in parts))
    return bundle


def install(checkout: Checkout, *words: str, pip: Sequence[str | Path] = ("-m", "pip")) -> None:
    """Run `pip install` in the virtual environment."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    run(
        [checkout.python, *pip, "install", *quiet, *words],
        cwd=checkout.root,
        env=pip_environment(checkout),
    )


def ensure_packages(checkout: Checkout, level: str) -> None:
    """Install the packages of a level (runtime, cluster or dev) unless they are up to date."""
    locks = {
        "runtime": ("build", "runtime", "demo"),
        "cluster": ("cluster",),
        "dev": ("dev",),
    }[level]
    files = [checkout.lock_file(lock) for lock in locks]
    if level == "runtime":
        files.append(checkout.root / "pyproject.toml")
    mark = checkout.venv / f".setup-{level}"
    # The path of the checkout is part of it: the programs in .venv/bin contain that path.
    wanted = fingerprint([*files, Path(__file__)], str(checkout.root))
    if mark.exists() and mark.read_text() == wanted:
        return
    say(f"installing the {level} packages into .venv")
    requirements = [word for lock in locks for word in ("-r", str(checkout.lock_file(lock)))]
    install(checkout, "--require-hashes", "--no-deps", *requirements)
    if level == "runtime":
        install(checkout, "--no-deps", "--no-build-isolation", "--editable", str(checkout.root))
    mark.write_text(wanted)


def fingerprint(files: Sequence[Path], *words: str) -> str:
    """Return a digest of the files' contents and the words."""
    digest = hashlib.sha256()
    for part in [*(file.read_bytes() for file in files), *(word.encode() for word in words)]:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


# InfluxDB


def ensure_influxd(checkout: Checkout) -> None:
    """Ensure that there is an influxd 1.x: on PATH, or unpacked from Debian's package."""
    with contextlib.suppress(InfluxdNotFoundError):
        find_influxd(checkout.root)
        return
    try:
        unpack(checkout, UNPACKED.parts[1])
        find_influxd(checkout.root)
    except (SetupError, InfluxdNotFoundError) as error:
        raise SetupError(
            f"{error}\n\nInfluxDB 1.x is needed for the demo and the tests, and Debian's package "
            "`influxdb` could not be unpacked into .local/. Put an `influxd` of the 1.x line on "
            "PATH, then try again. The collector itself (.venv/bin/collector) is ready to use "
            "with an InfluxDB elsewhere."
        ) from error


# Programs of single tests


def ensure_mariadb(checkout: Checkout) -> None:
    """Ensure that there is a MariaDB, on PATH or unpacked; without one, tests are skipped."""
    if not shutil.which("mariadbd"):
        unpack_if_possible(
            checkout, MARIADB, "there is no MariaDB for the tests of the import, which are skipped"
        )


def ensure_postgresql(checkout: Checkout) -> None:
    """Ensure that there is a PostgreSQL, installed or unpacked; without one, tests are skipped."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        unpack_if_possible(
            checkout,
            POSTGRESQL,
            "there is no PostgreSQL for the tests of records, some are skipped",
        )


def ensure_jq(checkout: Checkout) -> None:
    """Ensure that there is a jq, on PATH or unpacked; without one, tests are skipped."""
    if not shutil.which("jq"):
        unpack_if_possible(
            checkout,
            JQ,
            "there is no jq for the tests of the examples that use it, which are skipped",
        )


def unpack_if_possible(checkout: Checkout, packages: Sequence[Names], lacking: str) -> None:
    """Unpack Debian's packages; where that fails, say what is lacking, and why."""
    try:
        for names in packages:
            unpack(checkout, *names)
    except SetupError as error:
        say(f"{lacking}: {error}")


# Chromium


def ensure_chromium() -> None:
    """Ensure that there is a Chromium: on PATH, or installed from Debian's packages by root.

    It depends on too many system packages to be unpacked into the checkout as others are.
    Without it, the tests of the pages in a browser are skipped.
    """
    if shutil.which("chromium"):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        say("there is no chromium for the tests of the pages, which are skipped")
        return
    quiet = plain_locale() | {"DEBIAN_FRONTEND": "noninteractive"}
    install_it = apt("install", "--yes", "--no-install-recommends", *CHROMIUM)
    say("installing Debian's chromium for the tests of the pages")
    try:
        try:
            run(install_it, env=quiet)
        except CommandError:
            run(apt("update"), env=quiet)
            run(install_it, env=quiet)
    except SetupError as error:
        say(f"there is no chromium for the tests of the pages, which are skipped: {error}")


# Prometheus


def ensure_prometheus(checkout: Checkout) -> None:
    """Ensure that there are Prometheus and promtool, on PATH or unpacked; the demo can do without.

    Up to Debian 12 both are in one package.
    """
    try:
        for name in ("prometheus", "promtool"):
            unpacked = checkout.local / "prometheus" / "usr/bin" / name
            if not shutil.which(name) and not unpacked.exists():
                unpack(checkout, name)
    except SetupError as error:
        say(f"there is no Prometheus for the demo and the tests of the alerts: {error}")


# Proxies


def ensure_proxies(checkout: Checkout) -> None:
    """Ensure that there are nginx and Caddy, on PATH or unpacked; else tests are skipped."""
    for name in ("nginx", "caddy"):
        if shutil.which(name):
            continue
        try:
            unpack(checkout, name)
        except SetupError as error:
            say(f"there is no {name} for the tests of proxies, some of which are skipped: {error}")


def ensure_haproxy(checkout: Checkout) -> None:
    """Ensure that there is an HAProxy, on PATH or unpacked, for the demo of a cluster."""
    if shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return
    try:
        for names in HAPROXY:
            unpack(checkout, *names)
    except SetupError as error:
        raise SetupError(
            f"{error}\n\nHAProxy is the balancer of the demo of a cluster, and Debian's package "
            "`haproxy` could not be unpacked into .local/. Put a `haproxy` on PATH, then try again."
        ) from error


# Docker Compose


def ensure_compose(checkout: Checkout) -> None:
    """Ensure that there is a Docker Compose to read the compose file; else a test is skipped.

    Up to Debian 12 the package is of Compose 1, which cannot run unpacked.
    """
    if shutil.which("docker-compose"):
        return
    try:
        unpack(checkout, "docker-compose")
    except SetupError as error:
        say(f"there is no Docker Compose for the test of the compose file: {error}")


# libfaketime


def ensure_faketime(checkout: Checkout) -> None:
    """Ensure that there is libfaketime, which sets a process's clock; else tests are skipped."""
    try:
        unpack(checkout, "libfaketime")
    except SetupError as error:
        say(f"there is no libfaketime for the tests of clocks, which are skipped: {error}")


# wrk


def ensure_wrk(checkout: Checkout) -> None:
    """Ensure that there is a wrk, on PATH or unpacked."""
    if shutil.which("wrk"):
        return
    for package in WRK:
        unpack(checkout, package)


def main() -> int:
    """Prepare the checkout that contains this file; return 1 if that fails, else 0."""
    parser = argparse.ArgumentParser(prog="setup", description="Prepares this checkout.")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    parser.add_argument("--cluster", action="store_true", help="also what `demo-cluster` needs")
    parser.add_argument("--bench", action="store_true", help="also what benchmarks need")
    options = parser.parse_args()
    checkout = Checkout(Path(__file__).resolve().parent.parent)
    try:
        with alone(checkout):
            # Package lists become outdated: those of an earlier, interrupted set-up too.
            shutil.rmtree(checkout.local / "apt", ignore_errors=True)
            ensure_venv(checkout)
            ensure_packages(checkout, "runtime")
            if options.cluster:
                ensure_packages(checkout, "cluster")
            if options.dev:
                ensure_packages(checkout, "dev")
            ensure_influxd(checkout)
            ensure_prometheus(checkout)
            if options.dev:
                ensure_mariadb(checkout)
                ensure_postgresql(checkout)
                ensure_jq(checkout)
                ensure_proxies(checkout)
                ensure_faketime(checkout)
                ensure_compose(checkout)
                ensure_chromium()
                try:
                    ensure_haproxy(checkout)
                except SetupError as error:
                    say(f"the tests of the demo of a cluster are skipped: {error}")
            if options.cluster:
                ensure_haproxy(checkout)
            if options.bench:
                ensure_wrk(checkout)
            shutil.rmtree(checkout.local / "apt", ignore_errors=True)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
