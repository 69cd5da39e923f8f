"""Tables of the records store. `migrations` create them; a test compares both."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

METADATA: Final = MetaData()

# SQLite numbers rows by itself only in a column that is exactly INTEGER.
_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")

RECORDS: Final = Table(
    "records",
    METADATA,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("stamp", BigInteger, nullable=False, unique=True),
    Column("owner", Text, nullable=False, index=True),
    Column("ts_capture", BigInteger, nullable=False),
    Column("machine_id", Text, nullable=False, index=True),
    Column("machine_type", Text, nullable=False),
    Column("arch", Text, nullable=False),
    Column("build", Text, nullable=False),
    Column("classification", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("kernel_version", Text, nullable=False),
    Column("record_format_version", SmallInteger, nullable=False),
    Column("payload_format_version", Integer, nullable=False),
    Column("system_name", Text, nullable=False),
    Column("board_name", Text, nullable=False),
    Column("bios_version", Text, nullable=False),
    Column("cpu_model", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("external", Boolean, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("ix_records_classification", "classification", "id"),
    Index("ix_records_build", "build", "id"),
    sqlite_autoincrement=True,
)

FINDINGS: Final = Table(
    "findings",
    METADATA,
    Column("stamp", BigInteger, ForeignKey(RECORDS.c.stamp, ondelete="CASCADE"), primary_key=True),
    Column("parser", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_findings_label", "kind", "label"),
)
"""Findings of parsers in payloads, at most one row for each record. `version` changes when the same
payload may give another finding, `detail` is a JSON object."""
