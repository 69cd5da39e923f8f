"""Names and messages of JetStream, and the settings for it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.jetstream import extra, message, naming
from collector.jetstream.message import NotAnEntry, decode, encode, parts
from collector.outbox.queues import Queue, queue_of
from collector.outbox.rows import Pending
from collector.privacy import ServerPseudonym
from collector.schema import RAW, RECORDS
from collector.settings import Settings, SettingsError

ROOT = Path(__file__).parents[2]

WORDS = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
SERVERS = st.none() | st.from_regex(r"[0-9a-f]{16}", fullmatch=True).map(ServerPseudonym)
STAMPS = st.integers(10**18, 2 * 10**18)
LINES = st.lists(
    st.tuples(st.binary(min_size=1, max_size=40).filter(lambda text: b"\n" not in text), STAMPS),
    min_size=1,
    max_size=12,
).map(lambda found: [b"%b %d" % (text, stamp) for text, stamp in found])
ENTRIES = st.builds(
    lambda id_, at, server, lines, target, sender: Pending(
        id_, at, server, len(lines), b"\n".join(lines), target, sender
    ),
    st.integers(1, 2**40),
    STAMPS,
    SERVERS,
    LINES,
    WORDS | st.just(RECORDS),
    WORDS,
)


@given(ENTRIES)
def test_entry_is_in_its_message_whole(entry: Pending) -> None:
    assert decode(encode(entry)) == entry[1:]


@given(ENTRIES, st.data())
def test_damaged_message_is_no_entry(entry: Pending, data: st.DataObject) -> None:
    body = bytearray(encode(entry))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(NotAnEntry):
        decode(bytes(body))


@given(st.binary(max_size=200))
def test_foreign_message_is_no_entry(body: bytes) -> None:
    with pytest.raises(NotAnEntry):
        decode(body)


def test_message_of_a_newer_version_says_so() -> None:
    with pytest.raises(NotAnEntry, match="form 2 of a newer version"):
        decode(b"2 whatever\nm n=1 1")


@given(ENTRIES)
def test_head_leaves_the_room_that_is_said(entry: Pending) -> None:
    # NATS adds its own headers: the id, and the name of the stream.
    extra_bytes = len(naming.message_id(entry)) + 100
    assert len(encode(entry)) - len(entry.lines) + extra_bytes <= message.HEAD_MOST


@given(ENTRIES, ENTRIES)
def test_entries_have_one_id_only_if_they_are_stored_as_one(one: Pending, other: Pending) -> None:
    same = one.lines == other.lines and one.target == other.target and one.sender == other.sender
    assert (naming.message_id(one) == naming.message_id(other)) is same
    assert naming.message_id(one) == naming.message_id(one._replace(id=1, received_ns=5))


def test_id_names_sender_instance_and_time() -> None:
    entry = Pending(1, 5, None, 1, b"m n=1 1700000000000000042", RAW, "asl")
    assert naming.message_id(entry).startswith("asl-42-1700000000000000042-")


def test_entries_of_one_moment_have_different_ids() -> None:
    first = Pending(1, 5, None, 1, b"calls,asterisk=a n=1 1700000000000000042", "asterisk_live")
    second = first._replace(lines=first.lines.replace(b"=a", b"=b"))
    assert naming.message_id(first) != naming.message_id(second)


def test_entry_without_a_timestamp_has_an_id() -> None:
    assert naming.message_id(Pending(1, 5, None, 1, b"no line", RAW)).startswith("asl-0-0-")


@given(ENTRIES)
def test_subject_is_within_its_wildcards(entry: Pending) -> None:
    subject = naming.subject("usage", entry.target, entry.server)
    stream, queue, target, range_ = subject.split(".")
    assert (stream, queue, target) == ("usage", queue_of(entry.target), entry.target)
    assert subject.startswith(naming.queue_subjects("usage", Queue(queue)).removesuffix(">"))
    assert subject.startswith(naming.all_subjects("usage").removesuffix(">"))
    if entry.server is None:
        assert range_ == "none"
    else:
        assert naming.range_subjects("usage", entry.server) == f"usage.*.*.{entry.server[:2]}"
        assert range_ == entry.server[:2]


@pytest.mark.parametrize("target", ["", "a.b", "a b", "*", ">", "ä"])
def test_target_that_is_no_word_has_no_subject(target: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a subject"):
        naming.subject("usage", target, None)
    with pytest.raises(NotAnEntry):
        encode(Pending(1, 5, None, 1, b"m n=1 1", target))


@given(ENTRIES, st.integers(1, 200))
def test_parts_hold_each_line_once_and_fit(entry: Pending, most: int) -> None:
    found = list(parts(entry, most))
    assert b"\n".join(part.lines for part in found) == entry.lines
    assert sum(part.points for part in found) == entry.points
    assert all(part.points == part.lines.count(b"\n") + 1 for part in found)
    if entry.target == RECORDS:
        assert found == [entry]
    else:
        assert all(len(part.lines) <= most or part.points == 1 for part in found)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", []),
        ("nats://a:4222", ["nats://a:4222"]),
        (
            "nats://a:4222/, tls://b,nats://[::1]:4222",
            ["nats://a:4222", "tls://b", "nats://[::1]:4222"],
        ),
    ],
)
def test_list_of_servers_is_understood(written: str, read: list[str]) -> None:
    assert Settings(nats_url=written).nats_url == read


@pytest.mark.parametrize(
    "written",
    ["a:4222", "http://a:4222", "nats://", "nats://u:p@a", "nats://a:99999", "nats://a b"],
)
def test_wrong_server_is_refused_in_a_sentence(written: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Settings(nats_url=written)


def test_even_number_of_replicas_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 1, 3 or 5"):
        Settings(nats_replicas=2)


def test_token_and_file_of_credentials_together_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "user.creds"
    with pytest.raises(ValueError, match="must be a file that can be read"):
        Settings(nats_credentials_file=str(file))
    file.write_text("secret")
    with pytest.raises(ValueError, match="give one, not both"):
        Settings(nats_token="t", nats_credentials_file=str(file))


def test_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda _name: None)
    extra.check_installed(Settings())
    with pytest.raises(SettingsError, match=r"usage-collector\[nats\]"):
        extra.check_installed(Settings(nats_url=["nats://a:4222"]))


def test_collector_without_nats_does_not_load_its_library() -> None:
    asked = "import sys, collector.app; sys.exit('nats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def test_extra_and_group_of_nats_are_the_same() -> None:
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert said["project"]["optional-dependencies"]["nats"] == said["dependency-groups"]["nats"]
