"""Records what auditors look at: each search, and each record that is opened, in the log that they look at.

The same look by the same person within a minute is recorded once, so that leafing through pages does not fill the log.
That is remembered in Redis; without it each look is recorded.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final

import redis

from tenants.access import Caller
from tenants.audit.records import canonical
from tenants.changes import redis_client
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change

SEARCHED: Final = "log.searched"
OPENED: Final = "record.opened"

REPEATED_SECONDS: Final = 60

_log = logging.getLogger(__name__)


def note_look(kind: str, what: Mapping[str, Any], *, caller: Caller) -> None:
    """Record a look of an auditor's, before anything of it is shown; of anybody else nothing.

    In a transaction of its own: the record is durable when this returns.
    """
    if not caller.auditing:
        return
    place = _place(kind, what, caller)
    if _seen(place):
        return
    with tenant_scope(caller.tenant_id):
        record_change(kind, caller=caller, after=what)
    # Only now: a look whose record was not written is not taken for one that was.
    _remember(place)


def _place(kind: str, what: Mapping[str, Any], caller: Caller) -> str:
    """Where a look stands in Redis, which holds nothing of it."""
    said = canonical([caller.tenant_id, caller.actor, str(caller.credential_id), kind, what])
    return f"marina:looked:{hashlib.sha256(said).hexdigest()}"


def _seen(place: str) -> bool:
    try:
        return redis_client().exists(place) == 1
    except redis.RedisError:
        return False


def _remember(place: str) -> None:
    try:
        redis_client().set(place, 1, ex=REPEATED_SECONDS)
    except redis.RedisError:
        _log.warning("a look is not remembered: Redis did not take it")
