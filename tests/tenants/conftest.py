"""A database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.tenants.migrating import own_database


@pytest.fixture
def owner() -> Iterator[BaseDatabaseWrapper]:
    """The owner's connection, to an empty database of its own."""
    with own_database() as connection:
        yield connection
