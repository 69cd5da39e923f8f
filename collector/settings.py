"""All settings: name, default, unit and meaning, read from the environment.

The setting `name` is read from the variable `COLLECTOR_NAME`; a secret may instead be in the file
that `COLLECTOR_NAME_FILE` names.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ByteSize, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from collector.redaction import HIDDEN, hide, hide_in_addresses, redacted
from collector.setting_types import (
    Address,
    Bytes,
    Certificates,
    Duration,
    Endpoints,
    FetchedUrl,
    HttpUrl,
    HttpUrls,
    Listen,
    NatsUrls,
    Networks,
    OtherUrl,
    PublicUrl,
    ReadableFile,
    RecordsUrl,
    SiteUrl,
    Switch,
    Token,
    longest_retention,
)

PREFIX: Final = "COLLECTOR_"
_CONTROL: Final = frozenset(["Cc", "Cs", "Zl", "Zp"])
"""Unicode's categories of control characters, surrogates and line separators."""
_SECRET_MAX: Final = 64 << 10
_INSTANCES: Final = 1000
_MYSQL: Final = "MYSQL_PWD"


class SettingsError(ValueError):
    """Settings in the environment are invalid; the text names each on a line of its own."""


_ONE_LINE: Final = "must be text in UTF-8, on one line and without control characters"


def _has_control(value: object) -> bool:
    return isinstance(value, str) and any(
        unicodedata.category(character) in _CONTROL for character in value
    )


class Settings(BaseSettings):
    """The effective settings. Create them with `load`, which makes errors readable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        arbitrary_types_allowed=True,
    )

    listen: Listen = Field(
        Address("127.0.0.1", 16080),
        description="public address, HOST:PORT; `*` or `[::]`: every address, IPv4 and IPv6",
    )
    metrics_listen: Listen = Field(
        Address("127.0.0.1", 16081),
        description="address of /metrics, /healthz and /readyz, HOST:PORT; not for the public",
    )
    workers: int = Field(
        1, ge=1, le=64, description="processes that take reports; each has an outbox of its own"
    )
    instance: int = Field(
        0,
        ge=0,
        le=999,
        description="number of this collector among those of one InfluxDB, 0..999; its workers"
        " take the numbers that follow",
    )
    state_dir: Path = Field(Path("state"), description="directory of the outbox and the key")
    pseudonym_key_file: Path | None = Field(
        None, description="file of the pseudonym key; empty: `pseudonym.key` in the state directory"
    )
    influx_url: HttpUrl = Field("http://127.0.0.1:8086", description="InfluxDB, 1.6 to 2.x")
    influx_token: Token = Field(
        SecretStr(""), description="token of InfluxDB 2, or `user:password` of 1.x; empty: none"
    )
    influx_org: str = Field("", description="organisation, InfluxDB 2 only")
    influx_ca_file: Certificates = Field(
        "",
        description="file of certificates (PEM) that InfluxDB's is checked by, beside the system's;"
        " for a self-signed one, that itself; empty: none",
    )
    influx_raw_url: OtherUrl = Field(
        "",
        description="another InfluxDB for all that is not published, such as raw reports; empty:"
        " the same",
    )
    influx_raw_token: Token = Field(
        SecretStr(""), description="its token or `user:password`; empty: COLLECTOR_INFLUX_TOKEN"
    )
    influx_raw_org: str = Field("", description="its organisation; empty: COLLECTOR_INFLUX_ORG")
    influx_raw_ca_file: Certificates = Field(
        "", description="file of certificates (PEM) for it; empty: COLLECTOR_INFLUX_CA_FILE"
    )
    influx_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="put before the names of all databases, to share one InfluxDB",
    )
    nats_url: NatsUrls = Field(
        [],
        description="NATS servers with JetStream, nats://HOST:PORT or tls://…, comma between:"
        " reports go there first, and `collector write` stores them; empty: off",
    )
    nats_token: Token = Field(
        SecretStr(""), description="token of NATS, or `user:password`; empty: none"
    )
    nats_credentials_file: ReadableFile = Field(
        "", description="file of credentials (JWT and key) of a NATS user; empty: none"
    )
    nats_ca_file: Certificates = Field(
        "",
        description="file of certificates (PEM) that those of NATS are checked by, beside the"
        " system's; empty: none",
    )
    nats_stream: str = Field(
        "usage",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="stream of this network's reports, and the first word of its subjects",
    )
    nats_replicas: int = Field(
        3, ge=1, le=5, description="servers that hold each report, 1, 3 or 5; 1 survives no disk"
    )
    nats_stream_max: Bytes = Field(
        ByteSize(4 << 30),
        ge=1 << 20,
        description="largest size of the stream; when it is full, reports wait in the outboxes",
    )
    lease: Duration = Field(
        20,
        ge=1,
        le=60,
        description="with NATS: how long a publisher's lease lasts without renewal, such as 20s;"
        " after that another one takes over",
    )
    nats_monitor_url: HttpUrls = Field(
        [],
        description="monitoring addresses of the NATS servers, http://HOST:8222, comma between,"
        " which `collector check` asks; empty: none",
    )
    asl: Switch = Field(
        True, description="1: take the reports of AllStarLink's asl-telemetry; 0: do not"
    )
    statsd_listen: Endpoints = Field(
        [],
        description="addresses that take Asterisk's StatsD, comma between: HOST:PORT (UDP),"
        " tcp://HOST:PORT, unix:/PATH (datagrams), unixstream:/PATH; empty: off",
    )
    statsd_flush: Duration = Field(
        10,
        ge=1,
        le=60,
        description="how often the live values of StatsD and AMI are stored, such as 10s",
    )
    statsd_mapping: str = Field(
        "",
        description="file that maps names of StatsD to measurements and tags, in the form of"
        " statsd_exporter's; empty: the shipped one",
    )
    asterisk_file: str = Field(
        "",
        description="TOML file with a table for each Asterisk: the addresses of its StatsD, and its"
        " AMI; empty: all StatsD is of one Asterisk called `default`",
    )
    librenms: Switch = Field(
        False, description="1: take the reports of LibreNMS's call-back; 0: do not"
    )
    telemetrics: Switch = Field(
        False, description="1: take the records of Clear Linux's telemetrics-client; 0: do not"
    )
    telemetrics_tid: str = Field(
        "6907c830-eed9-4ce9-81ae-76daf8d88f0f",
        description="X-Telemetry-TID that a record of telemetrics-client must have",
    )
    telemetrics_keep_ids: Switch = Field(
        False, description="1: keep machine ids in records as sent; 0: pseudonyms instead"
    )
    telemetrics_never_guilty: str = Field(
        "",
        description="file of functions that are never named as the cause of a crash, one on a line"
        " (see docs/senders/telemetrics.md); empty: the shipped one",
    )
    records_url: RecordsUrl = Field(
        SecretStr(""),
        description="store of the records: postgresql://USER:PASSWORD@HOST/DATABASE or"
        " sqlite:////PATH; empty: an SQLite file in the state directory",
    )
    api_token: Token = Field(
        SecretStr(""),
        description="bearer token of /api/records; empty: that route refuses every request",
    )
    retention_raw: Duration = Field(
        90 * 86_400, ge=86_400, description="how long raw reports are kept, such as 90d"
    )
    retention_daily: Duration = Field(0, description="how long daily series are kept; 0: for ever")
    retention_live: Duration = Field(
        30 * 86_400, ge=86_400, description="how long live values of Asterisk are kept, such as 30d"
    )
    retention_librenms: Duration = Field(
        90 * 86_400, ge=86_400, description="how long reports of LibreNMS are kept, such as 90d"
    )
    retention_records: Duration = Field(
        35 * 86_400, description="how long records of telemetrics-client are kept; 0: for ever"
    )
    k_anonymity: int = Field(
        5, ge=1, le=1000, description="smallest count published of a property; 1: no suppression"
    )
    nodelist_url: FetchedUrl = Field(
        "", description="public node list; empty: any public node number counts"
    )
    max_body: Bytes = Field(
        ByteSize(64 << 10), ge=1024, le=16 << 20, description="largest body taken, such as 64KiB"
    )
    max_head: Bytes = Field(
        ByteSize(32 << 10), ge=8192, le=1 << 20, description="largest head of a request taken"
    )
    max_nodes: int = Field(500, ge=1, le=500, description="most nodes taken in one report")
    max_connections: int = Field(
        2000,
        ge=10,
        le=100_000,
        description="most connections open at a time; senders and readers may each hold half",
    )
    max_connections_per_address: int = Field(
        500,
        ge=1,
        description="most of them from one address (IPv6: /64); a trusted proxy has no such limit",
    )
    read_timeout: Duration = Field(
        30,
        ge=1,
        description="how long a request's head, and then its body, may take to arrive",
    )
    outbox_max: Bytes = Field(
        ByteSize(1 << 30), ge=1 << 20, description="largest size of the outbox on disk"
    )
    outbox_keep: Duration = Field(
        72 * 3600, description="how long delivered lines are kept for replay, such as 72h"
    )
    rollup_memory: Bytes = Field(
        ByteSize(1 << 30),
        ge=128 << 20,
        description="memory for computing a day; a larger day is computed by ranges of nodes",
    )
    rate_limit: int = Field(
        20_000, ge=0, description="reports an hour from one address; 0: no limit"
    )
    server_rate_limit: int = Field(
        1000,
        ge=0,
        description="reports an hour of one server; 0, or no limit for addresses: no limit",
    )
    erasures_per_hour: int = Field(
        20, ge=0, description="owners' erasures done an hour; more wait for `collector my-data`"
    )
    backup_keep: Duration = Field(
        0, description="how long backups of raw reports are kept, told to owners; 0: not told"
    )
    trusted_proxies: Networks = Field(
        [], description="addresses or networks, comma between, whose X-Forwarded-… is believed"
    )
    public_url: SiteUrl = Field(
        "", description="address by which the public reaches the pages, such as https://HOST"
    )
    grafana_url: PublicUrl = Field(
        "", description="the community's Grafana, linked from the pages; empty: no link"
    )
    contact: str = Field(
        "",
        max_length=200,
        description="who runs this and how to reach them, shown on the privacy page",
    )
    log_format: Literal["text", "json"] = Field("text", description="form of the log's lines")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity logged"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources in order of precedence: values given in code, environment, secrets' files."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _cleaned(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Strip blanks and line ends around values. Raises ValueError unless each is one line."""
        texts = {
            name: value.strip() if isinstance(value, str) else value
            for name, value in values.items()
        }
        wrong = [name for name, text in texts.items() if _has_control(text)]
        if wrong:
            raise ValueError("\n".join(f"{variable(name)}: {_ONE_LINE}" for name in wrong))
        # An empty variable counts as unset.
        return {name: text for name, text in texts.items() if text != ""}

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        sources = {"RETENTION_RAW": self.retention_raw}
        if self.librenms:
            sources["RETENTION_LIBRENMS"] = self.retention_librenms
        for name, seconds in sources.items():
            if 0 < self.retention_daily < seconds:
                raise ValueError(f"{PREFIX}RETENTION_DAILY: must be 0 or at least {PREFIX}{name}")
        if self.nats_replicas % 2 == 0:
            # An even number survives no more failures than the odd one below it.
            raise ValueError(f"{PREFIX}NATS_REPLICAS: must be 1, 3 or 5")
        if self.nats_credentials_file and self.nats_token.get_secret_value():
            raise ValueError(
                f"{PREFIX}NATS_TOKEN and {PREFIX}NATS_CREDENTIALS_FILE: give one, not both"
            )
        shared = self.records_url.get_secret_value().startswith("postgresql:")
        if self.nats_url and self.telemetrics and not shared:
            raise ValueError(
                f"{PREFIX}RECORDS_URL: must name a PostgreSQL where {PREFIX}NATS_URL is set, since"
                " receivers and writers share the store"
            )
        if self.instance + self.workers > _INSTANCES:
            raise ValueError(
                f"{PREFIX}INSTANCE: with {self.workers} workers at most {_INSTANCES - self.workers}"
            )
        return self

    @property
    def key_file(self) -> Path:
        """The path of the pseudonym key."""
        return self.pseudonym_key_file or self.state_dir / "pseudonym.key"

    @property
    def retention_notices(self) -> int:
        """Retention of erasure notices in seconds: as long as any report is kept; 0: for ever."""
        # Of disabled senders too: another process of the same InfluxDB may have them enabled.
        found = (self.retention_raw, self.retention_librenms, self.retention_records)
        return longest_retention(found)


_FIELDS: Final = Settings.model_fields
SECRETS: Final = frozenset(n for n, field in _FIELDS.items() if field.annotation is SecretStr)
"""Names of the settings that are secrets."""


def variable(name: str) -> str:
    """The name of a setting's environment variable."""
    return PREFIX + name.upper()


class _SecretFiles(PydanticBaseSettingsSource):
    """A source of settings: the secrets in the files that `COLLECTOR_…_FILE` variables name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        file = os.environ.get(f"{variable(field_name)}_FILE", "") if field_name in SECRETS else ""
        if not file:
            return None, field_name, False
        name = f"{variable(field_name)}_FILE"
        try:
            with Path(file).open("rb") as opened:
                read = opened.read(_SECRET_MAX + 1)
            # Some editors begin a file with a byte order mark.
            secret = read.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise SettingsError(f"{name}={file!r}: must be a file of UTF-8 text") from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"{name}={file!r}: cannot be read ({error})") from error
        if len(read) > _SECRET_MAX:
            raise SettingsError(f"{name}={file!r}: must be a file of at most 64 KiB")
        if not secret:
            raise SettingsError(f"{name}={file!r}: the file is empty; unset it where there is none")
        hide(secret)
        return secret, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = ((name, self.get_field_value(f, name)[0]) for name, f in _FIELDS.items())
        return {name: value for name, value in found if value is not None}


def load() -> Settings:
    """Read the settings from the environment, and register their secrets for redaction.

    Raises SettingsError, whose text names each invalid setting, its value (never a secret's) and
    the allowed values.
    """
    hide(*(os.environ.get(variable(name), "") for name in SECRETS), os.environ.get(_MYSQL, ""))
    # Variables of other programs may hold passwords too, such as that of a proxy.
    hide_in_addresses(*os.environ.values())
    for name in sorted(SECRETS):
        if os.environ.get(variable(name)) and os.environ.get(f"{variable(name)}_FILE"):
            raise SettingsError(f"{variable(name)} and {variable(name)}_FILE: give one, not both")
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_worded(dict(item)) for item in error.errors())) from None


def _worded(error: dict[str, Any]) -> str:
    # Some of pydantic's own messages repeat the value.
    message = redacted(str(error["msg"]).removeprefix("Value error, "))
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    value = os.environ.get(variable(name), "")
    shown = HIDDEN if name in SECRETS else redacted(repr(value))
    allowed = Settings.model_fields[name].description
    return f"{variable(name)}={shown}: {message} ({allowed})"


def unknown_variables() -> dict[str, str | None]:
    """Variables with the prefix that are no settings, each with the most similar one that is."""
    known = {variable(name) for name in Settings.model_fields}
    known |= {f"{variable(name)}_FILE" for name in SECRETS}
    # The common prefix would make all names look similar.
    endings = [name.removeprefix(PREFIX) for name in known]
    return {
        name: next(
            (PREFIX + e for e in difflib.get_close_matches(name.removeprefix(PREFIX), endings)),
            None,
        )
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known
    }


def shown(settings: Settings) -> dict[str, str]:
    """Map each variable to its effective value as text; secrets are hidden, also in URLs."""
    values = settings.model_dump(mode="json")
    values["pseudonym_key_file"] = str(settings.key_file)
    return {
        variable(name): (HIDDEN if getattr(settings, name).get_secret_value() else "")
        if name in SECRETS
        else redacted(str(values[name]))
        for name in Settings.model_fields
    }


def default_of(name: str) -> str:
    """A setting's default, in the form in which an operator writes it."""
    return shown(Settings.model_construct())[variable(name)]
