"""Reading a tenant's log: search, one record, the calls that a call made. Writes only that an auditor looked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from core.errors import Conflict, InvalidInput, NotFound
from tenants.access import Caller
from tenants.audit.payloads import without_payload
from tenants.audit.query import (
    Filters,
    Period,
    clean_filters,
    clean_period,
    matching_records,
    without_outcome,
)
from tenants.audit.records import CALL_KINDS, INTENT, columns_of, decode
from tenants.audit.removed import tombstone_of
from tenants.audit.searching import Found, TooSlow, search
from tenants.models import AuditHead, AuditRecord
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, refuse
from tenants.services.looks import OPENED, SEARCHED, note_look
from tenants.services.recording import record_change

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
LISTED_CALLS: Final = 200
"""Of the calls that one call made, so many are shown beside it."""

FIRST_SECONDS: Final = 0.1
"""So long is looked for a first page: somebody has just asked, and sees what is there."""

MORE_SECONDS: Final = 2.0
"""So long is looked for one that goes on from another."""

SEARCH_SECONDS: Final = 5
"""What takes longer than this at a stretch is ended, with the advice to narrow it."""

SETTLED_AFTER: Final = timedelta(minutes=11)
"""A call runs for half a minute, and may wait ten for what it asks its client: an outcome that is not there by now
is not to come.
"""

MAX_REASON: Final = 500
"""Characters of the reason for which data is revealed."""
_LAST_SEQ: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record as people and programs read it. ``hash`` is its link in the chain, in hex.

    A call that may change something leaves two records: its intent, and an outcome that names the intent's number in
    ``intent_seq``. ``outcome_seq`` of the intent is the number of that outcome. ``parent_seq`` is the intent
    of the call that made this one. ``served_from`` says of a call that did not run itself where its result came from:
    ``cache``; ``same_run``, the run of another call made at the same time; or ``task``, the one of the same idempotency
    key. ``task`` is the id of the task that the call goes on as, ``schedule`` of the schedule that made it. ``hmac`` is
    the mark of the arguments before they were masked, ``preview`` the beginning of the result. ``payload_hidden``:
    arguments, their mark, preview and what an error said were taken out, for whoever reads it may not see them.
    """

    seq: int
    at: datetime
    kind: str
    outcome: str
    actor: str
    credential_id: UUID | None
    client: str
    server: str
    tool: str
    tool_version: int | None
    arguments: dict[str, Any] | None
    reason: dict[str, str] | None
    rows: int | None
    size: int | None
    truncated: bool
    duration_us: int
    request_id: str
    trace_id: str
    hash: str
    intent_seq: int | None
    outcome_seq: int | None
    parent_seq: int | None
    served_from: str
    task: str
    schedule: str
    hmac: str
    preview: str
    payload_hidden: bool

    @property
    def is_call(self) -> bool:
        """Whether an operation ran, or was to run, for a client."""
        return self.kind in CALL_KINDS

    @property
    def may_be_confirmed(self) -> bool:
        """Whether there is a mark to compare with, or may be one that is hidden."""
        return bool(self.hmac) or (self.payload_hidden and self.outcome != "refused")

    @property
    def outcome_unknown(self) -> bool:
        """Whether this is an intent without its outcome: the call runs still, or nobody knows how it ended."""
        return self.outcome == INTENT and self.outcome_seq is None

    @property
    def standing(self) -> str:
        """The outcome in words for a person. Only age tells a call that runs from one whose process was killed."""
        if not self.outcome_unknown:
            return self.outcome.replace("_", " ")
        if self.task:
            # It may take a day, and what became of it is asked of the task.
            return "runs as a task"
        return "outcome unknown" if timezone.now() - self.at > SETTLED_AFTER else "no outcome yet"


@dataclass(frozen=True, slots=True)
class LogPage:
    """Records, newest first. Where there are older ones, ``next_before`` is the ``before_seq`` to ask for next.

    ``reached``: the page is not full because the time for it was over. All from this record on was looked at; what is
    older was not yet, and ``next_before`` goes on there. ``reached_at`` is that record's time.
    """

    records: list[LogRecord]
    next_before: int | None
    reached: int | None = None
    reached_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a team's log goes: the number of its newest record, that one's hash, and the times at its ends."""

    newest_seq: int
    hash: str
    first_at: datetime | None
    newest_at: datetime | None


def read_extent(*, caller: Caller) -> Extent:
    """How far the team's log goes."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        head = AuditHead.objects.filter(tenant_id=caller.tenant_id).first()
        times = AuditRecord.objects.order_by("seq").values_list("at", flat=True)
        return Extent(
            newest_seq=0 if head is None else head.seq,
            hash="" if head is None else bytes(head.hash).hex(),
            first_at=times.first(),
            newest_at=times.last(),
        )


def search_records(
    *,
    caller: Caller,
    tool: str = "",
    outcome: str = "",
    kind: str = "",
    member: str = "",
    credential_id: UUID | str | None = None,
    text: str = "",
    from_at: datetime | None = None,
    to_at: datetime | None = None,
    before_seq: int | None = None,
    after_seq: int | None = None,
    limit: int = DEFAULT_LIMIT,
    settled: bool = False,
    noted: bool = True,
) -> LogPage:
    """The newest matching records older than ``before_seq`` and newer than ``after_seq``. Times: from ``from_at`` on,
    before ``to_at``.

    ``outcome`` may also be ``unknown``: intents whose outcome is not there. With ``settled`` an intent is left out once
    its outcome is there, so that each call is one record. Who may not see what calls were given and gave does not see
    it, and their ``text`` is not looked for there. An auditor's search is recorded first, unless it is not ``noted``:
    for counting what is new, which shows no record.

    A page is there in a fifth of a second, one with ``before_seq`` in some two: ``LogPage.reached`` says how far that
    was enough. Raises ``InvalidInput`` for a filter that cannot be, and when the database does not answer in 5 seconds.
    """
    caller.require(Action.AUDIT_READ)
    filters = clean_filters(
        {
            "tool": tool,
            "outcome": outcome,
            "kind": kind,
            "member": member,
            "credential_id": credential_id,
            "text": text,
        }
    )
    period = clean_period(from_at, to_at)
    if not 1 <= limit <= MAX_LIMIT:
        refuse("limit", f"must be from 1 to {MAX_LIMIT}.")
    if before_seq is not None and not 0 < before_seq <= _LAST_SEQ:
        refuse("before", "must be the number of a record, from 1 on.")
    payloads = caller.may(Action.AUDIT_PAYLOADS)
    if noted:
        note_look(SEARCHED, {**filters.to_json(), **_said(period)}, caller=caller)
    with tenant_scope(caller.tenant_id):
        found = _search(filters, period, before_seq, after_seq, limit + 1, settled=settled, payloads=payloads)
        page = _readable(found.rows[:limit], payloads=payloads)
        reached_at = None
        if found.reached is not None:
            later = AuditRecord.objects.filter(seq__gte=found.reached).order_by("seq")
            reached_at = later.values_list("at", flat=True).first()
    if found.reached is not None:
        return LogPage(page, found.reached, found.reached, reached_at)
    return LogPage(page, page[-1].seq if len(found.rows) > limit else None)


def get_record(seq: int, *, caller: Caller) -> LogRecord:
    """One record by its number, as the caller may see it. An auditor's look is recorded. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    found = _read(seq, caller, payloads=caller.may(Action.AUDIT_PAYLOADS))
    note_look(OPENED, {"seq": seq}, caller=caller)
    return found


def reveal_record(seq: int, reason: str, *, caller: Caller) -> LogRecord:
    """One record with what its call was given and gave, for who sees neither otherwise. Recorded, with the reason.

    Raises ``InvalidInput``, ``NotFound``, and ``Conflict`` where nothing is hidden.
    """
    caller.require(Action.AUDIT_READ)
    if not caller.may(Action.AUDIT_PAYLOADS):
        caller.require(Action.AUDIT_REVEAL)
    why = clean_text(reason, "reason", longest=MAX_REASON)
    if not _read(seq, caller, payloads=caller.may(Action.AUDIT_PAYLOADS)).payload_hidden:
        raise Conflict(f"Nothing of record {seq} is hidden from you.", code="nothing_hidden")
    with tenant_scope(caller.tenant_id):
        record_change("record.revealed", caller=caller, after={"seq": seq, "reason": why})
    return _read(seq, caller, payloads=True)


def find_record(seq: int) -> AuditRecord:
    """The stored record of this number, of the tenant in scope. Raises ``NotFound``."""
    known = 0 < seq <= _LAST_SEQ
    found = AuditRecord.objects.filter(seq=seq).first() if known else None
    if found is None:
        stone = tombstone_of(seq) if known else None
        if stone is not None:
            raise NotFound(
                f"Record {seq} was removed from this team's log, as its retention says: tombstone {stone.number} of "
                f"{stone.at:%Y-%m-%d} signs it.",
                code="record_removed",
            )
        raise NotFound(f"There is no record {seq} in this team's log.", code="record_not_found")
    return found


def list_calls_within(record: LogRecord, *, caller: Caller) -> list[LogRecord]:
    """The calls that a call made, in their order, each as it ended; ``LISTED_CALLS`` at most."""
    caller.require(Action.AUDIT_READ)
    first = record.seq if record.outcome == INTENT else record.intent_seq
    if first is None or record.kind not in CALL_KINDS:
        return []
    last = record.outcome_seq if record.outcome == INTENT else record.seq
    # They stand between its intent and its outcome: a short stretch of the primary key, so no index of their own.
    between = Q(seq__gt=first) if last is None else Q(seq__gt=first, seq__lt=last)
    with tenant_scope(caller.tenant_id):
        rows = AuditRecord.objects.filter(between, request_id=record.request_id)
        rows = rows.filter(~Q(outcome=INTENT) | without_outcome())
        found = _readable(rows.order_by("seq")[:LISTED_CALLS], payloads=caller.may(Action.AUDIT_PAYLOADS))
    return [each for each in found if each.parent_seq == first]


def _said(period: Period) -> dict[str, str]:
    """A period as the log says it."""
    ends = {"from": period.start, "to": period.end}
    return {name: at.isoformat() for name, at in ends.items() if at is not None}


def _read(seq: int, caller: Caller, *, payloads: bool) -> LogRecord:
    with tenant_scope(caller.tenant_id):
        return _readable([find_record(seq)], payloads=payloads)[0]


def _search(
    filters: Filters,
    period: Period,
    before: int | None,
    after: int | None,
    most: int,
    *,
    settled: bool,
    payloads: bool,
) -> Found:
    records = matching_records(filters, period, payloads=payloads)
    if settled:
        records = records.filter(~Q(outcome=INTENT) | without_outcome())
    seconds = FIRST_SECONDS if before is None else MORE_SECONDS
    try:
        return search(
            records,
            period,
            before=before,
            after=after,
            most=most,
            seconds=seconds,
            longest=SEARCH_SECONDS,
            # A member's records and those of their apps come from two places of an index, and are sorted.
            at_once=not (filters.text or filters.member),
        )
    except TooSlow:
        raise InvalidInput(
            f"The search took longer than {SEARCH_SECONDS} seconds. Try again, or give a shorter time range.",
            code="search_too_wide",
            errors=[{"path": "from", "message": "Give a shorter time range."}],
        ) from None


def _readable(rows: Iterable[AuditRecord], *, payloads: bool) -> list[LogRecord]:
    # All from the body, which the chain covers; the table's columns are for searching only.
    bodies = []
    hidden = set()
    for row in rows:
        body = bytes(row.body)
        left = None if payloads else without_payload(body)
        if left is not None:
            hidden.add(row.seq)
        bodies.append((row, decode(body if left is None else left)))
    intents = [row.seq for row, body in bodies if body["outcome"] == INTENT]
    outcomes = {}
    if intents:
        found = AuditRecord.objects.filter(intent_seq__in=intents)
        outcomes = dict(found.values_list("intent_seq", "seq"))
    return [
        LogRecord(
            seq=row.seq,
            at=row.at,
            **columns_of(body),
            client=body["client"],
            tool_version=body["tool_version"],
            arguments=body.get("arguments"),
            reason=body["reason"],
            rows=body["rows"],
            size=body["size"],
            truncated=body["truncated"],
            trace_id=body.get("trace_id", ""),
            hash=bytes(row.hash).hex(),
            outcome_seq=outcomes.get(row.seq),
            parent_seq=body.get("parent"),
            served_from=body.get("served_from", ""),
            task=body.get("task", ""),
            schedule=body.get("schedule", ""),
            hmac=body.get("hmac", ""),
            preview=body.get("preview", ""),
            payload_hidden=row.seq in hidden,
        )
        for row, body in bodies
    ]
