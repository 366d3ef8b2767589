"""Writes the log's records of configuration: changes in their own transaction, and refused attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from core.errors import Forbidden
from core.requestid import current_request_id
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.records import Entry, Reason
from tenants.scoping import tenant_scope

_waiting: Final[ContextVar[list[Entry] | None]] = ContextVar("marina_waiting_records", default=None)


@contextmanager
def records_last(tenant_id: int) -> Iterator[None]:
    """Append the records of all changes in this block when it ends, in the transaction that is open around it.

    A record holds up all other writers of the tenant's log until its transaction ends: of many changes that stand or
    fall together, none may do so before the last is made. Where the block raises, nothing is recorded.
    """
    entries: list[Entry] = []
    token = _waiting.set(entries)
    try:
        yield
    finally:
        _waiting.reset(token)
    for entry in entries:
        append_entry(entry, tenant_id=tenant_id)


def record_change(
    kind: str,
    *,
    caller: Caller,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    server: str = "",
    tool: str = "",
) -> None:
    """Record that ``caller`` changed something: what it was and what it is, free of secrets.

    The caller of this function hands over showable values only; nothing is masked here.
    """
    states: dict[str, Any] = {}
    if before is not None:
        states["before"] = dict(before)
    if after is not None:
        states["after"] = dict(after)
    entry = Entry(
        kind=kind,
        outcome="ok",
        actor=caller.actor,
        credential_id=caller.credential_id,
        server=server,
        tool=tool,
        arguments=states,
        request_id=current_request_id(),
    )
    waiting = _waiting.get()
    if waiting is not None:
        waiting.append(entry)
        return
    append_entry(entry, tenant_id=caller.tenant_id)


def record_refusal(kind: str, error: Forbidden, *, operation: str, caller: Caller) -> None:
    """Record that a rule refused ``caller`` something other than a call, in a transaction of its own."""
    with tenant_scope(caller.tenant_id):
        append_entry(
            Entry(
                kind=kind,
                outcome="refused",
                actor=caller.actor,
                credential_id=caller.credential_id,
                arguments={"operation": operation},
                reason=Reason(code=error.code, rule=error.rule, message=error.message),
                request_id=current_request_id(),
            ),
            tenant_id=caller.tenant_id,
        )
