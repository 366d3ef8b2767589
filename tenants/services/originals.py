"""A team's marks of what its calls were given before it was masked: their key, and having a claimed original confirmed.

The key is random, made when it is first wanted, and sealed under the master key, which may be rotated as for all that
is sealed: the key itself stays, so that what was marked years ago can still be confirmed.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from core.crypto import SealError
from core.errors import Conflict, RateLimited
from core.sealing import sealer
from tenants.access import Caller
from tenants.audit.originals import KEY_BYTES, Detail, Marks
from tenants.audit.records import canonical, decode
from tenants.models import OriginalsKey, Tenant
from tenants.roles import Action
from tenants.scoping import current_tenant_id, tenant_scope
from tenants.services.counting import Counter, count
from tenants.services.log import find_record
from tenants.services.recording import record_change

MAX_CONFIRMATIONS: Final = 60
"""Of one caller in an hour: whoever may ask without end could try guesses."""

_HOUR: Final = 3600

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Whether a record's arguments were those that were claimed."""

    seq: int
    matches: bool


def read_detail(tenant: Tenant) -> Detail:
    """What is kept of this team's calls beside their masked arguments. In the tenant's scope."""
    return Detail(open_marks(), tenant.preview_characters)


def open_marks() -> Marks | None:
    """The marks of the tenant in scope, whose key is made where there is none. ``None``: its key does not open."""
    row = OriginalsKey.objects.first() or _make_key()
    try:
        return Marks(sealer().open(bytes(row.sealed), context=row.seal_context))
    except (SealError, ValueError):
        _log.critical("a team's key of originals does not open", extra={"tenant_id": row.tenant_id})
        return None


def confirm_original(seq: int, arguments: Mapping[str, Any], *, caller: Caller) -> Confirmation:
    """Whether these are the arguments that record ``seq`` was written of, before they were masked. It is recorded.

    Raises ``NotFound``, ``Conflict`` for a record without a mark, ``RateLimited``, and ``Unavailable`` while nobody can
    count how often it is asked.
    """
    caller.require(Action.AUDIT_READ)
    wait = count(
        [Counter("confirm", (str(caller.tenant_id), caller.actor), MAX_CONFIRMATIONS)],
        seconds=_HOUR,
        only_guard=True,
    )
    if wait:
        raise RateLimited(
            f"You asked {MAX_CONFIRMATIONS} times within the hour, which is as often as is allowed: this is for an "
            "original that you were told, not for trying.",
            retry_after=wait,
            rule="originals:rate",
        )
    with tenant_scope(caller.tenant_id):
        mark = decode(bytes(find_record(seq).body)).get("hmac")
        marks = open_marks()
        if not mark or marks is None:
            raise Conflict(
                f"Record {seq} has no mark of its originals to compare with: it is of no call, or of one that was "
                "refused, or was written before there were any.",
                code="no_mark",
            )
        matches = any(
            hmac.compare_digest(marks.of(each).encode(), mark.encode()) for each in _readings(arguments)
        )
        record_change("record.confirmed", caller=caller, after={"seq": seq, "matches": matches})
    return Confirmation(seq, matches)


def _readings(arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The arguments, and as MCP clients' are read: there a whole number beyond 64 bits is a fraction."""
    try:
        return [arguments, orjson.loads(canonical(arguments))]
    except (RecursionError, TypeError, ValueError):
        return [arguments]


def _make_key() -> OriginalsKey:
    # Two processes at once both try; one wins, and both have its key.
    row = OriginalsKey(tenant_id=current_tenant_id())
    row.sealed = sealer().seal(secrets.token_bytes(KEY_BYTES), context=row.seal_context)
    OriginalsKey.objects.bulk_create([row], ignore_conflicts=True)
    return OriginalsKey.objects.get()
