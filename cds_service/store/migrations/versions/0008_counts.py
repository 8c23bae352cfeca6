"""Counts of calls and rules by the hour, alarms, and duties that one process has for all."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LABELS = (("client", 300), ("service", 100))


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def upgrade() -> None:
    """Create the tables."""
    moment = sa.DateTime(timezone=True)
    row_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

    def key(*more: tuple[str, int]) -> list[sa.Column[Any]]:
        words: list[sa.Column[Any]] = [
            sa.Column(name, sa.String(size), primary_key=True) for name, size in (*LABELS, *more)
        ]
        return [sa.Column("hour", moment, primary_key=True), *words]

    op.create_table("call_counts", *key(("kind", 20), ("name", 100), ("detail", 100)), _number("number"))
    columns = ("fired", "lead", "beneath", "not_evaluated", "not_applicable", "fault")
    op.create_table("rule_counts", *key(("rule", 100)), *map(_number, columns))
    op.create_index("ix_rule_counts_rule_hour", "rule_counts", ["rule", "hour"])
    op.create_table(
        "alarms",
        sa.Column("id", row_id, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("client", sa.String(300), nullable=False),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("closed_at", moment),
        sa.Column("acknowledged_by", sa.String(300)),
        sa.Column("acknowledged_at", moment),
        sa.Column("reason", sa.Text),
        sa.Column("details", sa.JSON, nullable=False),
    )
    op.create_index("ix_alarms_opened_at", "alarms", ["opened_at"])
    still_open = sa.text("closed_at IS NULL")
    op.create_index(
        "uq_alarms_open", "alarms", ["kind", "subject", "client"], unique=True,
        sqlite_where=still_open, postgresql_where=still_open,
    )  # fmt: skip
    op.create_table(
        "duties",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("holder", sa.String(100), nullable=False),
        sa.Column("held_until", moment, nullable=False),
        sa.Column("done_at", moment),
        sa.Column("result", sa.JSON),
    )


def downgrade() -> None:
    """Drop them. The service never calls this."""
    for table in ("call_counts", "rule_counts", "alarms", "duties"):
        op.drop_table(table)
