from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from collector import settings
from collector.redaction import redacted
from collector.settings import Settings, SettingsError, default_of, load, shown, variable

README = Path(__file__).parents[2] / "README.md"
SECRET = "s3cr3t-t0k3n"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)


def set_to(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(variable(name), value)


def documented() -> dict[str, str]:
    """Each setting in README's table and its default."""
    rows = re.findall(
        r"^\| `(COLLECTOR_\w+)` \| (?:`([^`]*)`|empty) \| [^|]+ \|$",
        README.read_text(),
        re.MULTILINE,
    )
    assert rows, "README has no table of settings"
    return dict(rows)


def test_readme_has_every_setting_and_no_other() -> None:
    assert set(documented()) == {variable(name) for name in Settings.model_fields}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_readme_has_the_default_of(name: str) -> None:
    assert documented().get(variable(name)) == default_of(name)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_described(name: str) -> None:
    assert Settings.model_fields[name].description


DEFAULTS = {
    "listen": "127.0.0.1:16080",
    "metrics_listen": "127.0.0.1:16081",
    "instance": "0",
    "influx_url": "http://127.0.0.1:8086",
    "influx_token": "",
    "influx_org": "",
    "state_dir": "state",
    "pseudonym_key_file": "state/pseudonym.key",
    "k_anonymity": "5",
    "nodelist_url": "",
    "retention_raw": "90d",
    "retention_daily": "0",
    "max_body": "64KiB",
    "outbox_max": "1GiB",
    "outbox_keep": "3d",
    "rollup_memory": "1GiB",
    "trusted_proxies": "",
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_default_is_as_promised(name: str) -> None:
    assert shown(load())[variable(name)] == DEFAULTS[name]


@pytest.mark.parametrize(
    ("name", "value", "effective"),
    [
        ("listen", "[::1]:80", "[::1]:80"),
        ("listen", "0.0.0.0:0", "0.0.0.0:0"),
        ("listen", " *:16080 ", "*:16080"),
        ("listen", "[::]:16080", "[::]:16080"),
        ("listen", "[0:0::0]:16080", "[::]:16080"),
        ("metrics_listen", "localhost:80", "localhost:80"),
        ("listen", "collector.example.net:80", "collector.example.net:80"),
        ("retention_raw", "13w", "91d"),
        ("outbox_keep", "1h30m", "90m"),
        ("outbox_keep", "0", "0"),
        ("max_body", "1MiB", "1MiB"),
        ("max_body", "100000", "100000"),
        ("influx_url", "https://influx.example.net/path/", "https://influx.example.net/path"),
        ("trusted_proxies", "10.0.0.0/8, ::1,192.0.2.7", "10.0.0.0/8,::1/128,192.0.2.7/32"),
        ("trusted_proxies", "10.1.2.3/8", "10.0.0.0/8"),
        ("trusted_proxies", " 10.0.0.1 , ,::1, ", "10.0.0.1/32,::1/128"),
        ("trusted_proxies", ",", ""),
        ("instance", "999", "999"),
        ("rate_limit", "0", "0"),
        ("k_anonymity", "1", "1"),
        ("log_format", "json", "json"),
        ("instance", "", "0"),
    ],
)
def test_value_is_understood(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, effective: str
) -> None:
    set_to(monkeypatch, **{name: value})
    assert shown(load())[variable(name)] == effective


WRONG = [
    ("listen", "16080", "HOST:PORT"),
    ("listen", ":16080", "HOST:PORT"),
    ("listen", "127.0.0.1:99999", "HOST:PORT"),
    ("listen", "http://127.0.0.1:16080", "without http://"),
    ("listen", "https://*:16080/", "without http://"),
    ("listen", "127.0.0.1:16080/usage", "HOST:PORT"),
    ("listen", "::1:16080", "HOST:PORT"),
    ("listen", "[localhost]:16080", "IPv6 address between"),
    ("listen", "two words:16080", "HOST:PORT"),
    ("metrics_listen", "http://127.0.0.1:16081", "without http://"),
    ("metrics_listen", "127.0.0.1:http", "HOST:PORT"),
    ("instance", "1000", "0..999"),
    ("instance", "-1", "0..999"),
    ("instance", "one", "integer"),
    ("influx_url", "127.0.0.1:8086", "http://"),
    ("influx_url", "http://user:pass@host", "without user"),
    ("influx_url", "ftp://host", "http://"),
    ("influx_prefix", "a b", "pattern"),
    ("retention_raw", "90", "duration such as 90d"),
    ("retention_raw", "90 days", "duration such as 90d"),
    ("retention_raw", "1h", "86400"),
    ("retention_raw", "9999999d", "36500d"),
    ("retention_daily", "-1d", "duration"),
    ("outbox_keep", "99999999d", "36500d"),
    ("outbox_max", "1KiB", "1048576"),
    ("outbox_max", "lots", "64KiB"),
    ("rollup_memory", "64MiB", "134217728"),
    ("max_body", "1GiB", "16777216"),
    ("k_anonymity", "0", "1"),
    ("rate_limit", "-1", "0"),
    ("trusted_proxies", "example.net", "example.net"),
    ("trusted_proxies", "10.0.0.0/99", "10.0.0.0/99"),
    ("nodelist_url", "file:///etc/passwd", "http://"),
    ("log_format", "xml", "json"),
    ("log_level", "loud", "debug"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_wrong_setting_is_named_with_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    set_to(monkeypatch, **{name: value})
    with pytest.raises(SettingsError) as error:
        load()
    (words,) = str(error.value).splitlines()
    assert words.startswith(f"{variable(name)}={redacted(repr(value))}: ")
    assert allowed in words


def test_every_wrong_setting_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to(monkeypatch, instance="1000", k_anonymity="0")
    with pytest.raises(SettingsError) as error:
        load()
    assert len(str(error.value).splitlines()) == 2


def test_daily_series_may_not_expire_before_what_they_are_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_to(monkeypatch, retention_raw="90d", retention_daily="30d")
    with pytest.raises(SettingsError, match=r"RETENTION_DAILY.*RETENTION_RAW"):
        load()
    set_to(monkeypatch, retention_raw="35d", retention_daily="60d")
    load()
    set_to(monkeypatch, librenms="1")
    with pytest.raises(SettingsError, match=r"RETENTION_DAILY.*RETENTION_LIBRENMS"):
        load()


def test_secret_is_read_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    monkeypatch.setenv("COLLECTOR_INFLUX_TOKEN_FILE", str(tmp_path / "token"))
    assert load().influx_token.get_secret_value() == SECRET


def test_secrets_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLLECTOR_INFLUX_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"COLLECTOR_INFLUX_TOKEN_FILE=.*missing.*cannot be"):
        load()


def test_secret_and_its_file_together_are_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_to(monkeypatch, influx_token=SECRET)
    monkeypatch.setenv("COLLECTOR_INFLUX_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(SettingsError, match="give one, not both") as error:
        load()
    assert SECRET not in str(error.value)


def test_only_secrets_have_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLLECTOR_INSTANCE_FILE", str(tmp_path))
    assert load().instance == 0
    assert "COLLECTOR_INSTANCE_FILE" in settings.unknown_variables()


@pytest.mark.parametrize("name", sorted(settings.SECRETS))
def test_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    secret = f"postgresql://x:{SECRET}@h/d" if name == "records_url" else SECRET
    set_to(monkeypatch, **{name: secret})
    loaded = load()
    assert shown(loaded)[variable(name)] == "(hidden)"
    assert SECRET not in repr(loaded) + str(loaded) + str(shown(loaded))


def test_misspelt_setting_is_noticed_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTOR_INFLUX_URI", "http://x")
    monkeypatch.setenv("COLLECTOR_XYZZY_PLUGH", "1")
    assert settings.unknown_variables() == {
        "COLLECTOR_INFLUX_URI": "COLLECTOR_INFLUX_URL",
        "COLLECTOR_XYZZY_PLUGH": None,
    }


def test_key_is_in_the_state_directory_unless_it_is_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_to(monkeypatch, state_dir=str(tmp_path))
    assert load().key_file == tmp_path / "pseudonym.key"
    set_to(monkeypatch, pseudonym_key_file="/etc/collector.key")
    assert load().key_file == Path("/etc/collector.key")


def loaded_or_refused() -> tuple[str, Settings | None]:
    """The words of a refusal, or the settings."""
    try:
        return "", load()
    except SettingsError as error:
        return str(error), None


NASTY = {
    "line end inside": "a\nb",
    "carriage return inside": "a\rb",
    "tab inside": "a\tb",
    "escape": "a\x1b[31mb",
    "next line": "a\x85b",
    "line separator": "a\u2028b",
    "half a character": "a\udcffb",
    "right-to-left mark": "a\u200fb",
    "byte order mark": "\ufeffab",
    "not ASCII": "gr\u00fc\u00df",
    "blank inside": "a b",
    "blanks alone": " \n ",
    "line end after": "ab\n",
    "address without end": "http://[::1",
    "address with a far port": "http://host:99999",
    "address with a line end": "http://host/\nx",
    "address not in ASCII": "http://gr\u00fc\u00df.example",
    "address with a quote": 'http://host/"x"',
    "address without host": "http://:80",
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_any_value_is_refused_in_a_sentence_or_becomes_clean(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """For each setting that there is: what is taken has no control character, and no blank ends."""
    for what, value in NASTY.items():
        set_to(monkeypatch, **{name: value})
        refusal, loaded = loaded_or_refused()
        if loaded is None:
            assert refusal.startswith(variable(name)), what
            assert len(refusal.splitlines()) == 1, what
            continue
        found = getattr(loaded, name)
        text = found.get_secret_value() if name in settings.SECRETS else str(found)
        if isinstance(found, list) and name.startswith("nats_"):
            text = ",".join(found)
        assert text == text.strip(), what
        assert not set(text) & set("\n\r\t\x1b\x85\u2028\udcff"), what
        if name.endswith("_url"):
            assert text.isascii(), what
            assert "[" not in text, what
        if name.endswith("_token") and ":" not in text:
            assert text.isascii(), what
            assert " " not in text, what


def test_every_setting_with_blanks_round_it_is_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        default = default_of(name)
        set_to(monkeypatch, **{name: f" {default}\n"})
    assert shown(load()) == shown(Settings.model_construct())


@pytest.mark.parametrize("name", sorted(settings.SECRETS))
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"one\ntwo\n", "one line"),
        (b"one\0two", "one line"),
        (b"Token one", "one word"),
        ("gr\u00fc\u00df".encode(), "one word"),
        (b"\xff\xfeo\0n\0e\0", "UTF-8"),
        (b"\n \n", "is empty"),
        (b"x" * 70_000, "at most 64 KiB"),
        (None, "cannot be read"),
    ],
)
def test_file_of_a_secret_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    file = tmp_path / "secret"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    monkeypatch.setenv(f"{variable(name)}_FILE", str(file))
    with pytest.raises(SettingsError, match=words) as error:
        load()
    assert str(error.value).startswith(variable(name))


@pytest.mark.parametrize("content", ["\ufeffs3cr3t\r\n", " s3cr3t ", "s3cr3t\n\n"])
def test_file_of_a_secret_may_have_what_editors_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    monkeypatch.setenv("COLLECTOR_INFLUX_TOKEN_FILE", str(tmp_path / "secret"))
    assert load().influx_token.get_secret_value() == "s3cr3t"


def test_password_of_influxdb_1_may_have_any_character(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to(monkeypatch, influx_token="reader:gr\u00fc\u00df gott")
    assert load().influx_token.get_secret_value() == "reader:gr\u00fc\u00df gott"


def test_password_in_an_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to(monkeypatch, nodelist_url="https://reader:t0p-s3cret@host/list")
    assert shown(load())["COLLECTOR_NODELIST_URL"] == "https://(hidden)@host/list"


def test_address_that_everyone_may_read_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grafana_url", "public_url"):
        monkeypatch.undo()
        set_to(monkeypatch, **{name: "https://reader:t0p-s3cret@host/list"})
        with pytest.raises(SettingsError, match="without user") as error:
            load()
        assert "t0p-s3cret" not in str(error.value)


def test_sender_is_switched_by_one_and_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().asl
    monkeypatch.setenv("COLLECTOR_ASL", "0")
    assert not load().asl
    assert shown(load())["COLLECTOR_ASL"] == "0"
