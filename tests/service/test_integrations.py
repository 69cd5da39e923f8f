"""What /integrations gives to paste, run against a running site as far as it can be run here."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from jinja2.sandbox import SandboxedEnvironment

from collector.public.contexts import integrations_context
from collector.public.language import LANGUAGES, language
from tests import dates
from tests.conftest import Databases
from tests.public_site import served
from tests.sender import get
from tools.integrations import INTEGRATIONS, integrations

LOCAL = Path(__file__).parents[2] / ".local"
JQ = shutil.which("jq") or next(map(str, LOCAL.glob("jq/usr/bin/jq")), None)
SHIELDS = {
    "schemaVersion": int,
    "label": str,
    "message": str,
    "color": str,
    "labelColor": str,
    "isError": bool,
    "namedLogo": str,
    "logoSvg": str,
    "logoColor": str,
    "logoSize": str,
    "style": str,
    "cacheSeconds": int,
}
"""The properties that shields.io takes, with their types; it refuses any other.

Source: https://shields.io/badges/endpoint-badge
"""


@pytest.fixture(scope="module")
def site(module_databases: Databases) -> Iterator[str]:
    """Two complete days and an open one, with versions and an outage."""
    server = module_databases.server
    server.create(module_databases.daily)
    last = dates.last_final_day()
    lines = [
        f"daily_usage nodes={count}i,servers=9i,reports=9i,final={final}i {dates.start_ns(day)}"
        for day, count, final in (
            (last - timedelta(days=1), 1230, 1),
            (last, 1234, 1),
            (last + timedelta(days=1), 5, 0),
        )
    ]
    lines += [
        f"daily_nodes,dimension=asl_version,value=asl3-{n},within=all,within_value=all"
        f" nodes={count}i,final=1i {dates.start_ns(day)}"
        for n, count in enumerate((400, 300, 200, 150, 100, 50, 34))
        for day in (last - timedelta(days=1), last)
    ]
    lines.append(
        'event,kind=outage,subject=intake,item=04:00 text="No report received",hours=3i'
        f",expected=40i {dates.start_ns(last)}"
    )
    server.write(module_databases.daily, "\n".join(lines))
    with served(module_databases) as url:
        yield url


def blocks(url: str, kind: str, code: str = "en") -> list[str]:
    """The code blocks of a kind on the page of the site at `url`, as they are in its Markdown."""
    day = dates.last_final_day() + timedelta(days=2)
    text = language(code).markdown("integrations", integrations_context(url, language(code), day))
    found = re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found, kind
    return found


def rows(site: str, path: str) -> list[dict[str, Any]]:
    reply = get(site, path)
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["rows"]
    return found


def test_the_document_is_the_page_with_a_placeholder_for_the_host() -> None:
    assert INTEGRATIONS.read_text("utf-8") == integrations(), "run `python -m tools.integrations`"


def test_both_languages_give_the_same_to_paste(site: str) -> None:
    for kind in ("sh", "json", "text", "python"):
        assert blocks(site, kind, "en") == blocks(site, kind, "es")


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_page_shows_the_site_s_own_address(module_databases: Databases, code: str) -> None:
    with served(module_databases, public_url="https://usage.example.org/x") as url:
        path = "/integrations" if code == "en" else f"/{code}/integrations"
        html = get(url, path).body.decode()
        assert "https://usage.example.org/x/badge/nodes.svg" in html
        assert "https%3A%2F%2Fusage.example.org%2Fx%2Fbadge%2Fnodes.json" in html
        assert "https://HOST" not in html
        api = get(url, path.replace("integrations", "api")).body.decode()
        assert re.search(r'href="[./]*(es/)?integrations"', api)


def test_the_badge_is_what_shields_takes(site: str) -> None:
    (markdown,) = blocks(site, "markdown")
    found = re.search(r"endpoint\?url=([^)]+)\)", markdown)
    assert found
    address = unquote(found[1])
    assert address.startswith(site)
    badge = get(site, urlsplit(address).path).json
    assert badge.keys() <= SHIELDS.keys()
    assert {"schemaVersion", "label", "message"} <= badge.keys()
    assert all(type(value) is SHIELDS[name] for name, value in badge.items())
    assert badge["schemaVersion"] == 1
    assert badge["message"] == "1,234"
    (html,) = blocks(site, "html")
    source = re.search(r'src="([^"]+)"', html)
    assert source
    assert get(site, urlsplit(source[1]).path).headers["content-type"].startswith("image/svg+xml")


needs_jq = pytest.mark.skipif(JQ is None, reason="there is no jq: install Debian's package")


def jq(*arguments: str, given: bytes) -> list[str]:
    """The lines that jq, installed or unpacked by `make dev`, prints of a text."""
    libraries = ":".join(map(str, LOCAL.glob("lib*/usr/lib/*-linux-*")))
    done = subprocess.run(
        [str(JQ), *arguments],
        input=given,
        env=os.environ | {"LD_LIBRARY_PATH": libraries},
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().splitlines()


@needs_jq
def test_the_lines_for_the_shell_print_what_they_say(site: str) -> None:
    printed = []
    for block in blocks(site, "sh"):
        curl, program = block.split(" | jq ", 1)
        *options, address = shlex.split(curl)
        assert options == ["curl", "-s"]
        path = address.removeprefix(site)
        printed.append(jq(*shlex.split(program), given=get(site, path).body))
    nodes, versions, outages = printed
    assert nodes == ["1234"]
    assert [line.split("\t") for line in versions] == [
        ["asl3-0", "400", "32 %"],
        ["asl3-1", "300", "24 %"],
        ["asl3-2", "200", "16 %"],
        ["asl3-3", "150", "12 %"],
        ["asl3-4", "100", "8 %"],
    ]
    assert outages == [f"{dates.last_final_day()} No report received"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_sensor_of_home_assistant_shows_the_newest_complete_day(site: str, code: str) -> None:
    configured = yaml.safe_load(blocks(site, "yaml", code)[0])
    (resource,) = configured["rest"]
    (sensor,) = resource["sensor"]
    templates = SandboxedEnvironment()
    templates.globals |= {"now": lambda: datetime.now(UTC), "timedelta": timedelta}
    address = templates.from_string(resource["resource_template"]).render()
    path = address.removeprefix(site)
    assert f"from={(datetime.now(UTC) - timedelta(days=3)).date()}" in path
    told = get(site, path).json
    assert templates.from_string(sensor["value_template"]).render(value_json=told) == "1234"
    assert resource["scan_interval"] >= 3600
    assert sensor["state_class"] == "measurement"


@needs_jq
def test_the_query_of_grafana_finds_its_columns_in_the_rows(site: str) -> None:
    (query,) = map(json.loads, blocks(site, "json"))
    datasource = yaml.safe_load(blocks(site, "yaml")[1])["datasources"][0]
    assert query["datasource"] == {name: datasource[name] for name in ("type", "uid")}
    assert datasource["jsonData"]["allowedHosts"] == [datasource["url"]] == [site]
    last = dates.last_final_day()
    path = query["url"]
    for end, day in (("from", last - timedelta(days=1)), ("to", last + timedelta(days=1))):
        path = path.replace(f"${{__{end}:date:YYYY-MM-DD}}", day.isoformat())
    # The parser `jq-backend` reads the root selector as jq does.
    lines = jq("-c", query["root_selector"], given=get(site, path).body)
    found = [json.loads(line) for line in lines]
    day, count = (column["selector"] for column in query["columns"])
    assert [(row[day], row[count]) for row in found] == [
        ((last - timedelta(days=1)).isoformat(), 1230),
        (last.isoformat(), 1234),
    ]
    assert all(date.fromisoformat(row[day]) for row in found)


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_table_of_versions_has_the_columns_that_are_named(site: str, code: str) -> None:
    text = language(code).markdown(
        "integrations", integrations_context(site, language(code), dates.today())
    )
    found = re.search(r"`(/v1/daily/nodes\.json\?[^`]+)`", text)
    assert found
    path = re.sub(r"\$\{__\w+:date:YYYY-MM-DD\}", dates.last_final_day().isoformat(), found[1])
    versions = rows(site, path)
    assert len(versions) == 7
    assert all({"day", "value", "count"} <= row.keys() for row in versions)


def test_the_lines_of_python_run(site: str) -> None:
    (program,) = blocks(site, "python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "integrations.md", "exec"), {})  # noqa: S102 - our own text
    assert printed.getvalue().split() == [str(dates.last_final_day()), "1234"]


def test_the_address_for_a_spreadsheet_is_csv(site: str) -> None:
    (formula,) = blocks(site, "text")
    found = re.search(r'"([^"]+)"', formula)
    assert found
    reply = get(site, found[1].removeprefix(site))
    assert reply.headers["content-type"].startswith("text/csv")
    assert reply.body.startswith(b"day,measure,count,")


def test_the_feed_that_is_named_is_there(site: str) -> None:
    assert get(site, "/month/feed.atom").status == 200
    assert get(site, "/es/month/feed.atom").status == 200
