"""A PostgreSQL server of our own, as the tests of the store have it."""

from tests.store.conftest import postgres

__all__ = ["postgres"]
