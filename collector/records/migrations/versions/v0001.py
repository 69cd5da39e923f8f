"""Records and what parsers found in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def upgrade() -> None:
    """Create the tables. A killed process may have created some: SQLite commits each at once."""
    op.create_table(
        "records",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("stamp", sa.BigInteger, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("ts_capture", sa.BigInteger, nullable=False),
        *_texts("machine_id", "machine_type", "arch", "build", "classification", "kernel_version"),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        sa.Column("record_format_version", sa.SmallInteger, nullable=False),
        sa.Column("payload_format_version", sa.Integer, nullable=False),
        *_texts("system_name", "board_name", "bios_version", "cpu_model", "event_id"),
        sa.Column("external", sa.Boolean, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_table(
        "findings",
        sa.Column(
            "stamp",
            sa.BigInteger,
            sa.ForeignKey("records.stamp", ondelete="CASCADE"),
            primary_key=True,
        ),
        *_texts("parser", "version", "kind", "label", "detail"),
        if_not_exists=True,
    )
    for name, table, columns in (
        ("ix_records_owner", "records", ["owner"]),
        ("ix_records_machine_id", "records", ["machine_id"]),
        ("ix_records_classification", "records", ["classification", "id"]),
        ("ix_records_build", "records", ["build", "id"]),
        ("ix_findings_label", "findings", ["kind", "label"]),
    ):
        op.create_index(name, table, columns, if_not_exists=True)
