"""Tables of the records store. `migrations` create them; a test compares both."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()

# SQLite numbers rows by itself only in a column that is exactly INTEGER.
_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


RECORDS: Final = sa.Table(
    "records",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
    sa.Column("stamp", sa.BigInteger, nullable=False, unique=True),
    sa.Column("owner", sa.Text, nullable=False, index=True),
    sa.Column("ts_capture", sa.BigInteger, nullable=False),
    sa.Column("machine_id", sa.Text, nullable=False, index=True),
    *_texts("machine_type", "arch", "build", "classification"),
    sa.Column("severity", sa.SmallInteger, nullable=False),
    *_texts("kernel_version"),
    sa.Column("record_format_version", sa.SmallInteger, nullable=False),
    sa.Column("payload_format_version", sa.Integer, nullable=False),
    *_texts("system_name", "board_name", "bios_version", "cpu_model", "event_id"),
    sa.Column("external", sa.Boolean, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Index("ix_records_classification", "classification", "id"),
    sa.Index("ix_records_build", "build", "id"),
    sqlite_autoincrement=True,
)

FINDINGS: Final = sa.Table(
    "findings",
    METADATA,
    sa.Column(
        "stamp", sa.BigInteger, sa.ForeignKey(RECORDS.c.stamp, ondelete="CASCADE"), primary_key=True
    ),
    *_texts("parser", "version", "kind", "label", "detail"),
    sa.Index("ix_findings_label", "kind", "label"),
)
"""Findings of parsers in payloads, at most one row for each record. `version` changes when the same
payload may give another finding, `detail` is a JSON object."""
