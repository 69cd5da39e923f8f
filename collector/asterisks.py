"""The operator's Asterisks, read from the TOML file that COLLECTOR_ASTERISK_FILE names.

Each table of the file is an Asterisk, and the table's name is its name in every series:

    [pbx1]
    statsd_from = ["192.0.2.10", "2001:db8::/64", "unix:/run/collector/pbx1.sock"]
    ami = "192.0.2.10:5038"
    ami_user = "collector"
    ami_secret_file = "pbx1.secret"
    ami_tls = true
    ami_ca_file = "pbx1.pem"
    ami_trunks = {"PJSIP/provider" = "provider"}
    ami_agents = {"PJSIP/alice" = "desk 1"}
    ami_conferences = {"1000" = "team"}
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StrictStr,
    TypeAdapter,
    ValidationError,
)

from collector.asterisk_names import Names
from collector.lines import label
from collector.redaction import hide
from collector.setting_types import Address, Certificates, Endpoint, Listen, Network, parse_endpoint
from collector.settings import Settings, SettingsError, variable

DEFAULT: Final = "default"
"""Name of the only Asterisk if no file is given; all StatsD belongs to it."""
_FILE_MAX: Final = 1 << 20
_SECRET_MAX: Final = 64 << 10
_MOST_NAMES: Final = 200
_CERTIFICATES: Final = TypeAdapter(Certificates)


@dataclass(frozen=True, slots=True)
class AmiAccount:
    """Account of an Asterisk's manager interface (AMI); `ca_file` is in PEM, "" for none."""

    host: str
    port: int
    user: str
    secret: SecretStr
    tls: bool
    ca_file: str


@dataclass(frozen=True, slots=True)
class Asterisk:
    """One Asterisk.

    `statsd_from` are the networks that its datagrams come from, `statsd_sockets` the paths of unix
    sockets that only it writes to; `ami` is None if the collector does not log in.
    """

    name: str
    statsd_from: tuple[Network, ...] = ()
    statsd_sockets: tuple[str, ...] = ()
    ami: AmiAccount | None = None
    names: Names = field(default_factory=Names)


Source = Network | str
"""Source of StatsD: a network, or the path of a unix socket."""


def _source(text: object) -> Source:
    if not isinstance(text, str):
        # pydantic words a ValueError, not a TypeError.
        raise ValueError(  # noqa: TRY004
            "must be text: an address, a network, or unix:/PATH"
        )
    if text.startswith("unix"):
        endpoint: Endpoint = parse_endpoint(text)
        return str(endpoint.at)
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address or network such as 192.0.2.10 or 2001:db8::/64, and no"
            " unix:/PATH"
        ) from None


def _sources(value: object) -> object:
    return [_source(one) for one in (value if isinstance(value, list) else [value])]


def _given(names: dict[str, str]) -> dict[str, str]:
    """Check names that the operator gives. Raises ValueError."""
    if len(names) > _MOST_NAMES:
        raise ValueError(f"must be {_MOST_NAMES} names at most")
    for key, name in names.items():
        if label(name) != name:
            raise ValueError(
                f"{key!r} must have a name of 1 to 64 printable characters, without backslash"
            )
    return names


def _unlike(names: dict[str, str]) -> dict[str, str]:
    """Check names that must differ, because each has a series of its own. Raises ValueError."""
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise ValueError(f"{twice[0]!r} is the name of two")
    return names


_Names = Annotated[dict[StrictStr, StrictStr], AfterValidator(_given)]
_UnlikeNames = Annotated[_Names, AfterValidator(_unlike)]


class _Table(BaseModel):
    """The keys of an Asterisk's table."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    statsd_from: Annotated[list[Source], BeforeValidator(_sources)] = []
    ami: Listen | None = None
    ami_user: StrictStr = Field("", pattern=r"^[^\x00-\x1f\x7f]*$")
    ami_secret_file: StrictStr = ""
    ami_tls: StrictBool = False
    ami_ca_file: StrictStr = ""
    ami_trunks: _Names = {}
    ami_agents: _UnlikeNames = {}
    ami_conferences: _UnlikeNames = {}


def asterisks(settings: Settings) -> tuple[Asterisk, ...]:
    """Read the file of Asterisks and their secrets; without a file, the one called `default`.

    Raises SettingsError, whose text names each invalid table and key.
    """
    if not settings.asterisk_file:
        return (Asterisk(DEFAULT),)
    path = Path(settings.asterisk_file)
    where = f"{variable('asterisk_file')}={str(path)!r}"
    try:
        tables = tomllib.loads(_text(path, _FILE_MAX))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: must be a file in TOML ({error})") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{where}: cannot be read ({error})") from None
    found: list[Asterisk] = []
    wrong: list[str] = []
    for name, table in tables.items():
        try:
            found.append(_asterisk(name, table, path.parent))
        except ValueError as error:
            wrong += [f"[{name}] {line}" for line in str(error).splitlines()]
    wrong += _overlaps(found)
    if not tables:
        wrong.append("must have a table for each Asterisk, such as [pbx1]")
    if wrong:
        raise SettingsError("\n".join(f"{where}: {line}" for line in wrong))
    return tuple(found)


def _asterisk(name: str, table: object, directory: Path) -> Asterisk:
    """Parse one table. Raises ValueError, with one line for each error."""
    if not isinstance(table, dict):
        raise ValueError(  # noqa: TRY004 - an error of the file, as all others
            "must be a table, [NAME], with the keys of an Asterisk"
        )
    if label(name) != name:
        raise ValueError("must have a name of 1 to 64 printable characters, without backslash")
    try:
        parsed = _Table.model_validate(table)
    except ValidationError as error:
        raise ValueError("\n".join(_worded(dict(one)) for one in error.errors())) from None
    sources = parsed.statsd_from
    return Asterisk(
        name,
        tuple(one for one in sources if not isinstance(one, str)),
        tuple(one for one in sources if isinstance(one, str)),
        _account(parsed, directory),
        Names(parsed.ami_trunks, parsed.ami_agents, parsed.ami_conferences),
    )


def _worded(error: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"] if isinstance(part, str))
    if error["type"] == "extra_forbidden":
        return f"{key}: is no key of an Asterisk ({', '.join(_Table.model_fields)})"
    return f"{key}: {str(error['msg']).removeprefix('Value error, ')}"


def _account(table: _Table, directory: Path) -> AmiAccount | None:
    """The AMI account of a table; None if it has none. Raises ValueError."""
    if table.ami is None:
        if given := sorted(key for key in table.model_fields_set if key.startswith("ami_")):
            raise ValueError(f"{given[0]}: needs `ami`, the HOST:PORT to log in to")
        return None
    if not table.ami_user or not table.ami_secret_file:
        raise ValueError("ami: needs `ami_user` and `ami_secret_file`")
    if table.ami_ca_file and not table.ami_tls:
        raise ValueError("ami_ca_file: needs `ami_tls = true`")
    ca_file = str(directory / table.ami_ca_file) if table.ami_ca_file else ""
    try:
        _CERTIFICATES.validate_python(ca_file)
    except ValidationError as error:
        raise ValueError(_worded({**error.errors()[0], "loc": ("ami_ca_file",)})) from None
    at: Address = table.ami
    return AmiAccount(
        at.host,
        at.port,
        table.ami_user,
        _secret(directory / table.ami_secret_file),
        table.ami_tls,
        ca_file,
    )


def _secret(path: Path) -> SecretStr:
    try:
        secret = _text(path, _SECRET_MAX).strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"ami_secret_file: {str(path)!r} cannot be read ({error})") from None
    if not secret or not secret.isprintable():
        raise ValueError(f"ami_secret_file: {str(path)!r} must hold one line, the secret")
    hide(secret)
    return SecretStr(secret)


def _text(path: Path, most: int) -> str:
    """Read a UTF-8 file. Raises OSError, or ValueError if it is larger than `most` or not UTF-8."""
    with path.open("rb") as opened:
        read = opened.read(most + 1)
    if len(read) > most:
        raise ValueError(f"it is larger than {most >> 10} KiB")
    return read.decode("utf-8-sig")


def _overlaps(found: Sequence[Asterisk]) -> Iterable[str]:
    """Sentences about sources that belong to two Asterisks."""
    for one, other in combinations(found, 2):
        shared = [f"unix:{path}" for path in one.statsd_sockets if path in other.statsd_sockets]
        shared += [
            str(network)
            for network in one.statsd_from
            for another in other.statsd_from
            if network.version == another.version and network.overlaps(another)
        ]
        for source in shared:
            yield f"[{one.name}] and [{other.name}]: statsd_from: both have {source}"
