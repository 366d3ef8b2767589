"""Small windows and parts, so that a few hundred records make many of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenants.exports import making, reading


def make_small(setter: Callable[[Any, str, Any], None]) -> None:
    """Set them, by ``setattr`` or a test's ``monkeypatch.setattr``."""
    setter(making, "PART_RECORDS", 50)
    setter(making, "FIRST_WINDOW", 16)
    setter(making, "MAX_WINDOW", 16)
    setter(reading, "FETCH_RECORDS", 7)
