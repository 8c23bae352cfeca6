"""The fingerprints of the keys that hashes were made with."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and write down the key of the newest card, with whose fingerprint its hashes begin."""
    made = op.create_table(
        "hash_keys",
        sa.Column("fingerprint", sa.String(100), primary_key=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )
    newest = "SELECT subject_hash FROM shown_cards ORDER BY shown_at DESC LIMIT 1"
    fingerprint, dot, _ = (op.get_bind().execute(sa.text(newest)).scalar() or "").partition(".")
    if dot:
        op.bulk_insert(made, [{"fingerprint": fingerprint, "since": datetime.now(UTC)}])


def downgrade() -> None:
    """Drop it. The service never calls this."""
    op.drop_table("hash_keys")
