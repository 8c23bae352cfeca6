"""Alembic's entry: run on the connection and in the transaction that `schema.upgrade` opened and locked."""

from alembic import context

from cds_service.store.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
