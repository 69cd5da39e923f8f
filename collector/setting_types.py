"""Types of the settings' values: each parses what an operator writes, and formats it again.

A parser raises ValueError with the sentence that the operator reads.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    PlainSerializer,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_settings import NoDecode

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d+)([smhdw])")
_URL_TEXT: Final = re.compile(r"[!#-;=?-Z\[\]_a-z~]*")
_HOST: Final = re.compile(r"\*|[A-Za-z0-9_.-]+")
_SITE_PATH: Final = re.compile(r"(/[A-Za-z0-9_.~-]+)*")
_PORT_MAX: Final = 65_535
_LONGEST: Final = 36_500 * 86_400
_SOCKET_PATH_MAX: Final = 107
"""Longest path of a socket file, in bytes: Linux's `sun_path` less its final zero."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on: host (`*` or `::`: every address) and port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_duration(text: object) -> int:
    """Parse a duration such as `90d`, `72h`, `1h30m` or `0` to seconds. Raises ValueError."""
    if isinstance(text, int):
        return text
    written = str(text).strip()
    if written == "0":
        return 0
    parts = _DURATION.findall(written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise ValueError("must be a duration such as 90d, 72h, 15m or 30s, or 0")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise ValueError("must be at most 36500d")
    return seconds


def format_duration(seconds: int) -> str:
    """Format seconds as a duration in the largest unit that divides them, such as `90d`; or `0`."""
    if seconds == 0:
        return "0"
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def retention_text(seconds: int) -> str:
    """Format a retention, such as `90d`; 0 is unlimited."""
    return format_duration(seconds) if seconds else "for ever"


def longest_retention(seconds: Iterable[int]) -> int:
    """The longest of retentions, in seconds; 0 is unlimited."""
    found = [*seconds]
    return max(found) if all(found) else 0


def oldest_kept(seconds: int) -> int:
    """The earliest time, in ns since 1970, of what is retained for `seconds`; 0 is unlimited."""
    return time.time_ns() - seconds * 10**9 if seconds else 0


def _parse_address(text: object) -> Address:
    if isinstance(text, Address):
        return text
    written = str(text).strip()
    if "://" in written:
        raise ValueError("must be HOST:PORT alone, without http:// or any other scheme")
    host, colon, port = written.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(_ipv6(host[1:-1]))
    elif not _HOST.fullmatch(host):
        colon = ""
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > _PORT_MAX:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:16080, [::1]:16080 or *:16080")
    return Address(host, int(port))


class Transport(StrEnum):
    """Transport of an address for StatsD; the value is its scheme in settings."""

    UDP = "udp"
    TCP = "tcp"
    UNIX = "unix"
    UNIX_STREAM = "unixstream"

    @property
    def is_stream(self) -> bool:
        """Whether lines arrive on connections, rather than one datagram at a time."""
        return self in {Transport.TCP, Transport.UNIX_STREAM}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to receive StatsD on: a transport, and host and port or the path of a socket."""

    transport: Transport
    at: Address | str

    def __str__(self) -> str:
        if isinstance(self.at, str):
            return f"{self.transport}:{self.at}"
        return str(self.at) if self.transport is Transport.UDP else f"{self.transport}://{self.at}"


def parse_endpoint(text: str) -> Endpoint:
    """Parse `HOST:PORT`, `udp://…`, `tcp://…`, `unix:/PATH` or `unixstream:/PATH`.

    Raises ValueError.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme in {Transport.UNIX, Transport.UNIX_STREAM}:
        path = rest.removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"must have an absolute path, as {scheme}:/run/s.sock")
        if len(path.encode()) > _SOCKET_PATH_MAX:
            raise ValueError(f"must have a path of at most {_SOCKET_PATH_MAX} bytes")
        return Endpoint(Transport(scheme), path)
    scheme, mark, rest = text.partition("://")
    transport = scheme if mark else Transport.UDP
    if transport not in {Transport.UDP, Transport.TCP}:
        raise ValueError("must be HOST:PORT, or begin with udp://, tcp://, unix: or unixstream:")
    return Endpoint(Transport(transport), _parse_address(rest if mark else text))


def _each_once(found: list[Endpoint]) -> list[Endpoint]:
    twice = next((one for one in found if found.count(one) > 1), None)
    if twice is not None:
        raise ValueError(f"must name each address once, and names {twice} twice")
    return found


def _nats_url(text: str) -> str:
    url = text.rstrip("/")
    if not re.fullmatch(r"(nats|tls)://[^\s/?#@]+", url) or not _URL_TEXT.fullmatch(url):
        raise ValueError("must be nats://HOST:PORT or tls://HOST:PORT, comma between, without user")
    try:
        host, _port = urlsplit(url).hostname, urlsplit(url).port
    except ValueError:
        host = None
    if not host:
        raise ValueError("must have hosts, and ports up to 65535")
    return url


def _ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise ValueError("must hold an IPv6 address between its brackets") from None


def _url(text: str) -> SplitResult:
    """Split an http:// or https:// URL. Raises ValueError for anything else."""
    if not re.fullmatch(r"https?://[^\s/?#]+\S*", text):
        raise ValueError("must be an http:// or https:// URL")
    if not _URL_TEXT.fullmatch(text):
        raise ValueError("must be a URL of ASCII: a host as xn--…, other special characters as %XX")
    wrong = ValueError("must be a URL with a host and, if any, a port up to 65535")
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if not host:
        raise wrong
    return parts


def _http_url(text: str) -> str:
    parts = _url(text)
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("must be an http:// or https:// URL without user, query or fragment")
    return text.rstrip("/")


def _fetched_url(text: str) -> str:
    if text and "#" in text:
        raise ValueError("must be an http:// or https:// URL without fragment, or empty")
    if text:
        _url(text)
    return text


def _public_url(text: str) -> str:
    if _fetched_url(text) and "@" in _url(text).netloc:
        raise ValueError("must be a URL without user or password: everyone may read it")
    return text


def _certificates(path: str) -> str:
    if path:
        try:
            ssl.create_default_context().load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"must be a file of certificates in PEM ({error})") from None
    return path


def _readable_file(path: str) -> str:
    if path:
        try:
            with open(path, "rb"):  # noqa: PTH123 - looked at for its error
                pass
        except (OSError, ValueError) as error:
            raise ValueError(f"must be a file that can be read ({error})") from None
    return path


def _site_url(text: str) -> str:
    if not text:
        return ""
    url = _http_url(text)
    if not _SITE_PATH.fullmatch(urlsplit(url).path):
        raise ValueError(
            "may have a path of letters, digits and `-._~`, such as https://HOST/usage"
        )
    return url


def _token(secret: SecretStr) -> SecretStr:
    token = secret.get_secret_value()
    # The `user:password` of 1.x is sent in Base64, so it may hold any character.
    if ":" not in token and not re.fullmatch(r"[!-~]*", token):
        raise ValueError("must be one word of ASCII: the token alone, or user:password")
    return secret


_BYTES: Final = TypeAdapter(ByteSize)


def _parse_bytes(value: object) -> object:
    try:
        return _BYTES.validate_python(value)
    except ValidationError:
        raise ValueError("must be a size such as 64KiB or 1GiB") from None


def _format_bytes(size: ByteSize) -> str:
    for unit, bits in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << bits) == 0:
            return f"{size >> bits}{unit}"
    return str(int(size))


def _listed(parse: Callable[[str], object]) -> BeforeValidator:
    """Parse a text as a list, with commas between its parts; a list is taken as it is."""

    def parts(value: object) -> object:
        if not isinstance(value, str):
            return value
        return [parse(part) for part in filter(None, map(str.strip, value.split(",")))]

    return BeforeValidator(parts)


_JOINED: Final = PlainSerializer(lambda values: ",".join(map(str, values)))
"""Formats a list as `_listed` parses it."""

Duration = Annotated[int, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Bytes = Annotated[ByteSize, BeforeValidator(_parse_bytes), PlainSerializer(_format_bytes)]
Listen = Annotated[Address, NoDecode, BeforeValidator(_parse_address), PlainSerializer(str)]
Switch = Annotated[bool, PlainSerializer(lambda on: "1" if on else "0")]
Network = IPv4Network | IPv6Network
Networks = Annotated[list[Network], NoDecode, _listed(partial(ip_network, strict=False)), _JOINED]
Endpoints = Annotated[
    list[Endpoint], NoDecode, AfterValidator(_each_once), _listed(parse_endpoint), _JOINED
]
NatsUrls = Annotated[list[str], NoDecode, _listed(_nats_url), _JOINED]
HttpUrls = Annotated[list[str], NoDecode, _listed(_http_url), _JOINED]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
OtherUrl = Annotated[str, AfterValidator(lambda text: text and _http_url(text))]
"""An `HttpUrl`, or empty."""
FetchedUrl = Annotated[str, AfterValidator(_fetched_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
SiteUrl = Annotated[str, AfterValidator(_site_url)]
Certificates = Annotated[str, AfterValidator(_certificates)]
ReadableFile = Annotated[str, AfterValidator(_readable_file)]


def _records_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if url and not re.match(r"(sqlite:///|postgresql://)\S", url):
        raise ValueError("must be one word that begins with postgresql:// or sqlite:///")
    if not _URL_TEXT.fullmatch(url):
        raise ValueError("must be one word of ASCII: special characters of a password as %XX")
    return secret


RecordsUrl = Annotated[SecretStr, AfterValidator(_records_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
