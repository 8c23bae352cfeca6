"""Drafts of the site values, and each of them as it was before its edits."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    moment, number = sa.DateTime(timezone=True), sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "drafts",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("title", sa.String(300), nullable=False),
        sa.Column("owner", sa.String(300), nullable=False),
        sa.Column("authors", sa.JSON, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("based_on", sa.Integer, nullable=False),
        sa.Column("in_force_from", moment),
        sa.Column("in_force_until", moment),
        sa.Column("effect", sa.JSON),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("changed_by", sa.String(300), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("approved_by", sa.String(300)),
        sa.Column("approved_at", moment),
        sa.Column("approved_digest", sa.String(100)),
        sa.Column("published_as", sa.Integer),
        sa.Column("discarded_by", sa.String(300)),
        sa.Column("discarded_at", moment),
    )
    op.create_table(
        "draft_versions",
        sa.Column("draft", number, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("changed_by", sa.String(300), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
    )


def downgrade() -> None:
    """Drop them. The service never calls this."""
    op.drop_table("draft_versions")
    op.drop_table("drafts")
