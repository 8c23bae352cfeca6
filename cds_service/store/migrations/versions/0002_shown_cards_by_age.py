"""Shown cards are found by their age, so that old ones can be deleted."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_shown_cards_shown_at", "shown_cards", ["shown_at"])


def downgrade() -> None:
    """Drop it. The service never calls this."""
    op.drop_index("ix_shown_cards_shown_at", "shown_cards")
