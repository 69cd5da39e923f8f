"""The headers of every public answer of a real collector."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import pytest

from tests.conftest import Databases, Serve, StartServe
from tests.public_site import served
from tests.sender import encoded, get, post, report, request

PATHS = (
    "/",
    "/es/privacy",
    "/v1/daily.csv",
    "/v1/daily?wrong=1",
    "/badge/nodes.svg",
    "/openapi.json",
    "/reports/basic",
    "/reports/dump",
    "/privacy/",
    "/nowhere",
    "/usage",
    "/my-data",
)


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_strict_and_sets_no_cookie(collector: Serve, path: str) -> None:
    reply = get(collector.url, path)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "unsafe-eval" not in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in reply.headers
    assert "strict-transport-security" not in reply.headers


def test_receipt_of_a_report_has_what_a_program_needs(collector: Serve) -> None:
    reply = post(collector.url, encoded(report([2001])))
    assert reply.status == 200
    assert {name: text for name, text in reply.headers.items() if name != "date"} == {
        "server": "usage-collector",
        "content-type": "application/json",
        "content-length": str(len(reply.body)),
        "x-content-type-options": "nosniff",
    }


def test_refusal_of_a_report_has_the_headers_of_a_page(collector: Serve) -> None:
    reply = post(collector.url, b"no report")
    assert reply.status == 400
    assert "default-src 'none'" in reply.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/method", "/es/api"])
def test_style_of_a_page_is_allowed_by_its_hash_alone(collector: Serve, path: str) -> None:
    reply = get(collector.url, path)
    (style,) = re.findall(r"<style>(.*?)</style>", reply.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = reply.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.fixture(scope="module")
def behind_a_proxy(module_databases: Databases) -> Iterator[str]:
    with served(module_databases, trusted_proxies="127.0.0.2") as url:
        yield url


@pytest.mark.parametrize(
    ("source", "said", "strict"),
    [
        ("127.0.0.2", "https", True),
        ("127.0.0.2", "HTTPS", True),
        ("127.0.0.2", "http, https", True),
        ("127.0.0.2", "https, http", False),
        ("127.0.0.2", "http", False),
        ("127.0.0.1", "https", False),
    ],
)
def test_only_a_trusted_proxy_is_believed_about_tls(
    behind_a_proxy: str, source: str, said: str, strict: bool
) -> None:
    reply = request(
        behind_a_proxy, "GET", "/privacy", headers={"X-Forwarded-Proto": said}, source=source
    )
    assert ("strict-transport-security" in reply.headers) is strict


def test_forwarded_address_is_in_no_log_and_no_file(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_TRUSTED_PROXIES": "127.0.0.1"})
    told = {"X-Forwarded-For": "203.0.113.77", "X-Forwarded-Proto": "https"}
    for path in ("/", "/v1/daily", "/nowhere"):
        request(collector.url, "GET", path, headers=told)
    post(collector.url, encoded(report([2001])), headers=told)
    assert collector.terminate() == 0
    assert "203.0.113" not in collector.logs()
    for file in collector.state_dir.rglob("*"):
        if file.is_file():
            assert b"203.0.113" not in file.read_bytes()
