"""A shown card names its rule, which was called a page."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the two columns and their index; every row keeps what it holds."""
    op.drop_index("ix_shown_cards_page_shown_at", "shown_cards")
    op.alter_column("shown_cards", "page", new_column_name="rule")
    op.alter_column("shown_cards", "page_version", new_column_name="rule_version")
    op.create_index("ix_shown_cards_rule_shown_at", "shown_cards", ["rule", "shown_at"])


def downgrade() -> None:
    """Rename them back. The service never calls this."""
    op.drop_index("ix_shown_cards_rule_shown_at", "shown_cards")
    op.alter_column("shown_cards", "rule", new_column_name="page")
    op.alter_column("shown_cards", "rule_version", new_column_name="page_version")
    op.create_index("ix_shown_cards_page_shown_at", "shown_cards", ["page", "shown_at"])
