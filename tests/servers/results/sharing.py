"""What tests of shared results begin with: a plan, a caller, a result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from servers.services.results.kept import Kept
from servers.services.results.plans import Shared
from tenants.access import Caller

CALLER = Caller(7, "seven", actor="key:one", credential_id=UUID(int=1))
SHARED = Shared(7, UUID(int=2), b"s" * 32, seconds=60, by_caller=False)


def planned(**changes: Any) -> Shared:
    return replace(SHARED, **changes)


def kept(text: str = "text", size: int = 0) -> Kept:
    return Kept(structured=b'{"a":1}', content=None, text=text + "x" * size, rows=1, size=5)
