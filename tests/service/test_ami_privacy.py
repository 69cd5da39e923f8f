"""No address, number, name, account code, channel or password of a session is kept anywhere.

All recorded sessions at once, with more personal data put in; then all bytes that a collector has
left are searched: its outbox, its memory, its log, its metrics and InfluxDB.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from collector.schema import LIVE
from tests.conftest import Databases, Serve, StartServe
from tests.sender import eventually, get, until
from tests.service.test_ami import write_asterisks
from tools.replay.ami_script import Script, script
from tools.replay.ami_server import SECRET, AmiServer
from tools.replay.captures import AMI, read_capture
from tools.replay.pbx import PASSWORD, Pbx, headers

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

MARKS = {
    b"127.0.0.": b"198.51.100.",
    b"CallerIDName: <unknown>": b"CallerIDName: Erika Mustermann",
    b"ConnectedLineName: <unknown>": b"ConnectedLineName: Konrad Geheim",
    b"AccountCode: \r\n": b"AccountCode: acct-90210\r\n",
    b"Password: right": b"Password: r1ght-Pass",
    b"Value: 1e3": b"Value: 2e3",
}
"""What is put into the sessions, so that it cannot be there for another reason."""
PERSONAL = re.compile(
    r"(\w*(Channel|CallerID\w*|ConnectedLine\w*|AccountCode|Exten|Interface|Address|Password)"
    r"|DialString|URI|Uri|ClientUri|ServerUri|Contacts|AOR|EndpointName|ObjectName|Peer|Host"
    r"|Username|Domain|AccountID|SessionID|\w*Challenge|ExpectedResponse|MemberName|Location"
    r"|Device|Source|Destination|LastData|UserField|Data|From|To|Conference|BridgeName|Agent"
    r"|Uniqueid|Linkedid|Md5Cred|OauthSecret)"
)
"""Names of headers whose values nobody may keep."""
OURS = {
    *("collector", "sales", "support"),
    *("PJSIP", "Agent", "Queue", "trunk", "unknown", "right", "wrong", "Local", "default"),
}
"""Words that may stand elsewhere: of the product, of Asterisk, and names of queues."""
SHORTEST = 4


def marked(message: bytes) -> bytes:
    for old, new in MARKS.items():
        message = message.replace(old, new)
    return message


def secrets_of(messages: list[bytes]) -> set[str]:
    """Values of personal headers, and their parts."""
    found = {PASSWORD, SECRET}
    for message in messages:
        for name, value in headers(message).items():
            # Names of queues are stored.
            if PERSONAL.fullmatch(name) and not value.startswith("Queue:"):
                found |= {value, *re.split(r"[/@:;,<> ]+", value)}
    return {one for one in found if len(one) >= SHORTEST and "<" not in one}


def holding(text: str, words: set[str]) -> set[str]:
    """Which of the words are in a text; a number counts where no other digit is beside it."""
    return {
        word
        for word in words
        if word in text
        and (not word.isdigit() or re.search(rf"(?<!\d){re.escape(word)}(?!\d)", text))
    }


def left_by(collector: Serve, databases: Databases) -> dict[str, str]:
    """All that a collector has written, by place."""
    files = [path for path in collector.state_dir.rglob("*") if path.is_file()]
    rows = databases.server.query("SELECT * FROM /.*/", f"{databases.prefix}{LIVE}")
    assert len(rows) > 100
    return {
        "log": collector.logs(),
        "InfluxDB": "\n".join(map(repr, rows)),
        **{path.name: text_of(path) for path in files},
    }


def text_of(path: Path) -> str:
    """The bytes of a file as text.

    Digits at the start of an overflow page of SQLite, which follow the 4 bytes of a page number,
    are left out: they are the end of a number that begins on another page.
    """
    content = path.read_bytes()
    if content.startswith(b"SQLite format 3"):
        size = int.from_bytes(content[16:18], "big")
        pages = (content[at : at + size] for at in range(0, len(content), size))
        content = b"\n".join(re.sub(rb"(?s)\A(.{4})\d+", rb"\1", page) for page in pages)
    return content.decode("latin-1")


async def serve_session(server: AmiServer, made: Script) -> None:
    await server.logged_in()
    await until(lambda: server.asked["IAXregistry"] > 0)
    for step in made.steps:
        if step.message is None:
            logins = server.logins
            server.drop()
            await until(lambda: server.logins > logins)  # noqa: B023 - at once
        else:
            await server.say(marked(step.message))


async def test_no_bytes_of_a_person_are_left_anywhere(
    databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    sessions = {path.name.split("-")[0]: read_capture(path) for path in AMI}
    scripts = {name: script(capture) for name, capture in sessions.items()}
    servers = {}
    messages = []
    for name, made in scripts.items():
        server = servers[f"s{name}"] = AmiServer(Pbx(sessions[name].description))
        server.now = made.begins
        answers = {action: found[-1][1] for action, found in made.answers.items()}
        server.recorded = lambda action, _at, answers=answers: (  # type: ignore[misc]
            [marked(one) for one in answers[action]] if action in answers else None
        )
        messages += [marked(step.message) for step in made.steps if step.message is not None]
        messages += [marked(one) for found in answers.values() for one in found]
    words = secrets_of(messages) - OURS
    assert {"4930101", "198.51.100.66", "alice", "PJSIP/agent1", "acct-90210"} <= words
    assert {"Erika Mustermann", "Erika", "r1ght-Pass", PASSWORD, SECRET} <= words

    file = tmp_path / "asterisks.toml"
    listening = [server.listening() for server in servers.values()]
    for each in listening:
        await each.__aenter__()
    write_asterisks(file, servers)
    environment = databases.environment | {
        "COLLECTOR_ASTERISK_FILE": str(file),
        "COLLECTOR_STATSD_FLUSH": "1s",
        "COLLECTOR_LOG_LEVEL": "debug",
    }
    collector = await asyncio.to_thread(serve, environment)
    await asyncio.gather(
        *(serve_session(servers[f"s{name}"], made) for name, made in scripts.items())
    )
    page = await asyncio.to_thread(get, collector.metrics_url, "/metrics")
    await asyncio.to_thread(eventually, lambda: _last_hangup(databases))
    await asyncio.to_thread(collector.terminate)
    for each in listening:
        await each.__aexit__(None, None, None)
    left = await asyncio.to_thread(left_by, collector, databases)
    left["metrics"] = page.body.decode()
    assert {"outbox.sqlite3", "memory.sqlite3"} <= left.keys()
    kept = {place: found for place, text in left.items() if (found := holding(text, words))}
    assert not kept


def _last_hangup(databases: Databases) -> bool:
    """Whether the calls of the largest session have ended in InfluxDB too."""
    rows = databases.server.query(
        "SELECT sum(ended) AS ended FROM calls WHERE asterisk = 's02a'",
        f"{databases.prefix}{LIVE}",
    )
    return bool(rows) and int(rows[0]["ended"]) >= 37
