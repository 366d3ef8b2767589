"""Reading a tenant's log: search, one record, the calls that a call made. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import OperationalError, connection
from django.db.models import Q
from django.utils import timezone

from core.errors import InvalidInput, NotFound
from tenants.access import Caller
from tenants.audit.query import (
    Filters,
    Period,
    clean_filters,
    clean_period,
    matching_records,
    without_outcome,
)
from tenants.audit.records import CALL_KINDS, INTENT, columns_of, decode
from tenants.models import AuditRecord
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import refuse

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
LISTED_CALLS: Final = 200
"""Of the calls that one call made, so many are shown beside it."""

SEARCH_SECONDS: Final = 5
"""A search that takes longer is ended, with the advice to narrow it."""

SETTLED_AFTER: Final = timedelta(minutes=11)
"""A call runs for half a minute, and may wait ten for what it asks its client: an outcome that is not there by now
is not to come.
"""

_QUERY_CANCELED: Final = "57014"
_LAST_SEQ: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record as people and programs read it. ``hash`` is its link in the chain, in hex.

    A call that may change something leaves two records: its intent, and an outcome that names the intent's number in
    ``intent_seq``. ``outcome_seq`` of the intent is the number of that outcome. ``parent_seq`` is the intent
    of the call that made this one. ``served_from`` says of a call that did not run itself where its result came from:
    ``cache``; ``same_run``, the run of another call made at the same time; or ``task``, the one of the same idempotency
    key. ``task`` is the id of the task that the call goes on as.
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

    @property
    def is_call(self) -> bool:
        """Whether an operation ran, or was to run, for a client."""
        return self.kind in CALL_KINDS

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
    """Records, newest first. Where there are older ones, ``next_before`` is the ``before_seq`` to ask for next."""

    records: list[LogRecord]
    next_before: int | None


def search_records(
    *,
    caller: Caller,
    tool: str = "",
    outcome: str = "",
    kind: str = "",
    credential_id: UUID | str | None = None,
    text: str = "",
    from_at: datetime | None = None,
    to_at: datetime | None = None,
    before_seq: int | None = None,
    limit: int = DEFAULT_LIMIT,
    settled: bool = False,
) -> LogPage:
    """The newest matching records older than ``before_seq``. Times: from ``from_at`` on, before ``to_at``.

    ``outcome`` may also be ``unknown``: intents whose outcome is not there. With ``settled`` an intent is left out once
    its outcome is there, so that each call is one record.

    Raises ``InvalidInput`` for a filter that cannot be, and when the search takes longer than 5 seconds.
    """
    caller.require(Action.AUDIT_READ)
    filters = clean_filters(
        {"tool": tool, "outcome": outcome, "kind": kind, "credential_id": credential_id, "text": text}
    )
    period = clean_period(from_at, to_at)
    if not 1 <= limit <= MAX_LIMIT:
        refuse("limit", f"must be from 1 to {MAX_LIMIT}.")
    if before_seq is not None and not 0 < before_seq <= _LAST_SEQ:
        refuse("before", "must be the number of a record, from 1 on.")
    with tenant_scope(caller.tenant_id):
        rows = _search(filters, period, before_seq, limit + 1, settled=settled)
        page = _readable(rows[:limit])
    return LogPage(page, page[-1].seq if len(rows) > limit else None)


def get_record(seq: int, *, caller: Caller) -> LogRecord:
    """One record by its number. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        found = _readable(AuditRecord.objects.filter(seq=seq) if 0 < seq <= _LAST_SEQ else ())
    if not found:
        raise NotFound(f"There is no record {seq} in this team's log.", code="record_not_found")
    return found[0]


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
        found = _readable(rows.order_by("seq")[:LISTED_CALLS])
    return [each for each in found if each.parent_seq == first]


def _search(
    filters: Filters, period: Period, before_seq: int | None, limit: int, *, settled: bool
) -> list[AuditRecord]:
    records = matching_records(filters, period)
    if settled:
        records = records.filter(~Q(outcome=INTENT) | without_outcome())
    if before_seq is not None:
        records = records.filter(seq__lt=before_seq)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SEARCH_SECONDS}s"])
    try:
        rows = list(records.order_by("-seq")[:limit])
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _QUERY_CANCELED:
            raise
        raise InvalidInput(
            f"The search took longer than {SEARCH_SECONDS} seconds. Give a shorter time range, or filter by tool "
            "or outcome too.",
            code="search_too_wide",
            errors=[{"path": "from", "message": "Give a shorter time range."}],
        ) from None
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    return rows


def _readable(rows: Iterable[AuditRecord]) -> list[LogRecord]:
    # All from the body, which the chain covers; the table's columns are for searching only.
    bodies = [(row, decode(bytes(row.body))) for row in rows]
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
            arguments=body["arguments"],
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
        )
        for row, body in bodies
    ]
