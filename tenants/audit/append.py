"""Appends a record in the caller's own transaction, so that a change and its record stand or fall together.

For changes of configuration. Calls of tools go through ``tenants.audit.writer``, which waits for no one's
transaction.
"""

from __future__ import annotations

from tenants.audit.chain import GENESIS, link
from tenants.audit.records import (
    ACTOR_CHARACTERS,
    KIND_CHARACTERS,
    OUTCOME_CHARACTERS,
    REQUEST_ID_CHARACTERS,
    SERVER_CHARACTERS,
    TOOL_CHARACTERS,
    Entry,
    column,
    encode,
    to_datetime,
)
from tenants.models import AuditHead, AuditRecord
from tenants.scoping import TenantScopeMissing, current_tenant_id


def append_entry(entry: Entry, *, tenant_id: int) -> int:
    """Add ``entry`` to the chain of the tenant in scope, and give its sequence number.

    Holds the tenant's head until the transaction ends, which other writers of this tenant wait for: make it
    the last statement of a short transaction. Raises ``TenantScopeMissing`` outside that tenant's scope.
    """
    if current_tenant_id() != tenant_id:
        raise TenantScopeMissing("a record of another tenant cannot be written in this scope")
    head = _lock_head(tenant_id)
    body = encode(entry)
    seq = head.seq + 1
    digest = link(bytes(head.hash), tenant_id, seq, entry.at, body)
    AuditRecord.objects.create(
        tenant_id=tenant_id,
        seq=seq,
        at=to_datetime(entry.at),
        kind=column(entry.kind, KIND_CHARACTERS),
        outcome=column(entry.outcome, OUTCOME_CHARACTERS),
        actor=column(entry.actor, ACTOR_CHARACTERS),
        credential_id=entry.credential_id,
        server=column(entry.server, SERVER_CHARACTERS),
        tool=column(entry.tool, TOOL_CHARACTERS),
        request_id=column(entry.request_id, REQUEST_ID_CHARACTERS),
        duration_us=entry.duration_us,
        intent_seq=entry.intent,
        body=body,
        hash=digest,
    )
    AuditHead.objects.filter(tenant_id=tenant_id).update(seq=seq, hash=digest)
    return seq


def _lock_head(tenant_id: int) -> AuditHead:
    head = AuditHead.objects.select_for_update().filter(tenant_id=tenant_id).first()
    if head is None:
        # The tenant's first record. Two at once both try; one wins, and both then take turns on its row.
        AuditHead.objects.bulk_create(
            [AuditHead(tenant_id=tenant_id, seq=0, hash=GENESIS)], ignore_conflicts=True
        )
        head = AuditHead.objects.select_for_update().get(tenant_id=tenant_id)
    return head
