"""Compose files, Dockerfile, unit file and provisioning: whole, and true to the code."""

from __future__ import annotations

import configparser
import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.asterisks import asterisks
from collector.cgroup import memory_needed
from collector.influx.access import ROLES
from collector.intakes.librenms import intake as librenms
from collector.intakes.telemetrics import intake as telemetrics
from collector.settings import SECRETS, Settings, variable
from tests.composed import (
    CLUSTER,
    CLUSTER_SECRETS,
    ONE,
    ROLES_OF_CLUSTER,
    SERVICE_KEYS,
    Composed,
    compose_program,
    defaults,
    secrets_made,
    sources,
)
from tests.prometheus import MISSING, program
from tools.dashboards.asked import ROOT, Json

SETTINGS = {variable(name) for name in Settings.model_fields}
SETTINGS |= {f"{variable(name)}_FILE" for name in SECRETS}
FILES = (ONE, CLUSTER)
both = pytest.mark.parametrize("file", FILES, ids=str)
UNIT = ROOT / "deploy/systemd/collector.service"
ROLE_UNIT = ROOT / "deploy/systemd/collector@.service"


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


@both
def test_the_services_are_those_that_are_promised_in_keys_that_compose_knows(
    file: Composed,
) -> None:
    assert file.services.keys() == file.promised
    for name, service in file.services.items():
        assert service.keys() <= SERVICE_KEYS, name


@both
def test_image_of_the_collector_has_the_version_of_the_project(file: Composed) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.sub(r"\.dev0$", "-dev", project["version"])
    images = {service["image"] for service in file.services.values() if "build" in service}
    assert images == {f"usage-collector:{named}"}


@both
def test_every_service_is_confined_limited_and_pinned(file: Composed) -> None:
    for name, service in file.services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        limits = service["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory"}, name
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-\w+)?", service["image"]), name


def test_limits_leave_room_for_the_workers() -> None:
    """768 MiB, and 256 MiB and 64 threads for each worker: measured, docs/install.md says it."""
    unit = (ROOT / "deploy/systemd/collector.service").read_text(encoding="utf-8")
    (memory,) = re.findall(r"^MemoryMax=(.*)$", unit, re.MULTILINE)
    (tasks,) = re.findall(r"^TasksMax=(.*)$", unit, re.MULTILINE)
    limits = ONE.services["collector"]["deploy"]["resources"]["limits"]
    assert defaults(limits["memory"]) == memory == "1G"
    (most,) = (
        bound.le for bound in Settings.model_fields["workers"].metadata if hasattr(bound, "le")
    )
    assert int(tasks) >= 64 * most
    install = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    for words in ("768 MiB", "256 MiB", "`MemoryMax=`", "`LIMIT_MEMORY`", "`LIMIT_CPUS`"):
        assert words in install
    for place in ("docker-compose.yml", ".env.example", "deploy/systemd/collector.service"):
        assert "768M and 256M for each" in (ROOT / place).read_text(encoding="utf-8"), place


def test_memory_limit_of_the_unit_follows_the_number_of_workers(tmp_path: Path) -> None:
    settings = tmp_path / "collector.env"
    generator = ROOT / "deploy/systemd/collector-limits"
    dropins = [
        tmp_path / f"{unit}.service.d/10-workers.conf"
        for unit in ("collector", "collector@receive")
    ]
    for text, memory in (
        ("", None),
        ("#COLLECTOR_WORKERS=4\n", None),
        ("COLLECTOR_WORKERS=few\n", None),
        ("COLLECTOR_WORKERS=\n", None),
        ("COLLECTOR_WORKERS=1\n", "1024M"),
        (' COLLECTOR_WORKERS="4" \nCOLLECTOR_LISTEN=*:1\n', "1792M"),
        ("COLLECTOR_WORKERS=4\nCOLLECTOR_WORKERS='8'", "2816M"),
    ):
        settings.write_text(text)
        for dropin in dropins:
            shutil.rmtree(dropin.parent, ignore_errors=True)
        subprocess.run(
            [generator, tmp_path, tmp_path / "early", tmp_path / "late"],
            env=os.environ | {"COLLECTOR_SETTINGS": str(settings)},
            check=True,
        )
        for dropin in dropins:
            found = dropin.read_text() if dropin.exists() else None
            assert found == (f"[Service]\nMemoryMax={memory}\n" if memory else None), text


@both
def test_influxdbs_queries_are_bounded_within_its_memory(file: Composed) -> None:
    service = file.services["influxdb"]
    given = {
        name.removeprefix("INFLUXD_"): int(value)
        for name, value in service["environment"].items()
        if name.startswith(("INFLUXD_QUERY_", "INFLUXD_INFLUXQL_"))
    }
    # InfluxDB 2 does not start with less for all than for each.
    each = given["QUERY_MEMORY_BYTES"] * given["QUERY_CONCURRENCY"]
    assert given["QUERY_MAX_MEMORY_BYTES"] == each
    assert service["deploy"]["resources"]["limits"]["memory"] == "2G"
    assert each <= 1 << 30
    assert given["INFLUXQL_MAX_SELECT_BUCKETS"] == 100_000
    assert given["INFLUXQL_MAX_SELECT_POINT"] == 50_000_000


def test_only_public_ports_are_published() -> None:
    grafanas = {"grafana-community": ["3000:3000"], "grafana-ops": ["127.0.0.1:3001:3000"]}
    proxy = {"caddy": ["80:80", "443:443", "443:443/udp"]}
    collector = {"collector": ["16080:16080", "127.0.0.1:8125:8125/udp"]}
    assert ONE.published() == collector | grafanas | proxy
    assert CLUSTER.published() == {"balancer": ["16080:16080"]} | grafanas | proxy
    for file in FILES:
        assert file.services["caddy"]["profiles"] == ["tls"]


@both
def test_every_path_volume_and_secret_exists(file: Composed) -> None:
    used: set[str] = set()
    for name, service in file.services.items():
        for source in sources(service):
            if source.startswith("./secrets/"):
                assert source.removeprefix("./secrets/") in CLUSTER_SECRETS, name
            elif source.startswith("./"):
                assert (ROOT / source).exists(), f"{name}: {source}"
            else:
                used.add(source)
        for secret in service.get("secrets", ()):
            named = secret["source"] if isinstance(secret, dict) else secret
            assert named in file.whole["secrets"]
        assert service.get("depends_on", {}).keys() <= file.promised
    assert used == file.whole["volumes"].keys()


def test_every_way_to_notify_has_its_file() -> None:
    for kind in ("off", "email", "webhook", "both"):
        assert (ROOT / f"provisioning/ops/notify/{kind}.yaml").exists()


def test_every_setting_that_is_passed_is_a_real_one() -> None:
    passed = {
        name
        for file in FILES
        for service in file.services.values()
        for name in service.get("environment", {})
        if name.startswith("COLLECTOR_")
    }
    passed |= set(re.findall(r"COLLECTOR_[A-Z_]+(?==)", dockerfile()))
    for path in ("deploy/systemd/collector.service", "deploy/systemd/collector.env.example"):
        passed |= set(re.findall(r"COLLECTOR_[A-Z_]+", (ROOT / path).read_text(encoding="utf-8")))
    assert passed
    assert passed <= SETTINGS


def test_every_setting_can_be_given_to_the_collector_in_docker() -> None:
    # Where it listens and keeps its state, and how it logs, is the image's; one collector alone
    # has its InfluxDB for itself.
    fixed = {"LISTEN", "METRICS_LISTEN", "STATE_DIR", "PSEUDONYM_KEY_FILE", "LOG_FORMAT"}
    alone = {"INSTANCE", "INFLUX_PREFIX", "INFLUX_CA_FILE", "LEASE"}
    settable = {variable(name) for name in Settings.model_fields if name not in SECRETS}
    settable -= {f"COLLECTOR_{name}" for name in fixed | alone}
    # NATS is for several machines, and this file is of one.
    settable = {name for name in settable if not name.startswith("COLLECTOR_NATS_")}
    assert settable - ONE.services["collector"]["environment"].keys() == set()
    # A cluster has no StatsD and no AMI: deploy/cluster/README.md.
    settable = {name for name in settable if not name.startswith("COLLECTOR_STATSD_")}
    settable -= {"COLLECTOR_ASTERISK_FILE", "COLLECTOR_INFLUX_RAW_CA_FILE"}
    for role in ROLES_OF_CLUSTER:
        assert settable - CLUSTER.services[role]["environment"].keys() == set(), role


def test_the_settings_of_the_unit_and_the_compose_file_are_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [ONE.services["collector"], *(CLUSTER.services[role] for role in ROLES_OF_CLUSTER)]
    unit = (ROOT / "deploy/systemd/collector.env.example").read_text(encoding="utf-8")
    files = [
        *({name: defaults(value) for name, value in one["environment"].items()} for one in given),
        dict(re.findall(r"(?m)^(COLLECTOR_\w+)=(.*)$", unit)),
        {name: value for name, value in example().items() if name.startswith("COLLECTOR_")},
    ]
    for each in files:
        for name in [name for name in os.environ if name.startswith("COLLECTOR_")]:
            monkeypatch.delenv(name)
        for name, value in each.items():
            if not name.endswith("_FILE") and name in SETTINGS:
                monkeypatch.setenv(name, value)
        assert Settings().listen.port


def test_the_proxy_that_is_suggested_as_trusted_is_the_one_container_of_that_address() -> None:
    (network,) = ONE.whole["networks"]["default"]["ipam"]["config"]
    proxy = ONE.services["caddy"]["networks"]["default"]["ipv4_address"]
    address = ipaddress.ip_address(proxy)
    assert address in ipaddress.ip_network(network["subnet"])
    assert address not in ipaddress.ip_network(network["ip_range"])
    suggested = re.findall(
        r"(?m)^COLLECTOR_TRUSTED_PROXIES=(.+)", (ROOT / "docs/install.md").read_text()
    )
    assert suggested == [proxy]
    assert f"profile `tls`: {proxy}," in (ROOT / ".env.example").read_text()


def test_proxies_take_the_largest_body_that_a_sender_may_send() -> None:
    nginx = (ROOT / "deploy/nginx/collector.conf").read_text("utf-8").split("listen 80 ")[0]
    sizes = re.findall(r"^\s*client_(?:max_body|body_buffer)_size (\d+)m;$", nginx, re.MULTILINE)
    caddy = (ROOT / "deploy/caddy/Caddyfile").read_text("utf-8")
    sizes += re.findall(r"^\s*max_size (\d+)MiB$", caddy, re.MULTILINE)
    assert len(sizes) == 3
    assert min(map(int, sizes)) << 20 >= max(librenms.MOST_BYTES, telemetrics.MOST_BYTES)


@both
def test_the_example_names_every_variable_of_the_compose_files_and_no_other(file: Composed) -> None:
    named = set(re.findall(r"(?<!\$)\$\{(\w+)", file.text))
    assert named <= example().keys()
    if file is ONE:
        assert named == example().keys()
    for name, default in re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", file.text):
        if default and name not in ("SITE_HOST", "OPS_HOST"):
            assert example()[name] == default


def test_the_one_shot_hands_each_reader_its_own_token_and_no_other(tmp_path: Path) -> None:
    script = (ROOT / "deploy/provision.sh").read_text(encoding="utf-8")
    fake = tmp_path / "bin"
    fake.mkdir()
    # Stands for the command that needs an InfluxDB 2; it lays the files that provision lays.
    names = [role.name for role in ROLES]
    files = [f"{name}.{end}" for name in names for end in ("token", "header")]
    lay = "\n".join(f'echo {name} > "$3/{name}"' for name in files)
    raw = " ".join(f"{name}-raw.{end}" for name in names[::2] for end in ("token", "header"))
    (fake / "collector").write_text(
        f'#!/bin/sh\n[ "$1 $2" = "provision --tokens-dir" ] || exit 1\n'
        f'echo "$4" >> {tmp_path}/options\nmkdir -p "$3"\n{lay}\n'
        f'[ -z "$RAW" ] || for each in {raw}; do echo $each > "$3/$each"; done\n'
    )
    (fake / "collector").chmod(0o755)
    tokens = tmp_path / "tokens"

    def run(*options: str, given: str = "") -> None:
        subprocess.run(
            ["/bin/sh", "-c", script, "provision.sh", *options],
            env={"PATH": f"{fake}:{os.environ['PATH']}", "TOKENS": str(tokens), "RAW": given},
            check=True,
        )

    def laid() -> dict[str, str]:
        return {
            str(path.relative_to(tokens)): path.read_text().strip()
            for path in tokens.rglob("*")
            if path.is_file() and path.parent.name != "all"
        }

    for options in ((), ("--rotate",), ("--finish",)):
        run(*options)
    own = {
        "collector/token": "collector.token",
        "community/authorization": "grafana-community.header",
        "ops/authorization": "grafana-ops.header",
    }
    assert laid() == own
    assert (tokens / "ops/authorization").stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "options").read_text().split("\n") == ["", "--rotate", "--finish", ""]
    run(given="1")
    assert laid() == own | {
        "collector/raw": "collector-raw.token",
        "ops/authorization-raw": "grafana-ops-raw.header",
    }


@both
def test_each_container_has_the_folder_of_its_own_token_alone(file: Composed) -> None:
    held = file.holds("tokens-")
    collectors = ROLES_OF_CLUSTER if file is CLUSTER else ("collector",)
    for name in collectors:
        assert held[name] == {"tokens-collector"}
    assert held["grafana-community"] == {"tokens-community"}
    assert held["grafana-ops"] == {"tokens-ops"}
    assert "secrets" not in file.services["grafana-community"]


@pytest.mark.parametrize(
    ("words", "file"), [((), ONE), (("cluster",), CLUSTER)], ids=["one", "cluster"]
)
def test_secrets_are_made_once_and_their_folder_is_closed(
    words: tuple[str, ...], file: Composed, tmp_path: Path
) -> None:
    made: dict[str, str] = {}
    before = made
    for _ in range(2):
        before = made
        made = secrets_made(tmp_path, *words)
    assert made == before
    names = set(file.whole["secrets"])
    assert made.keys() == names | (CLUSTER_SECRETS if words else set())
    drawn = {
        name: text for name, text in made.items() if name not in ("nats-token", "nats-auth.conf")
    }
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in (made[name] for name in drawn))
    assert len({made[name] for name in drawn}) == len(drawn)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    files = {secret["file"] for secret in file.whole["secrets"].values()}
    assert files == {f"./secrets/{name}" for name in names}


def dockerfile() -> str:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return re.sub(r"\\\n\s*", "", text)


def instructions() -> Iterator[tuple[str, str]]:
    for line in dockerfile().splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def test_the_image_is_slim_staged_and_runs_as_nobody_of_note() -> None:
    found = list(instructions())
    bases = [rest for word, rest in found if word == "FROM"]
    assert len(bases) == 2
    assert all(re.match(r"python:3\.13\.\d+-slim-\w+\b", base) for base in bases)
    (user,) = [rest for word, rest in found if word == "USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    for file in FILES:
        assert file.services["grafana-ops"]["user"] == user
    words = [word for word, _ in found]
    assert words.index("USER") < words.index("CMD")
    assert {"HEALTHCHECK", "ENTRYPOINT", "CMD", "STOPSIGNAL"} <= set(words)
    assert json.loads(dict(found)["ENTRYPOINT"])[0] == "tini"
    for word, rest in found:
        assert word != "ADD"
        if "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists" in rest
        if word == "RUN" and "pip install" in rest:
            assert "--require-hashes" in rest or "--no-deps" in rest


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=f"{sys.prefix}/bin") or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("there is no hadolint: its wheel is for x86_64 and aarch64 only")
    told = subprocess.run(
        [hadolint, "Dockerfile"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout


@both
def test_compose_understands_its_file_with_every_profile(file: Composed, tmp_path: Path) -> None:
    command = compose_program()
    if command is None:
        pytest.skip("there is no Docker Compose 2: Debian has it from release 13 on")
    given = os.environ | {"COLLECTOR_WORKERS": "4", "LIMIT_MEMORY": "1792M"}
    told = subprocess.run(
        [*command, "-f", file.file, "--profile", "*", "config", "--format", "json"],
        cwd=ROOT,
        env=given | {"HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert "level=warning" not in told.stderr, told.stderr
    found = json.loads(told.stdout)["services"]
    assert found.keys() == file.promised
    for name in ROLES_OF_CLUSTER if file is CLUSTER else ("collector",):
        assert found[name]["environment"]["COLLECTOR_WORKERS"] == "4"
        memory = int(found[name]["deploy"]["resources"]["limits"]["memory"])
        assert memory == memory_needed(4)


def test_limits_are_those_that_the_collector_itself_asks_for() -> None:
    unit = (ROOT / "deploy/systemd/collector.service").read_text(encoding="utf-8")
    generator = (ROOT / "deploy/systemd/collector-limits").read_text(encoding="utf-8")
    assert memory_needed(1) == 1 << 30
    assert "\nMemoryMax=1G\n" in unit
    assert (
        f"$(({memory_needed(0) >> 20} + {memory_needed(1) - memory_needed(0) >> 20} * workers))"
        in (generator)
    )


def copied() -> set[str]:
    found = set()
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            found |= set(rest.split()[:-1])
    return found


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in let_in, source
    assert let_in == {source.split("/")[0] for source in copied()}


def test_the_image_can_be_built_from_what_it_copies(tmp_path: Path) -> None:
    """The build stage natively, without its download: the project from the copied files alone."""
    build = tmp_path / "build"
    for source in copied():
        target = build / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    (install,) = [rest for word, rest in instructions() if word == "RUN" and "--no-deps" in rest]
    words = shlex.split(install.split("&&")[0])
    assert words[0].endswith("/pip")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", *["pip", *words[1:]], "--target", site],
        cwd=build,
        check=True,
        capture_output=True,
    )
    names = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "collector").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not (site / name).exists()} == set()
    assert "serve" in (
        subprocess.run(
            [sys.executable, site / "bin/collector", "--help"],
            env=os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )


def test_every_place_that_names_a_port_of_the_collector_names_the_one_it_listens_on() -> None:
    public = Settings.model_fields["listen"].default.port
    metrics = Settings.model_fields["metrics_listen"].default.port
    (exposed,) = [rest for word, rest in instructions() if word == "EXPOSE"]
    assert exposed == f"{public} {metrics}"
    assert f"{public}:{public}" in ONE.published()["collector"]
    settings = (ROOT / "deploy/systemd/collector.env.example").read_text(encoding="utf-8")
    assert f"\nCOLLECTOR_LISTEN=*:{public}\n" in settings
    assert f"\nCOLLECTOR_METRICS_LISTEN=127.0.0.1:{metrics}\n" in settings
    upstreams = {
        "caddy/Caddyfile": (r"reverse_proxy collector:(\d+)", public),
        "nginx/collector.conf": (r"server 127\.0\.0\.1:(\d+)", public),
        "prometheus/prometheus.yml": (r"collector:(\d+)", metrics),
    }
    for name, (pattern, port) in upstreams.items():
        text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
        assert set(re.findall(pattern, text)) == {str(port)}, name


def test_the_health_check_asks_what_the_collector_listens_on() -> None:
    text = dockerfile()
    port = re.search(r"COLLECTOR_METRICS_LISTEN=0\.0\.0\.0:(\d+)", text)
    assert port
    assert f"http://127.0.0.1:{port[1]}/healthz" in text
    scraped: Any = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = {each["job_name"]: each["static_configs"] for each in scraped["scrape_configs"]}
    assert jobs["collector"] == [{"targets": [f"collector:{port[1]}"]}]


def datasources(folder: str, name: str = "datasources") -> list[Json]:
    text = (ROOT / f"provisioning/{folder}/{name}/usage.yaml").read_text(encoding="utf-8")
    found: list[Json] = yaml.safe_load(text)["datasources"]
    return found


def test_datasources_of_two_influxdbs_differ_in_the_address_and_token_of_private_ones() -> None:
    header = "$__file{/etc/grafana/secrets/authorization}"
    for one, other in zip(datasources("ops"), datasources("ops", "datasources-two"), strict=True):
        if one["type"] == "influxdb" and one["uid"] != "usage-daily":
            assert one["url"] == "${INFLUX_URL}"
            one["url"] = "${INFLUX_RAW_URL}"
            assert one["secureJsonData"] == {"httpHeaderValue1": header}
            one["secureJsonData"] = {"httpHeaderValue1": header.replace("n}", "n-raw}")}
        assert one == other


def test_the_community_holds_one_datasource_and_no_secret_but_its_header() -> None:
    (one,) = datasources("community")
    assert one["uid"] == "usage-daily"
    assert one["jsonData"]["dbName"].endswith("usage_daily")
    # Grafana 9 knows only the one, its successors prefer the other.
    assert one["database"] == one["jsonData"]["dbName"]
    assert one["secureJsonData"] == {
        "httpHeaderValue1": "$__file{/etc/grafana/secrets/authorization}"
    }
    assert {each["uid"] for each in datasources("ops")} == {
        "usage-daily",
        "usage-raw",
        "asterisk-live",
        "telemetrics",
        "records",
        "prometheus",
    }
    for each in [*datasources("community"), *datasources("ops")]:
        assert each["access"] == "proxy"
        assert each["editable"] is False


def ini(folder: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / f"provisioning/{folder}/grafana.ini", encoding="utf-8")
    return parser


def test_nobody_signs_in_to_the_communitys_grafana_and_everybody_does_to_the_operators() -> None:
    community, ops = ini("community"), ini("ops")
    assert community["auth.anonymous"]["enabled"] == "true"
    assert community["auth.anonymous"]["org_role"] == "Viewer"
    assert community["auth"]["disable_login_form"] == "true"
    assert community["auth.basic"]["enabled"] == "false"
    assert community["security"]["disable_initial_admin_creation"] == "true"
    assert community["unified_alerting"]["enabled"] == "false"
    assert community["explore"]["enabled"] == "false"
    assert ops["auth.anonymous"]["enabled"] == "false"
    assert ops["unified_alerting"]["enabled"] == "true"
    for each in (community, ops):
        assert each["users"]["allow_sign_up"] == "false"
        assert each["analytics"]["reporting_enabled"] == "false"


def test_every_variable_of_the_provisioning_is_given_by_the_compose_file() -> None:
    for folder in ("community", "ops"):
        given = set.intersection(
            *(set(file.services[f"grafana-{folder}"]["environment"]) for file in FILES)
        )
        for path in (ROOT / "provisioning" / folder).rglob("*"):
            if path.suffix in (".yaml", ".ini"):
                names = re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8"))
                assert set(names) <= given, path


def test_dashboards_in_provisioning_are_folders_that_exist() -> None:
    for folder in ("community", "ops"):
        text = (ROOT / f"provisioning/{folder}/dashboards/usage.yaml").read_text(encoding="utf-8")
        for provider in yaml.safe_load(text)["providers"]:
            path = provider["options"]["path"].replace("${DASHBOARDS}", "grafana/dashboards")
            assert list((ROOT / path).glob("*.json")), path
            assert provider["allowUiUpdates"] is False


def test_alerts_go_to_a_contact_point_that_there_is() -> None:
    for kind in ("off", "email", "webhook", "both"):
        text = (ROOT / f"provisioning/ops/notify/{kind}.yaml").read_text(encoding="utf-8")
        told = yaml.safe_load(text)
        points = {point["name"] for point in told.get("contactPoints", ())}
        receivers = {policy["receiver"] for policy in told["policies"]}
        assert receivers == (points or {"grafana-default-email"})
    assert "NOBODY" in (ROOT / "provisioning/ops/notify/off.yaml").read_text(encoding="utf-8")


def test_the_example_of_the_file_of_asterisks_is_accepted(tmp_path: Path) -> None:
    example = ROOT / "deploy/asterisk/asterisk.toml.example"
    (tmp_path / "asterisk.toml").write_text(example.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "office.secret").write_text("not-a-secret\n")
    found = asterisks(Settings(asterisk_file=str(tmp_path / "asterisk.toml")))
    assert [each.name for each in found] == ["office", "branch"]
    assert found[0].ami is not None
    assert found[0].names.trunks == {"PJSIP/provider": "provider"}


def test_the_unit_of_a_role_is_that_of_serve_but_for_its_role() -> None:
    whole, role = (
        [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
        for path in (UNIT, ROLE_UNIT)
    )
    assert set(whole) - set(role) == {
        "Description=Collector of AllStarLink usage reports",
        "ExecStart=collector serve",
        "RuntimeDirectory=collector",
        "Alias=usage-collector.service",
    }
    assert set(role) - set(whole) == {
        "Description=Collector of AllStarLink usage reports, in the role %i",
        "Conflicts=collector.service",
        "EnvironmentFile=-/etc/collector/%i.env",
        "ExecStart=collector %i",
        "RuntimeDirectory=collector-%i",
    }


@pytest.mark.parametrize("unit", [UNIT, ROLE_UNIT], ids=lambda unit: unit.name)
def test_the_unit_file_is_understood_and_hardened(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    told = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    # Its program is where it will be installed, which is nowhere yet.
    here = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8")
    here.write_text(text.replace("ExecStart=collector", f"ExecStart={sys.prefix}/bin/collector"))
    told = subprocess.run(
        [analyze, "verify", "--man=no", here], capture_output=True, text=True, check=False
    )
    assert unit.name not in told.stderr, told.stderr


FORBIDDEN = """
import ctypes, importlib, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE
    sys.exit("cannot")
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_modules_load_where_the_unit_forbids_written_code_to_run() -> None:
    unit = (ROOT / "deploy/systemd/collector.service").read_text(encoding="utf-8")
    assert "\nMemoryDenyWriteExecute=yes\n" in unit
    given = dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", unit))
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDEN, "collector.app", "collector.rollup.daily", "polars"],
        env=os.environ | given,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.stderr.strip() == "cannot":
        pytest.skip("this kernel is older than 6.3: it cannot forbid written code to run")
    assert done.returncode == 0, done.stderr


def test_prometheus_understands_its_configuration() -> None:
    tool = program("promtool")
    if tool is None:
        pytest.skip(MISSING)
    for path in ("deploy/prometheus/prometheus.yml", "deploy/cluster/prometheus.yml"):
        subprocess.run([tool, "check", "config", ROOT / path], check=True, capture_output=True)
