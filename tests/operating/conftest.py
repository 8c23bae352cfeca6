"""What the tests of operating take from others."""

from tests.store.conftest import postgres  # noqa: F401 - a fixture
