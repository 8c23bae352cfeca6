"""Revisions of the site values. They are never changed, which the database holds too."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("revisions", "withdrawals")


def upgrade() -> None:
    """Create both tables, and have every change of a row refused."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "revisions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("digest", sa.String(100), nullable=False),
        sa.Column("author", sa.String(300), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("in_force_from", moment, nullable=False),
        sa.Column("in_force_until", moment),
        sa.Column("based_on", sa.Integer, nullable=False),
        sa.Column("approved_by", sa.String(300)),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.Column("effect", sa.JSON),
    )
    op.create_table(
        "withdrawals",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("withdrawn_by", sa.String(300), nullable=False),
        sa.Column("withdrawn_at", moment, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION never_changed() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$"
        )
    for table in TABLES:
        for change in ("UPDATE", "DELETE"):
            name = f"{table}_no_{change.lower()}"
            if op.get_bind().dialect.name == "postgresql":
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH ROW EXECUTE FUNCTION never_changed()"
                )
            else:
                op.execute(
                    f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
                )


def downgrade() -> None:
    """Drop them. The service never calls this."""
    for table in TABLES:
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION never_changed")
