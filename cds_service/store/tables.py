"""The tables. No column holds an identifier, name or value of a patient; `migrations` holds how they came to be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

VERSION_TABLE = "magnesium_cds_schema"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC to the microsecond. SQLite has no zones: there it is UTC text, which sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time (a fault of the caller); give SQLite naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER key

shown_cards = Table(
    "shown_cards",
    metadata,
    Column("card", String(100), primary_key=True),
    Column("rule", String(100), nullable=False),
    Column("rule_version", String(100), nullable=False),
    Column("service", String(100), nullable=False),
    Column("hook", String(100), nullable=False),
    Column("indicator", String(20), nullable=False),
    Column("client", String(300), nullable=False),
    Column("shown_at", UtcDateTime, nullable=False),
    Column("software_version", String(100), nullable=False),
    Column("content_version", String(100), nullable=False),
    Column("site_revision", String(100), nullable=False),
    Column("subject_hash", String(100), nullable=False),
    Column("finding_hash", String(100), nullable=False),
    Column("suggestions", JSON, nullable=False),
    Column("override_reasons", JSON, nullable=False),
    Index(None, "subject_hash", "finding_hash"),
    Index(None, "rule", "shown_at"),
    Index(None, "shown_at"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("item_key", String(64), nullable=False),
    Column("service", String(100), nullable=False),
    Column("client", String(300), nullable=False),
    Column("card", String(100), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("outcome_at", UtcDateTime, nullable=False),
    Column("acted_at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("received_count", Integer, nullable=False),
    Column("suggestions", JSON, nullable=False),
    Column("card_match", String(20), nullable=False),
    Column("reason_code", String(200)),
    Column("reason_system", String(400)),
    Column("reason_display", String(400)),
    Column("comment", Text),
    Column("comment_cut", Boolean, nullable=False),
    UniqueConstraint("item_key"),
    Index(None, "card"),
    Index(None, "card_match", "received_at"),
)

# What stands on one user's screen from one service for one patient, as keyed hashes; forgotten after an hour.
screens = Table(
    "screens",
    metadata,
    Column("screen", String(100), primary_key=True),
    Column("findings", JSON, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Index(None, "seen_at"),
)

seen_tokens = Table(
    "seen_tokens",
    metadata,
    Column("issuer", String(300), primary_key=True),
    Column("jti", String(300), primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

# What this hospital set, in one document each. Rows are added and never changed: the database refuses it too.
revisions = Table(
    "revisions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("digest", String(100), nullable=False),
    Column("author", String(300), nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("in_force_from", UtcDateTime, nullable=False),
    Column("in_force_until", UtcDateTime),
    Column("based_on", Integer, nullable=False),
    Column("approved_by", String(300)),
    Column("changes", JSON, nullable=False),
    Column("effect", JSON),
)

# Revisions that were taken back before their time came.
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("withdrawn_by", String(300), nullable=False),
    Column("withdrawn_at", UtcDateTime, nullable=False),
)

# The keys that hashes were made with, by their fingerprints. The newest is in use: a service with another refuses to
# start, since what was dismissed would silence nothing and links to plans would end.
hash_keys = Table(
    "hash_keys",
    metadata,
    Column("fingerprint", String(100), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
)

# Site values that are being worked on. `version` counts the edits: who saves names the one that they started from. An
# approval holds for `approved_digest`, so that an edit ends it. What was published or discarded stays on record.
drafts = Table(
    "drafts",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("title", String(300), nullable=False),
    Column("owner", String(300), nullable=False),
    Column("authors", JSON, nullable=False),
    Column("document", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("based_on", Integer, nullable=False),
    Column("in_force_from", UtcDateTime),
    Column("in_force_until", UtcDateTime),
    Column("effect", JSON),
    Column("version", Integer, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("changed_by", String(300), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("approved_by", String(300)),
    Column("approved_at", UtcDateTime),
    Column("approved_digest", String(100)),
    Column("published_as", Integer),
    Column("discarded_by", String(300)),
    Column("discarded_at", UtcDateTime),
)

# Each draft as it was before its edits, to tell what two editors both started from.
draft_versions = Table(
    "draft_versions",
    metadata,
    Column("draft", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("changed_by", String(300), nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

# Sums of one hour of one client's calls to one service; `hour` is its beginning. What kinds there are, and what `name`
# and `detail` then hold, stands in `hooks/tally.py`: words of closed lists, never a word of the EHR's.
call_counts = Table(
    "call_counts",
    metadata,
    Column("hour", UtcDateTime, primary_key=True),
    Column("client", String(300), primary_key=True),
    Column("service", String(100), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("detail", String(100), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# The same of each rule that was not quiet in all of them.
rule_counts = Table(
    "rule_counts",
    metadata,
    Column("hour", UtcDateTime, primary_key=True),
    Column("client", String(300), primary_key=True),
    Column("service", String(100), primary_key=True),
    Column("rule", String(100), primary_key=True),
    Column("fired", BigInteger, nullable=False),
    Column("lead", BigInteger, nullable=False),
    Column("beneath", BigInteger, nullable=False),
    Column("not_evaluated", BigInteger, nullable=False),
    Column("not_applicable", BigInteger, nullable=False),
    Column("fault", BigInteger, nullable=False),
    Index(None, "rule", "hour"),
)

# What the watch found. One that is open has no end; there is one open alarm of a kind and subject at most.
alarms = Table(
    "alarms",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    Column("kind", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("client", String(300), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("acknowledged_by", String(300)),
    Column("acknowledged_at", UtcDateTime),
    Column("reason", Text),
    Column("details", JSON, nullable=False),
    Index(None, "opened_at"),
)
Index(
    "uq_alarms_open",
    alarms.c.kind, alarms.c.subject, alarms.c.client,
    unique=True,
    sqlite_where=alarms.c.closed_at.is_(None),
    postgresql_where=alarms.c.closed_at.is_(None),
)  # fmt: skip

# What one process does for all of them: who holds it until when, and what came of it last.
duties = Table(
    "duties",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("holder", String(100), nullable=False),
    Column("held_until", UtcDateTime, nullable=False),
    Column("done_at", UtcDateTime),
    Column("result", JSON),
)

# Who may use the console. `password` is an argon2id hash; null: none was chosen yet, or the person signs in elsewhere,
# as the `subject` of an issuer. A session of an older `epoch` has ended.
people = Table(
    "people",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("password", String(300)),
    Column("roles", JSON, nullable=False),
    Column("subject", String(600)),
    Column("epoch", Integer, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("signed_in_at", UtcDateTime),
    UniqueConstraint("subject"),
)

# One row for each browser that is signed in, or on its way. `id` is a hash: who reads the table cannot be anybody.
sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("person", String(100)),
    Column("epoch", Integer, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("data", JSON, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Index(None, "seen_at"),
    Index(None, "person"),
)

# Codes with which a person chooses a password, once, as hashes. An empty name: the first admin.
sign_in_codes = Table(
    "sign_in_codes",
    metadata,
    Column("code", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("until", UtcDateTime, nullable=False),
)

# Sign-ins that failed, by a keyed hash of the name or of the address: how often, and until when none is tried.
sign_in_tries = Table(
    "sign_in_tries",
    metadata,
    Column("who", String(100), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=False),
    Index(None, "last_at"),
)

# What was done in the console. Each line holds the hash of the one before; the database refuses every change.
audit_lines = Table(
    "audit_lines",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("person", String(100), nullable=False),
    Column("action", String(100), nullable=False),
    Column("target", String(300), nullable=False),
    Column("details", Text, nullable=False),
    Column("before", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "at"),
)

# One row, rewritten to learn whether a store that failed can be written again; never read.
write_check = Table(
    "write_check", metadata, Column("id", Integer, primary_key=True), Column("filler", Text, nullable=False)
)


def upsert(dialect: str, table: Table) -> Any:
    """The insert that knows ON CONFLICT: both databases have it in the same words, SQLAlchemy in two modules, of which
    only the one of this `dialect` is loaded."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert

        return insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
