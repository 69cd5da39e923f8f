from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from urllib.parse import quote, quote_plus

import pytest

from collector.redaction import HIDDEN, RedactedStream, _Known, hide, hide_in_addresses, redacted
from tests.conftest import clean_environment
from tests.sender import GUARD_S

PASSWORD = 'p@ss/w0rd "ü" #1'
FORMS = [
    PASSWORD,
    quote(PASSWORD, safe=""),
    quote(PASSWORD, safe="").lower(),
    quote_plus(PASSWORD),
    json.dumps(PASSWORD),
    repr(PASSWORD),
    repr(PASSWORD.encode()),
    base64.b64encode(f"an-operator:{PASSWORD}".encode()).decode(),
]


@pytest.fixture(autouse=True, scope="module")
def _told() -> None:
    hide(f"an-operator:{PASSWORD}", "one-line\nand-another-line", "abc")


@pytest.mark.parametrize("form", FORMS)
def test_secret_is_hidden_in_every_form(form: str) -> None:
    assert redacted(f"<{form.strip(chr(34))}>").count(HIDDEN) >= 1
    assert "w0rd" not in redacted(f"it says {form}, twice: {form}")


def test_each_line_of_a_secret_is_hidden() -> None:
    assert redacted("one-line, and-another-line") == f"{HIDDEN}, {HIDDEN}"


def test_short_secret_hides_no_part_of_words() -> None:
    assert redacted("abcdef") == "abcdef"
    assert redacted("http://abc@host") == f"http://{HIDDEN}@host"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to http://who:what@host/path", f"to http://{HIDDEN}@host/path"),
        ("'https://t0ken@host'", f"'https://{HIDDEN}@host'"),
        ("mysql://u:p@a/x and http://v:q@b", f"mysql://{HIDDEN}@a/x and http://{HIDDEN}@b"),
        ("https://host/list?token=4711&x=1", f"https://host/list?token={HIDDEN}&x=1"),
        ("https://host/@me", "https://host/@me"),
        ("as mysql://user@host or sql://USER:PASSWORD@HOST", None),
        (
            "mysql://user:x@host and sql://USER@host",
            f"mysql://{HIDDEN}@host and sql://{HIDDEN}@host",
        ),
        ("write to me@example.net", "write to me@example.net"),
    ],
)
def test_password_of_an_address_is_hidden_although_nobody_told(
    text: str, shown: str | None
) -> None:
    assert redacted(text) == (text if shown is None else shown)


def test_password_of_an_address_is_hidden_elsewhere_too() -> None:
    hide_in_addresses(
        "http://reader:in%20its%2Fplace@host/", "http://me:un/encoded@host", "http://lone-t0ken@h"
    )
    for leaked in ("in its/place", "in%20its%2Fplace", "un/encoded", "lone-t0ken"):
        assert redacted(f"password {leaked} refused") == f"password {HIDDEN} refused"
    assert redacted("http://me:un/encoded@host") == f"http://{HIDDEN}@host"


def test_address_without_password_hides_nothing() -> None:
    hide_in_addresses("http://plain-host:8086/@path", "no address at all", "http://plain-host")
    assert redacted("plain-host:8086/@path") == "plain-host:8086/@path"


def test_stream_hides_what_is_written_and_is_else_as_it_was() -> None:
    under = io.StringIO()
    stream = RedactedStream(under)
    assert stream.write(f"a {PASSWORD}\n") == len(PASSWORD) + 3
    stream.writelines(["one-line", " of two"])
    assert under.getvalue() == f"a {HIDDEN}\n{HIDDEN} of two"
    assert stream.writable()


LONG = "/" + "long" * 100


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("--version >&-", 0, ""),
        ("--version >/dev/full", 1, "the output cannot be written: No space left on device\n"),
        ("outbox dead", 1, f"[Errno 36] File name too long: '{LONG}"),
    ],
)
def test_command_that_cannot_read_or_write_ends_without_a_traceback(
    words: str, code: int, told: str
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m collector {words}', sys.executable],
        env=clean_environment() | {"COLLECTOR_STATE_DIR": LONG},
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == bool(told)


@pytest.fixture
def only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what the test hides forgotten afterwards: it is a part of plain words."""
    monkeypatch.setattr("collector.redaction._known", _Known())


@pytest.mark.usefixtures("only_these")
@pytest.mark.parametrize("secret", ["hidden", "(hidden)", "(hid", "den)", "(hidden)-and-more"])
def test_text_that_is_redacted_twice_is_as_after_once(secret: str) -> None:
    hide(secret)
    once = redacted(f"{secret}: http://me:{secret}@host/list?token={secret}")
    assert once == f"{HIDDEN}: http://{HIDDEN}@host/list?token={HIDDEN}"
    assert redacted(once) == once
