"""The id of the request being served, for records and log lines made deep inside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
"""What a client or a proxy may call its request."""

_request_id: ContextVar[str] = ContextVar("marina_request_id", default="")


def current_request_id() -> str:
    """The id of the request in progress; empty outside of one (a command, a scheduled task)."""
    return _request_id.get()


@contextmanager
def serving_request(request_id: str) -> Iterator[None]:
    """Name the request that everything inside belongs to."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)
