"""First tables: shown cards, feedback, seen tokens, write check."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the four tables and their indexes."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "shown_cards",
        sa.Column("card", sa.String(100), nullable=False),
        sa.Column("page", sa.String(100), nullable=False),
        sa.Column("page_version", sa.String(100), nullable=False),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("hook", sa.String(100), nullable=False),
        sa.Column("indicator", sa.String(20), nullable=False),
        sa.Column("client", sa.String(300), nullable=False),
        sa.Column("shown_at", moment, nullable=False),
        sa.Column("software_version", sa.String(100), nullable=False),
        sa.Column("content_version", sa.String(100), nullable=False),
        sa.Column("site_revision", sa.String(100), nullable=False),
        sa.Column("subject_hash", sa.String(100), nullable=False),
        sa.Column("finding_hash", sa.String(100), nullable=False),
        sa.Column("suggestions", sa.JSON(), nullable=False),
        sa.Column("override_reasons", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("card"),
    )
    op.create_index("ix_shown_cards_subject_hash_finding_hash", "shown_cards", ["subject_hash", "finding_hash"])
    op.create_index("ix_shown_cards_page_shown_at", "shown_cards", ["page", "shown_at"])
    op.create_table(
        "feedback",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("item_key", sa.String(64), nullable=False),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("client", sa.String(300), nullable=False),
        sa.Column("card", sa.String(100), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("outcome_at", moment, nullable=False),
        sa.Column("acted_at", moment, nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("received_count", sa.Integer(), nullable=False),
        sa.Column("suggestions", sa.JSON(), nullable=False),
        sa.Column("card_match", sa.String(20), nullable=False),
        sa.Column("reason_code", sa.String(200), nullable=True),
        sa.Column("reason_system", sa.String(400), nullable=True),
        sa.Column("reason_display", sa.String(400), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("comment_cut", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("item_key", name="uq_feedback_item_key"),
    )
    op.create_index("ix_feedback_card", "feedback", ["card"])
    op.create_index("ix_feedback_card_match_received_at", "feedback", ["card_match", "received_at"])
    op.create_table(
        "seen_tokens",
        sa.Column("issuer", sa.String(300), nullable=False),
        sa.Column("jti", sa.String(300), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "jti"),
    )
    op.create_index("ix_seen_tokens_expires_at", "seen_tokens", ["expires_at"])
    op.create_table(
        "write_check",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("filler", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Drop what `upgrade` made. The service never calls this."""
    for name in ("write_check", "seen_tokens", "feedback", "shown_cards"):
        op.drop_table(name)
