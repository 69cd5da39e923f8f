"""The pages of a public side with little, nothing, or a database that has gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from collector.public.language import LANGUAGES
from tests.conftest import Databases
from tests.dates import start_ns, today
from tests.public_site import served
from tests.sender import get, request
from tools import embedded

PAGES = ("/", "/privacy", "/method", "/api", "/es", "/es/privacy", "/es/method", "/es/api")


def days_back(days: int) -> int:
    """00:00 UTC so many days before today, in ns since 1970."""
    return start_ns(today() - timedelta(days=days))


class Words(HTMLParser):
    """What a text browser shows, and every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += data


@pytest.fixture(scope="module")
def site(module_databases: Databases) -> Iterator[str]:
    """A year of days with one missing, and tables of the last."""
    server = module_databases.server
    server.create(module_databases.daily)
    lines = [
        f"daily_usage nodes={1000 + n}i,servers={700 + n}i,reports=900i,nodes_7d=1100i,"
        f"nodes_30d=1200i,new_nodes=3i,lapsed_nodes=2i,final=1i {days_back(n)}"
        for n in range(1, 401)
        if n != 100
    ]
    lines += [
        f"daily_nodes,dimension=asl_version,value=asl3-{n},within=all,within_value=all"
        f" nodes={count}i {days_back(1)}"
        for n, count in enumerate((400, 300, 100, 50, 40, 30, 30, 20, 10, 9, 7))
    ]
    lines += [
        f"daily_nodes,dimension={dimension},value={value},within=all,within_value=all"
        f" nodes={count}i {days_back(1)}"
        for dimension, value, count in (
            ("channel", "simpleusb", 990),
            ("channel", "other", 11),
            ("arch", "<script>alert(1)</script>", 600),
            ("arch", "unknown", 401),
            ("registration", "none", 1001),
        )
    ]
    lines.append(f"daily_usage nodes=41i,servers=30i,reports=33i,final=0i {days_back(0)}")
    lines.append(f"hourly_usage reports=3i,nodes=4i {days_back(0)}")
    server.write(module_databases.daily, "\n".join(lines))
    with served(module_databases, grafana_url="https://grafana.example.org/d/x") as url:
        yield url


@pytest.mark.parametrize("path", PAGES)
def test_page_is_one_request_under_100_kb_without_script_or_stranger(site: str, path: str) -> None:
    reply = get(site, path)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert len(reply.body) < 100_000
    for tag, attributes in Words(reply.body.decode()).tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "form", "video", "audio")
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        if tag == "link":
            assert attributes["rel"] in ("icon", "alternate", "canonical")
            assert attributes["rel"] != "icon" or str(attributes["href"]).startswith("data:")
        assert "src" not in attributes


def test_headline_is_of_the_last_complete_day_and_the_open_one_is_apart(site: str) -> None:
    words = Words(get(site, "/").body.decode()).words
    day = today() - timedelta(days=1)
    assert "1,001 nodes" in words
    assert f"{day.day} {day:%B %Y}, from 701 servers" in words
    assert "so far 41 nodes in 33 reports" in words
    assert "That is \N{MINUS SIGN}7 against a week before" in words
    assert "One day between the first and the last has no reports" in words


def test_shares_have_other_last_and_a_rest(site: str) -> None:
    words = Words(get(site, "/").body.decode()).words
    assert "3 further values" in words
    assert re.search(r"SimpleUSB\s*990\s*98.9\s%\s*Other\s*11", words)
    assert "Not reported" in words


def test_text_that_a_sender_chose_is_text(site: str) -> None:
    body = get(site, "/").body.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "<script" not in body


def test_chart_is_drawn_with_its_gap_and_told_in_a_table(site: str) -> None:
    body = get(site, "/").body.decode()
    (line,) = re.findall(r'<path class="one" d="([^"]+)"', body)
    assert line.count("M") == 2
    words = Words(body).words
    assert "A year of nodes and servers" in words
    assert words.count(f"{today().year - 1}") >= 2
    assert 'role="img"' in body


def test_grafana_is_linked_where_it_is_configured(site: str, module_databases: Databases) -> None:
    assert "https://grafana.example.org/d/x" in get(site, "/").body.decode()
    with served(module_databases) as plain:
        assert "grafana" not in get(plain, "/").body.decode().lower()


@pytest.mark.parametrize("path", PAGES)
def test_page_names_its_language_and_its_translations(site: str, path: str) -> None:
    tags = Words(get(site, path).body.decode()).tags
    code = "es" if path.startswith("/es") else "en"
    assert dict(tags)["html"]["lang"] == code
    alternates = {
        str(attributes["hreflang"]): str(attributes["href"])
        for tag, attributes in tags
        if tag == "link" and attributes["rel"] == "alternate" and "hreflang" in attributes
    }
    assert set(alternates) == set(LANGUAGES)
    for there in alternates.values():
        assert get(site, urljoin(path, there)).status == 200


def test_public_address_is_used_where_it_is_known(module_databases: Databases) -> None:
    with served(module_databases, public_url="https://usage.example.org") as url:
        body = get(url, "/es/privacy").body.decode()
        assert '<link rel="canonical" href="https://usage.example.org/es/privacy">' in body
        assert "asl-telemetry -u https://usage.example.org/v1/my-data" in body
        assert get(url, "/openapi.json").json["servers"] == [{"url": "https://usage.example.org"}]


@pytest.mark.parametrize("path", PAGES)
def test_unchanged_page_is_not_sent_again(site: str, path: str) -> None:
    tag = get(site, path).headers["etag"]
    again = request(site, "GET", path, headers={"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")
    assert "content-security-policy" in again.headers


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/reports/basic/", "../basic"),
        ("/usage/reports/dump/", "../dump"),
        ("/privacy/", "../privacy"),
        ("/es/", "../es"),
        ("/es/method/", "../method"),
    ],
)
def test_old_address_leads_to_the_new_one(site: str, old: str, new: str) -> None:
    reply = get(site, old)
    assert (reply.status, reply.headers["location"]) == (301, new)


def test_nothing_known_yet_is_said_in_words(databases: Databases) -> None:
    databases.server.create(databases.daily)
    with served(databases) as url:
        assert "No reports yet" in Words(get(url, "/").body.decode()).words
        assert get(url, "/v1/freshness").json["last_final_day"] is None
        assert get(url, "/v1/daily").json["rows"] == []
        assert get(url, "/badge/nodes.json").json["message"] == "no complete day yet"


def test_first_open_day_is_shown_as_such(databases: Databases) -> None:
    databases.server.create(databases.daily)
    databases.server.write(
        databases.daily,
        f"daily_usage nodes=12i,servers=9i,reports=9i,final=0i {days_back(0)}",
    )
    with served(databases) as url:
        words = Words(get(url, "/").body.decode()).words
        assert "12 nodes so far" in words
        assert "No day is complete yet" in words
        assert "A chart appears when two days are complete" in words


def test_late_day_is_said_to_be_late(databases: Databases) -> None:
    databases.server.create(databases.daily)
    lines = [
        f"daily_usage nodes=12i,servers=9i,reports=9i,final=1i {days_back(n)}" for n in (5, 4, 3)
    ]
    databases.server.write(databases.daily, "\n".join(lines))
    with served(databases) as url:
        words = Words(get(url, "/").body.decode()).words
        assert "later days are overdue" in words
        assert get(url, "/v1/freshness").json["late"] is True


@pytest.mark.usefixtures("brief_retries")
def test_database_that_has_gone_is_an_error_in_words(
    own_influx: embedded.EmbeddedInflux, own_databases: Databases
) -> None:
    own_databases.server.create(own_databases.daily)
    with served(own_databases) as url:
        own_influx.kill()
        page = get(url, "/es")
        assert page.status == 503
        assert "no se pueden leer" in page.body.decode()
        assert int(page.headers["retry-after"]) > 0
        for path in ("/v1/daily", "/v1/daily/nodes.csv", "/v1/freshness", "/badge/nodes.json"):
            reply = get(url, path)
            assert (reply.status, reply.reason) == (503, "unavailable")
            assert reply.headers["access-control-allow-origin"] == "*"
        assert get(url, "/badge/nodes.svg").status == 503
        assert get(url, "/reports/basic").status == 503
        assert get(url, "/privacy").status == 200
