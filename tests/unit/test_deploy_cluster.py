"""docker-compose.cluster.yml and deploy/cluster: as promised, and the same as the file of one."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from collector.app.roles import ROLES
from collector.settings import Settings
from tests.composed import CLUSTER, ONE, ROLES_OF_CLUSTER, Composed, secrets_made, sources
from tools.cluster.members import MemberError, find_haproxy, libraries
from tools.dashboards.asked import ROOT, Json
from tools.nats import NatsStartError, find_server

FOLDER = ROOT / "deploy/cluster"
NATS = ("nats-1", "nats-2", "nats-3")
MONITORED = "http://{}:8222"


def service(name: str, file: Composed = CLUSTER) -> Json:
    found: Json = file.services[name]
    return found


def test_each_role_runs_as_often_as_promised_and_keeps_a_state_of_its_own() -> None:
    commands = [service(name)["command"] for name in ROLES_OF_CLUSTER]
    roles = [command[1] for command in commands]
    assert roles == ["receive", "receive", "write", "write", "publish", "publish"]
    assert {command[0] for command in commands} == {"collector"}
    assert set(roles) == (set(ROLES) | {"write"}) - {"serve"}
    states = [sources(service(name))[0] for name in ROLES_OF_CLUSTER]
    assert states == [f"{name}-state" for name in ROLES_OF_CLUSTER]


def test_instances_of_the_receivers_are_apart_by_more_than_the_most_workers() -> None:
    numbers = [
        int(service(name)["environment"]["COLLECTOR_INSTANCE"])
        for name in ("receiver-1", "receiver-2")
    ]
    (most,) = (
        bound.le for bound in Settings.model_fields["workers"].metadata if hasattr(bound, "le")
    )
    assert abs(numbers[0] - numbers[1]) > most


def test_what_both_compose_files_have_is_the_same_but_for_the_cluster() -> None:
    """A change of one file alone would leave the other behind."""
    for name in ("grafana-community", "grafana-ops", "prometheus", "influxdb"):
        one, other = service(name, ONE), service(name)
        different = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
        assert different <= {"volumes", "environment"}, name
        mounted = set(one.get("volumes", ())) ^ set(other.get("volumes", ()))
        told = {
            "grafana-ops": {"${OPS_DATASOURCES:-datasources}", "datasources-two"},
            "prometheus": {"deploy/prometheus/", "deploy/cluster/"},
        }.get(name, set())
        assert all(any(word in mount for word in told) for mount in mounted), name
        environments = one.get("environment", {}), other.get("environment", {})
        assert environments[0].keys() == environments[1].keys()
        changed = {key for key in environments[0] if environments[0][key] != environments[1][key]}
        assert changed <= {"INFLUX_RAW_URL"}, name
    settings, cluster = (
        service(name, file)["environment"]
        for name, file in (("collector", ONE), ("receiver-1", CLUSTER))
    )
    assert {key for key in settings.keys() & cluster.keys() if settings[key] != cluster[key]} == {
        "COLLECTOR_INFLUX_RAW_URL",
        "COLLECTOR_INFLUX_RAW_ORG",
        "COLLECTOR_INFLUX_RAW_TOKEN_FILE",
        "COLLECTOR_TRUSTED_PROXIES",
    }


def test_raw_and_published_data_have_servers_and_volumes_of_their_own() -> None:
    one, other = service("influxdb"), service("influxdb-raw")
    assert one["environment"] == other["environment"]
    assert not set(sources(one)) & set(sources(other))
    for each in other["secrets"]:
        assert each["source"].replace("influxdb-raw-", "influxdb-") == each["target"]
        assert each["target"] in one["secrets"]
        assert each["source"] != each["target"]
    environment = service("writer-1")["environment"]
    assert environment["COLLECTOR_INFLUX_URL"] == "http://influxdb:8086"
    assert environment["COLLECTOR_INFLUX_RAW_URL"] == "http://influxdb-raw:8086"


def test_addresses_of_nats_are_the_same_in_settings_secrets_and_services(tmp_path: Path) -> None:
    environment = service("receiver-1")["environment"]
    assert environment["COLLECTOR_NATS_URL"] == ",".join(f"nats://{name}:4222" for name in NATS)
    assert environment["COLLECTOR_NATS_MONITOR_URL"] == ",".join(map(MONITORED.format, NATS))
    made = secrets_made(tmp_path, "cluster")
    routes = re.findall(r"@([\w-]+):6222", made["nats-auth.conf"])
    assert tuple(routes) == NATS
    assert made["nats-token"] == f"collector:{made['nats-password']}"
    for name in NATS:
        one = service(name)
        assert one["environment"] == {"NATS_NAME": name}
        assert one["healthcheck"]["test"][-1] == "http://127.0.0.1:8222/healthz"
        assert sources(one)[2] == f"{name}-data"


def test_nats_understands_its_configuration_and_knows_the_passwords(tmp_path: Path) -> None:
    try:
        program = find_server()
    except NatsStartError as missing:
        pytest.skip(str(missing))
    made = secrets_made(tmp_path, "cluster")
    (tmp_path / "auth.conf").write_text(made["nats-auth.conf"])
    text = (FOLDER / "nats.conf").read_text(encoding="utf-8")
    assert "sync_interval: always" in text
    (room,) = re.findall(r"max_file_store: (\d+)GB", text)
    assert int(room) * 10**9 > Settings.model_fields["nats_stream_max"].default
    (store,) = re.findall(r'store_dir: "(.*)"', text)
    assert f"nats-1-data:{store}" in service("nats-1")["volumes"]
    (tmp_path / "nats.conf").write_text(text.replace(store, str(tmp_path / "store")))
    told = subprocess.run(
        [program, "-t", "-c", tmp_path / "nats.conf"],
        env={"NATS_NAME": "nats-1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr


def test_the_collectors_trust_the_balancer_and_it_trusts_the_one_with_tls() -> None:
    (network,) = CLUSTER.whole["networks"]["default"]["ipam"]["config"]
    balancer, tls = (
        service(name)["networks"]["default"]["ipv4_address"] for name in ("balancer", "caddy")
    )
    for address in map(ipaddress.ip_address, (balancer, tls)):
        assert address in ipaddress.ip_network(network["subnet"])
        assert address not in ipaddress.ip_network(network["ip_range"])
    for name in ROLES_OF_CLUSTER:
        assert service(name)["environment"]["COLLECTOR_TRUSTED_PROXIES"] == balancer
    assert service("balancer")["environment"]["TLS_PROXY"] == tls
    # Two files at once on one machine must not claim the same addresses.
    (other,) = ONE.whole["networks"]["default"]["ipam"]["config"]
    assert other["subnet"] != network["subnet"]
    assert ONE.whole["name"] != CLUSTER.whole["name"]


def test_caddy_finds_the_balancer_by_the_name_of_the_collector() -> None:
    """Both compose files use the same Caddyfile."""
    for file in (ONE, CLUSTER):
        assert "./deploy/caddy/Caddyfile" in sources(service("caddy", file))
    assert service("balancer")["networks"]["default"]["aliases"] == ["collector"]
    caddyfile = (ROOT / "deploy/caddy/Caddyfile").read_text(encoding="utf-8")
    assert set(re.findall(r"reverse_proxy (collector:\d+)", caddyfile)) == {"collector:16080"}
    assert service("caddy")["ports"] == service("caddy", ONE)["ports"]


def balancing() -> str:
    return (FOLDER / "haproxy.cfg").read_text(encoding="utf-8")


def test_the_balancer_and_prometheus_name_every_role() -> None:
    environment = service("balancer")["environment"]
    named = set(re.findall(r'"\$\{(\w+)\}"', balancing()))
    assert environment.keys() == named | {"TLS_PROXY"}
    places = [environment[name] for name in sorted(named)]
    assert sorted(places) == [
        f"{name}:16080" for name in ("publisher", "receiver-1", "receiver-2", "standby")
    ]
    told = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    targets = {
        each["job_name"]: [target for one in each["static_configs"] for target in one["targets"]]
        for each in told["scrape_configs"]
    }
    assert targets.pop("influxdb") == ["influxdb:8086", "influxdb-raw:8086"]
    # Objectives of the intake ask the job `collector` alone.
    assert targets["collector"] == ["receiver-1:16081", "receiver-2:16081"]
    scraped = [target for job in targets.values() for target in job]
    assert sorted(scraped) == sorted(f"{name}:16081" for name in ROLES_OF_CLUSTER)


def test_a_report_fits_into_the_buffer_of_the_balancer_and_is_never_sent_again_when_sent() -> None:
    text = balancing()
    (size,) = re.findall(r"tune\.bufsize (\d+)", text)
    fields = Settings.model_fields
    assert int(size) > fields["max_body"].default + fields["max_head"].default
    assert re.findall(r"retry-on (.*)", text) == ["conn-failure 503", "conn-failure"]
    (keep,) = re.findall(r"timeout http-keep-alive (\d+)s", text)
    assert int(keep) < fields["read_timeout"].default
    # HAProxy logs requests, with their senders' addresses, where a `log` line says so.
    assert not re.search(r"(?m)^\s*(log|option httplog|option tcplog)\b", text)


def test_haproxy_understands_its_configuration() -> None:
    try:
        program = find_haproxy()
    except MemberError as missing:
        pytest.skip(str(missing))
    addresses = dict.fromkeys(re.findall(r'"\$\{(\w+)\}"', balancing()), "127.0.0.1:1")
    told = subprocess.run(
        [program, "-c", "-f", FOLDER / "haproxy.cfg"],
        env=os.environ | addresses | {"LD_LIBRARY_PATH": libraries()},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr


def test_the_notes_name_every_file_of_the_folder_and_every_service() -> None:
    notes = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in FOLDER.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in notes, path.name
    for name in CLUSTER.promised:
        assert f"`{name}`" in notes, name
