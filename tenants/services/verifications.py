"""Verifications of a team's log that somebody asks for: the row first, then a worker that finds out. Knows no Celery.

A surface calls ``tenants.checkpoint_tasks.enqueue_verification`` with the row that ``start_verification`` gives. A
worker claims it with a lease and a fence, as exports are claimed; what it found is a record of the log itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from core.errors import NotFound
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.checking import Verdict, check_log
from tenants.audit.records import Entry, Reason
from tenants.models import AuditVerification
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.checkpoints import looking_alone
from tenants.services.log_keys import KeysDoNotOpen, open_keys

LEASE: Final = timedelta(seconds=60)
HINT_GRACE: Final = timedelta(seconds=5)
MAX_CLAIMS: Final = 5
LISTED: Final = 20

_OPEN: Final = (AuditVerification.Status.QUEUED, AuditVerification.Status.RUNNING)
_LOCK: Final = 0x76657269

_UNCLAIMED: Final = """
SELECT tenant_id, id FROM tenants_auditverification
WHERE (status = 'queued' AND created_at < %s) OR (status = 'running' AND lease_until < now())
ORDER BY created_at"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Claim:
    tenant_id: int
    verification_id: UUID
    fence: int
    requested_by: str


class _LeaseLost(Exception):
    """Another worker has claimed the verification meanwhile."""


def start_verification(*, caller: Caller) -> AuditVerification:
    """Ask whether the team's log is whole. Where somebody has asked already, and waits still, it is that one."""
    caller.require(Action.AUDIT_READ)
    try:
        with tenant_scope(caller.tenant_id):
            return AuditVerification.objects.create(requested_by=caller.actor[:200])
    except IntegrityError:
        with tenant_scope(caller.tenant_id):
            waiting = AuditVerification.objects.filter(status__in=_OPEN).first()
        # It may have ended between the two.
        return waiting if waiting is not None else start_verification(caller=caller)


def list_verifications(*, caller: Caller) -> list[AuditVerification]:
    """The team's newest verifications."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return list(AuditVerification.objects.all()[:LISTED])


def get_verification(verification_id: UUID, *, caller: Caller) -> AuditVerification:
    """One verification. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        found = AuditVerification.objects.filter(id=verification_id).first()
    if found is None:
        raise NotFound("There is no such verification in this team.", code="verification_not_found")
    return found


def describe_verification(row: AuditVerification) -> str:
    """Where a verification stands, and what it found, in sentences for a person."""
    match row.status:
        case AuditVerification.Status.QUEUED:
            return "The verification waits for a worker. Ask again in a few seconds."
        case AuditVerification.Status.RUNNING:
            return f"{row.looked} records were looked at so far. Ask again in a few seconds."
    return row.result


def find_unclaimed() -> list[tuple[int, UUID]]:
    """Verifications of all tenants that wait although nobody works on them: tenant and id."""
    with looking_alone(_LOCK) as connection:
        if connection is None:
            return []
        rows = connection.execute(_UNCLAIMED, [timezone.now() - HINT_GRACE])
        return [(tenant_id, verification_id) for tenant_id, verification_id in rows]


def run_verification(tenant_id: int, verification_id: UUID) -> bool:
    """Claim and make one verification. False when there was nothing to claim, or another worker took it over.

    Safe to call at any time and any number of times; an id of another tenant is an unknown one.
    """
    claim = _claim(tenant_id, verification_id)
    if claim is None:
        return False
    try:
        verdict = check_log(
            tenant_id, public_keys=open_keys().public, after_window=lambda seq: _renew(claim, seq)
        )
    except _LeaseLost:
        return False
    except KeysDoNotOpen:
        return _finish(
            claim,
            status=AuditVerification.Status.FAILED,
            result="None of the keys that signed the checkpoints opens: an operator should check the master key.",
        )
    return _finish_with(claim, verdict)


def told(verdict: Verdict) -> str:
    """A verdict as sentences for a person."""
    if verdict.problems:
        return " ".join(f"{problem[:1].upper()}{problem[1:]}" for problem in verdict.problems)
    if not verdict.head.seq:
        return "The log is empty."
    words = f"The log is whole: {verdict.records}. Its head is {verdict.head.hash.hex()}."
    if verdict.newest_at is None:
        return f"{words} It has no checkpoint yet."
    checkpoints = (
        "Its checkpoint fits" if verdict.checkpoints == 1 else f"All {verdict.checkpoints} checkpoints fit"
    )
    return f"{words} {checkpoints}; the newest statement is of {verdict.newest_at:%Y-%m-%d %H:%M:%S} UTC."


def _claim(tenant_id: int, verification_id: UUID) -> _Claim | None:
    with tenant_scope(tenant_id):
        claimable = Q(status=AuditVerification.Status.QUEUED) | Q(
            status=AuditVerification.Status.RUNNING, lease_until__lt=Now()
        )
        claimed = AuditVerification.objects.filter(claimable, id=verification_id).update(
            status=AuditVerification.Status.RUNNING, fence=F("fence") + 1, lease_until=Now() + LEASE, looked=0
        )
        if claimed != 1:
            return None
        row = AuditVerification.objects.get(id=verification_id)
    claim = _Claim(tenant_id, verification_id, row.fence, row.requested_by)
    if row.fence > MAX_CLAIMS:
        _finish(
            claim,
            status=AuditVerification.Status.FAILED,
            result=f"It was tried {MAX_CLAIMS} times and its worker ended each time: tell an operator.",
        )
        return None
    return claim


def _renew(claim: _Claim, looked: int) -> None:
    with tenant_scope(claim.tenant_id):
        if _held(claim).update(lease_until=Now() + LEASE, looked=looked) != 1:
            raise _LeaseLost


def _finish(claim: _Claim, **values: object) -> bool:
    with tenant_scope(claim.tenant_id):
        return _held(claim).update(finished_at=timezone.now(), lease_until=None, **values) == 1


def _finish_with(claim: _Claim, verdict: Verdict) -> bool:
    words = told(verdict)
    whole = verdict.is_whole
    with tenant_scope(claim.tenant_id):
        finished = _held(claim).update(
            finished_at=timezone.now(),
            lease_until=None,
            status=AuditVerification.Status.DONE,
            whole=whole,
            looked=verdict.head.seq,
            records=verdict.head.seq,
            checkpoints=verdict.checkpoints,
            result=words,
        )
        if finished != 1:
            return False
        append_entry(
            Entry(
                kind="log.verified",
                outcome="ok" if whole else "error",
                actor=claim.requested_by,
                arguments={
                    "after": {
                        "id": str(claim.verification_id),
                        "whole": whole,
                        "records": verdict.head.seq,
                        "head": verdict.head.hash.hex(),
                        "checkpoints": verdict.checkpoints,
                    }
                },
                reason=None if whole else Reason(code="log_broken", message=words),
            ),
            tenant_id=claim.tenant_id,
        )
    if not whole:
        _log.critical("a log is not whole", extra={"tenant_id": claim.tenant_id, "why": words})
    return True


def _held(claim: _Claim) -> QuerySet[AuditVerification]:
    return AuditVerification.objects.filter(
        id=claim.verification_id, fence=claim.fence, status=AuditVerification.Status.RUNNING
    )
