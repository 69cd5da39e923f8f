from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest

from collector.asterisks import AmiAccount, Asterisk, asterisks
from collector.redaction import redacted
from collector.setting_types import Address, Endpoint, Transport, parse_endpoint
from collector.settings import Settings, SettingsError

SECRET = "m4n4g3r-s3cr3t"
_TABLE = re.compile(r"^ *\[\w+\]\n(?:(?: *\w+ = .*)?\n)+", re.MULTILINE)
"""A table in TOML, up to the first line that is none of its keys."""


def read(tmp_path: Path, toml: str) -> tuple[Asterisk, ...]:
    path = tmp_path / "asterisks.toml"
    path.write_text(toml)
    (tmp_path / "pbx1.secret").write_text(f"{SECRET}\n")
    return asterisks(Settings(asterisk_file=str(path)))


def test_without_a_file_there_is_one_asterisk_called_default() -> None:
    assert asterisks(Settings()) == (Asterisk("default"),)


def test_file_gives_addresses_sockets_and_the_account_of_ami(tmp_path: Path) -> None:
    one, other = read(
        tmp_path,
        """
        [pbx1]
        statsd_from = ["192.0.2.10", "2001:db8::/64", "unix:/run/collector/pbx1.sock"]
        ami = "[2001:db8::1]:5038"
        ami_user = "collector"
        ami_secret_file = "pbx1.secret"
        ami_tls = true
        [pbx2]
        statsd_from = "192.0.2.11"
        """,
    )
    assert one.name == "pbx1"
    assert one.statsd_from == (
        ipaddress.ip_network("192.0.2.10"),
        ipaddress.ip_network("2001:db8::/64"),
    )
    assert one.statsd_sockets == ("/run/collector/pbx1.sock",)
    assert isinstance(one.ami, AmiAccount)
    assert (one.ami.host, one.ami.port, one.ami.user) == ("2001:db8::1", 5038, "collector")
    assert (one.ami.tls, one.ami.ca_file) == (True, "")
    assert one.ami.secret.get_secret_value() == SECRET
    assert other == Asterisk("pbx2", (ipaddress.ip_network("192.0.2.11"),))


def test_file_gives_names_of_trunks_agents_and_conferences(tmp_path: Path) -> None:
    (found,) = read(
        tmp_path,
        """
        [pbx1]
        ami = "h:5038"
        ami_user = "u"
        ami_secret_file = "pbx1.secret"
        ami_trunks = {"PJSIP/one" = "provider", "PJSIP/two" = "provider"}
        [pbx1.ami_agents]
        "PJSIP/alice" = "desk 1"
        [pbx1.ami_conferences]
        1000 = "team"
        """,
    )
    assert found.names.trunks == {"PJSIP/one": "provider", "PJSIP/two": "provider"}
    assert found.names.agents == {"PJSIP/alice": "desk 1"}
    assert found.names.conferences == {"1000": "team"}


def test_every_table_of_an_asterisk_in_the_docs_is_accepted(tmp_path: Path) -> None:
    tried = 0
    for page in sorted((Path(__file__).parents[2] / "docs" / "senders").glob("*.md")):
        for table in _TABLE.findall(page.read_text()):
            if not re.search(r"^ *(ami|statsd_from) = ", table, re.MULTILINE):
                continue
            for secret in re.findall(r'ami_secret_file = "(.+)"', table):
                (tmp_path / secret).write_text(SECRET)
            # No certificate is made for a test of names.
            read(tmp_path, re.sub(r"ami_ca_file = .*", "", table))
            tried += 1
    assert tried > 2


def test_secret_is_in_no_text(tmp_path: Path) -> None:
    (found,) = read(
        tmp_path, '[a]\nami = "h:5038"\nami_user = "u"\nami_secret_file = "pbx1.secret"\n'
    )
    assert SECRET not in repr(found)
    assert SECRET not in redacted(f"it said {SECRET}")


WRONG = {
    "": "must have a table for each Asterisk",
    "statsd_from = '192.0.2.1'": "[statsd_from] must be a table",
    "[pbx1": "must be a file in TOML",
    "[pbx1]\nstatsd_form = '192.0.2.1'": "[pbx1] statsd_form: is no key of an Asterisk",
    "[pbx1]\nstatsd_from = ['192.0.2.300']": "'192.0.2.300' is no address or network",
    "[pbx1]\nstatsd_from = [7]": "[pbx1] statsd_from: must be text",
    "[pbx1]\nstatsd_from = ['unix:here']": "[pbx1] statsd_from: must have an absolute path",
    '["a\\nb"]\n': "must have a name of 1 to 64 printable characters",
    f"[{'x' * 65}]\n": "must have a name of 1 to 64 printable characters",
    "[pbx1]\nami = 'h:5038'": "[pbx1] ami: needs `ami_user` and `ami_secret_file`",
    "[pbx1]\nami = 'h'": "[pbx1] ami: must be HOST:PORT",
    "[pbx1]\nami_user = 'u'": "[pbx1] ami_user: needs `ami`",
    "[pbx1]\nami_trunks = {a = 'b'}": "[pbx1] ami_trunks: needs `ami`",
    "[pbx1]\nami_trunks = {a = ''}": "[pbx1] ami_trunks: 'a' must have a name of 1 to 64",
    "[pbx1]\nami_trunks = {a = 5}": "[pbx1] ami_trunks.a: Input should be a valid string",
    "[pbx1]\nami_agents = {a = 'x', b = 'x'}": "[pbx1] ami_agents: 'x' is the name of two",
    "[pbx1]\nami_tls = 'yes'": "[pbx1] ami_tls: Input should be a valid boolean",
    '[pbx1]\nami = "h:1"\nami_user = "a\\r\\nb"\nami_secret_file = "pbx1.secret"': "ami_user",
    "[pbx1]\nami = 'h:1'\nami_user = 'u'\nami_secret_file = 'gone'": "'gone' cannot be read",
    "[pbx1]\nami = 'h:1'\nami_user = 'u'\nami_secret_file = 'asterisks.toml'": "must hold one line",
    "[pbx1]\nami = 'h:1'\nami_user = 'u'\nami_secret_file = 'pbx1.secret'\nami_ca_file = 'gone'": (
        "[pbx1] ami_ca_file: needs `ami_tls = true`"
    ),
    "[pbx1]\nami = 'h:1'\nami_user = 'u'\nami_secret_file = 'pbx1.secret'\nami_tls = true\n"
    "ami_ca_file = 'gone'": "[pbx1] ami_ca_file: must be a file of certificates",
    "[a]\nstatsd_from = '192.0.2.0/24'\n[b]\nstatsd_from = '192.0.2.7'": (
        "[a] and [b]: statsd_from: both have 192.0.2.0/24"
    ),
    "[a]\nstatsd_from = 'unix:/s'\n[b]\nstatsd_from = 'unix:/s'": "both have unix:/s",
}


def test_wrong_file_is_named_with_its_table_and_key(tmp_path: Path) -> None:
    for toml, words in WRONG.items():
        with pytest.raises(SettingsError) as raised:
            read(tmp_path, toml)
        said = str(raised.value).replace(f"{tmp_path}/", "")
        assert said.startswith("COLLECTOR_ASTERISK_FILE='asterisks.toml': "), said
        assert words in said, said
        assert SECRET not in said


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, "[a]\nx = 1\nstatsd_from = 'y'\n[b]\nz = 1\n")
    assert len(str(raised.value).splitlines()) == 3


def test_file_that_is_missing_too_large_or_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "there.toml"
    with pytest.raises(SettingsError, match="cannot be read"):
        asterisks(Settings(asterisk_file=str(path)))
    for content in (b"\xff\xfe[pbx1]", b"#" * ((1 << 20) + 1)):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match="cannot be read"):
            asterisks(Settings(asterisk_file=str(path)))


ENDPOINTS = {
    "127.0.0.1:8125": Endpoint(Transport.UDP, Address("127.0.0.1", 8125)),
    "udp://[::1]:8125": Endpoint(Transport.UDP, Address("::1", 8125)),
    "*:8125": Endpoint(Transport.UDP, Address("*", 8125)),
    "tcp://127.0.0.1:8125": Endpoint(Transport.TCP, Address("127.0.0.1", 8125)),
    "unix:/run/c/s.sock": Endpoint(Transport.UNIX, "/run/c/s.sock"),
    "unix:///run/c/s.sock": Endpoint(Transport.UNIX, "/run/c/s.sock"),
    "unixstream:/run/c/s.sock": Endpoint(Transport.UNIX_STREAM, "/run/c/s.sock"),
}


def test_addresses_of_statsd_are_parsed_and_written_so_that_they_are_parsed_again() -> None:
    for text, endpoint in ENDPOINTS.items():
        assert parse_endpoint(text) == endpoint
        assert parse_endpoint(str(endpoint)) == endpoint


def test_wrong_address_of_statsd_is_refused() -> None:
    for text in ("8125", "sctp://h:1", "unix:rel", "unix:", f"unix:/{'x' * 107}", "tcp://", "h:x"):
        with pytest.raises(ValueError, match="must"):
            parse_endpoint(text)
