"""The image takes longest, so it comes first, beside all the rest."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "tests/image/" not in item.path.as_posix())
