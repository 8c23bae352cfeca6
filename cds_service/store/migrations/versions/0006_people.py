"""People of the console, their sessions, and the audit log, whose rows are never changed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, and have every change of a line of the log refused."""
    op.create_table(
        "people",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("password", sa.String(300)),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("subject", sa.String(600)),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("signed_in_at", MOMENT),
        sa.UniqueConstraint("subject", name="uq_people_subject"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("person", sa.String(100)),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
    )
    op.create_index("ix_sessions_seen_at", "sessions", ["seen_at"])
    op.create_index("ix_sessions_person", "sessions", ["person"])
    op.create_table(
        "sign_in_codes",
        sa.Column("code", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
    )
    op.create_table(
        "sign_in_tries",
        sa.Column("who", sa.String(100), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("until", MOMENT, nullable=False),
    )
    op.create_index("ix_sign_in_tries_last_at", "sign_in_tries", ["last_at"])
    op.create_table(
        "audit_lines",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("person", sa.String(100), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("target", sa.String(300), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("before", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("ix_audit_lines_at", "audit_lines", ["at"])
    for change in ("UPDATE", "DELETE"):
        start = f"CREATE TRIGGER audit_lines_no_{change.lower()} BEFORE {change} ON audit_lines"
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"{start} FOR EACH ROW EXECUTE FUNCTION never_changed()")
        else:
            op.execute(f"{start} BEGIN SELECT RAISE(ABORT, 'rows of audit_lines are never changed'); END")


def downgrade() -> None:
    """Drop them. The service never calls this."""
    for table in ("audit_lines", "sign_in_tries", "sign_in_codes", "sessions", "people"):
        op.drop_table(table)
