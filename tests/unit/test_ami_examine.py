"""`collector check` of a manager interface: the login, and which rights are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from collector.asterisks import AmiAccount, Asterisk
from collector.intakes.ami.connection import Times
from collector.intakes.ami.examine import examine
from tests.certificates import self_signed
from tests.sender import GUARD_S
from tools.replay.ami_server import SECRET, USER, AmiServer

QUICK = Times(connect=GUARD_S, booted=0.2, answer=GUARD_S)
"""For accounts that lack an event, for which a check waits in vain."""
PATIENT = Times(connect=GUARD_S, booted=GUARD_S, answer=GUARD_S)


async def told(
    server: AmiServer, *, secret: str = SECRET, ca_file: str = "", times: Times = QUICK
) -> str:
    """The findings, one a line; those that are wrong begin with WRONG."""
    account = AmiAccount(
        "127.0.0.1", server.port, USER, SecretStr(secret), tls=bool(ca_file), ca_file=ca_file
    )
    found = await examine(Asterisk("pbx1", ami=account), account, times)
    return "\n".join(f"{'' if good else 'WRONG '}{text}" for good, text in found)


async def test_an_account_with_the_least_rights_is_well() -> None:
    server = AmiServer(write={"reporting"})
    server.read.add("security")
    async with server.listening():
        text = await told(server, times=PATIENT)
    assert f"Asterisk pbx1: logged in to the manager interface at 127.0.0.1:{server.port}" in text
    assert "WRONG" not in text
    assert "write=system is missing in manager.conf: PJSIPShowContacts" in text
    assert "more than" not in text
    assert "TLS" not in text
    assert not server.refused
    assert set(server.asked) == {"Challenge", "Login", "ListCommands", "Ping"}


async def test_missing_classes_are_named_without_asking_in_vain() -> None:
    server = AmiServer(write=())
    server.read = set()
    async with server.listening():
        text = await told(server)
    assert "WRONG Asterisk pbx1: read=system is missing" in text
    assert "WRONG Asterisk pbx1: read=security is missing" in text
    assert not server.refused
    server = AmiServer(write=())
    server.read.add("security")
    async with server.listening():
        text = await told(server, times=PATIENT)
    assert "WRONG Asterisk pbx1: write=reporting is missing in manager.conf: CoreStatus, " in text
    assert "agent, call, dtmf, reporting, user shows only when something happens" in text
    assert not server.refused


async def test_modules_that_are_not_loaded_and_needless_rights_are_told() -> None:
    server = AmiServer(write={"reporting", "system", "originate"})
    server.read.add("security")
    server.modules -= {"IAXregistry", "PJSIPShowAors"}
    async with server.listening():
        text = await told(server, times=PATIENT)
    assert "WRONG" not in text
    assert "no module answers IAXregistry" in text
    assert "no module answers PJSIPShowAors" in text
    assert "the account may do more than the collector needs: originate" in text


async def test_an_asterisk_that_lists_no_actions_is_no_error() -> None:
    server = AmiServer()
    server.lists_commands = False
    server.read.add("security")
    async with server.listening():
        text = await told(server, times=PATIENT)
    assert "it does not tell which actions this account may use" in text
    assert "WRONG" not in text


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("secret", "the login is refused: user, secret, or `permit` of the user"),
        ("down", "nothing listens there: see `enabled`, `bindaddr` and `port` in manager.conf"),
        ("mute", "it does not answer"),
        ("shutting down", "it is shutting down"),
    ],
)
async def test_what_prevents_a_login_is_told(what: str, text: str) -> None:
    server = AmiServer()
    server.mute, server.shutting_down = what == "mute", what == "shutting down"
    times = Times(connect=0.1 if what == "mute" else GUARD_S)
    secret = "no" if what == "secret" else SECRET
    async with server.listening():
        found = await told(server, secret=secret, times=times)
    if what == "down":
        found = await told(server)
    assert found.startswith("WRONG Asterisk pbx1: the manager interface at 127.0.0.1:")
    assert text in found
    assert SECRET not in found


async def test_a_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    (tmp_path / "other").mkdir()
    other = self_signed(tmp_path / "other")
    server = AmiServer()
    async with server.listening(certificate.server()):
        assert "WRONG" not in (await told(server, ca_file=str(certificate.file))).split("\n")[0]
        text = await told(server, ca_file=str(other.file))
        assert "the TLS handshake failed" in text
        assert "(self-signed certificate" in text
    async with server.listening():
        text = await told(server, ca_file=str(certificate.file))
        assert "the TLS handshake failed" in text
        assert "(WRONG_VERSION_NUMBER)" in text
    (tmp_path / "name").mkdir()
    named = self_signed(tmp_path / "name", "DNS:office.example.net")
    async with server.listening(named.server()):
        text = await told(server, ca_file=str(named.file))
        assert "(IP address mismatch, certificate is not valid for '127.0.0.1'.)" in text
