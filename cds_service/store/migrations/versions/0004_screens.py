"""What a user saw last at order-select, for some minutes, so that signing does not say it again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "screens",
        sa.Column("screen", sa.String(100), primary_key=True),
        sa.Column("findings", sa.JSON, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_screens_seen_at", "screens", ["seen_at"])


def downgrade() -> None:
    """Drop it. The service never calls this."""
    op.drop_table("screens")
