"""The whole site behind a prefix, through a real nginx: every link of every page is followed."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
import urllib3

from tests.certificates import self_signed
from tests.conftest import Databases, StartServe
from tests.proxies import Proxy, nginx
from tests.public_site import INTEGRATION_LINKS
from tests.sender import encoded, report

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

CASE = Path(__file__).parents[1] / "cases/nginx-prefix.conf"
PUBLIC = "https://repo.example.org/deep/er"
REPORT = encoded(report([2001]))


class References(HTMLParser):
    """All that a page refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("href", "src", "action")
        self.found |= {value for name, value in attrs if name in names and value}


@dataclass(frozen=True)
class Reader:
    """Reads what is behind a prefix of a proxy; `public` is the address that pages may name."""

    root: str
    authority: Path
    public: str = ""

    def here(self, url: str) -> str:
        """An address, on the proxy of the test where it is the public one."""
        return self.root.rstrip("/") + url.removeprefix(self.public) if self.public else url

    def request(self, method: str, url: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager(ca_certs=str(self.authority), retries=False) as http:
            return http.request(method, url, body=body, redirect=False)

    def crawl(self) -> dict[str, int]:
        """The status of each address that is led to from the first page, redirects followed."""
        statuses: dict[str, int] = {}
        waiting = [self.root]
        while waiting:
            url = waiting.pop()
            if url in statuses:
                continue
            assert url.startswith(self.root), f"{url} has lost the prefix"
            answer = self.request("GET", url)
            statuses[url] = answer.status
            led = set()
            if answer.status == 301:
                led = {answer.headers["Location"]}
                statuses[url] = 200
            elif answer.headers.get("Content-Type", "").startswith("text/html"):
                led = References(answer.data.decode()).found
            for one in led:
                full = urllib.parse.urldefrag(urllib.parse.urljoin(url, one)).url
                if self.public and full.startswith(self.public):
                    full = self.here(full)
                if full.startswith("http") and full not in INTEGRATION_LINKS:
                    waiting.append(full)
        return statuses


Readers = list[Reader]


@pytest.fixture
def readers(
    databases: Databases, serve: StartServe, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Readers]:
    """Two collectors, one that knows its public address, behind prefixes taken off and left on."""
    databases.server.create(databases.daily)
    midnight = int(time.time()) // 86_400 * 86_400
    for back in range(1, 40):
        databases.server.write(
            databases.daily,
            f"daily_usage nodes=100i,servers=70i,reports=90i,final=1i {midnight - back * 86_400}"
            "000000000",
        )
    plain = serve(databases.environment)
    deep = serve(
        databases.environment
        | {"COLLECTOR_PUBLIC_URL": PUBLIC + "/", "COLLECTOR_STATE_DIR": str(tmp_path / "deep")}
    )
    proxy = Proxy(free_port(), free_port(), tmp_path / "nginx/logs")
    certificate = self_signed(tmp_path)
    text = CASE.read_text()
    for name, value in (
        ("PLAIN_COLLECTOR", plain.url.rpartition(":")[2]),
        ("DEEP_COLLECTOR", deep.url.rpartition(":")[2]),
        ("127.0.0.1:PLAIN;", f"127.0.0.1:{proxy.plain};"),
        ("127.0.0.1:TLS ", f"127.0.0.1:{proxy.tls} "),
        ("CERTIFICATE", str(certificate.file)),
        ("KEY", str(certificate.key)),
    ):
        text = text.replace(name, value)
    with nginx(tmp_path / "nginx", text, proxy):
        yield [
            Reader(f"{server}/{prefix}/", certificate.file, public)
            for server in (f"https://127.0.0.1:{proxy.tls}", f"http://127.0.0.1:{proxy.plain}")
            for prefix, public in (("usage", ""), ("deep/er", PUBLIC))
        ]


def old_addresses(reader: Reader) -> Iterator[str]:
    for path in ("reports/basic/", "reports/daily", "reports/daily/", "es/", "es/method/", "api/"):
        yield reader.root + path


def every_link_is_answered(reader: Reader) -> None:
    pages = {"", "privacy", "method", "my-data", "api"}
    pages |= {f"es/{page}" for page in pages if page} | {"es"}
    statuses = reader.crawl()
    assert set(statuses.values()) == {200}, statuses
    led_to = {url.removeprefix(reader.root).partition("?")[0] for url in statuses}
    assert pages | {"openapi.json", "badge/nodes.svg", "badge/nodes.json"} <= led_to
    assert {"v1/daily.csv", "v1/daily/nodes.json", "v1/upgrades.csv"} <= led_to
    for url in old_addresses(reader):
        answer = reader.request("GET", url)
        if answer.status == 301:
            to = urllib.parse.urljoin(url, answer.headers["Location"])
            assert to.startswith(reader.root), f"{url} has lost the prefix: {to}"
            answer = reader.request("GET", to)
        assert answer.status == 200, url


def programs_are_told_the_prefix(reader: Reader) -> None:
    address = reader.root + "openapi.json"
    document = reader.request("GET", address).json()
    (server,) = document["servers"]
    assert (server["url"] == reader.public) is bool(reader.public)
    base = reader.here(urllib.parse.urljoin(address, server["url"])).rstrip("/")
    found = {
        path: reader.request("GET", base + path).status
        for path, methods in document["paths"].items()
        if "get" in methods and "{" not in path
    }
    assert {status for path, status in found.items() if path != "/reports/dump"} == {200}, found


def pages_name_the_public_address(reader: Reader) -> None:
    for page, said in (
        ("", ""),
        ("es/my-data", f"asl-telemetry -u {PUBLIC}/v1/my-data"),
        ("api", f"{PUBLIC}/v1/daily/nodes.csv"),
    ):
        html = reader.request("GET", reader.root + page).data.decode()
        assert f'rel="canonical" href="{PUBLIC}/{page}"' in html
        assert said in html


def reports_and_owners_are_heard(reader: Reader) -> None:
    for path in ("usage", "v1/my-data"):
        assert reader.request("POST", reader.root + path, REPORT).status == 200, path


def test_everything_keeps_the_prefix(readers: Readers) -> None:
    for reader in readers:
        every_link_is_answered(reader)
        programs_are_told_the_prefix(reader)
        reports_and_owners_are_heard(reader)
        if reader.public:
            pages_name_the_public_address(reader)
