"""Reading a tenant's log: search, one record, exports. Writes nothing but the record that someone exported.

Making an export is a worker's job (``tenants.tasks``); a surface calls ``tenants.tasks.enqueue_export`` with the
row that ``start_export`` gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, connection
from django.db.models import Q
from django.utils import timezone

from core.errors import Conflict, InvalidInput, NotFound
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
from tenants.models import AuditExport, AuditRecord
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import one_of, refuse
from tenants.services.recording import record_change

FORMATS: Final = ("jsonl",)
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
LISTED_CALLS: Final = 200
"""Of the calls that one call made, so many are shown beside it."""

LISTED_EXPORTS: Final = 100

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


def start_export(
    format: str = "jsonl",  # noqa: A002 - the word of the REST API
    from_at: datetime | None = None,
    to_at: datetime | None = None,
    filters: Mapping[str, object] | None = None,
    *,
    caller: Caller,
) -> AuditExport:
    """Accept an export: its row, ``queued``. The surface then calls ``tenants.tasks.enqueue_export``.

    ``filters`` are those of ``search_records`` by name. Raises ``InvalidInput``.
    """
    caller.require(Action.AUDIT_READ)
    wanted_format = one_of(format, "format", FORMATS)
    period = clean_period(from_at, to_at)
    wanted = clean_filters(filters or {})
    with tenant_scope(caller.tenant_id):
        export = AuditExport.objects.create(
            format=wanted_format,
            from_at=period.start,
            to_at=period.end,
            filters=wanted.to_json(),
            requested_by=caller.actor[:200],
        )
        record_change(
            "export.created",
            caller=caller,
            after={
                "id": str(export.id),
                "format": wanted_format,
                "from": period.start and period.start.isoformat(),
                "to": period.end and period.end.isoformat(),
                "filters": export.filters,
            },
        )
    return export


def list_exports(*, caller: Caller) -> list[AuditExport]:
    """The tenant's newest exports."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return list(AuditExport.objects.all()[:LISTED_EXPORTS])


def get_export(export_id: UUID | str, *, caller: Caller) -> AuditExport:
    """One export. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return _access_export(export_id)


def open_export(export_id: UUID | str, *, caller: Caller) -> Path:
    """The finished file of an export, whose download is recorded.

    Raises ``NotFound``, also when the file was removed since, and ``Conflict`` while it is not finished.
    """
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        export = _access_export(export_id)
        if export.status != AuditExport.Status.DONE:
            raise Conflict(describe_export(export), code="export_not_done")
        path = Path(settings.ENV.home) / export.path
        if not path.is_file():
            raise NotFound(
                "The file of this export was removed from the server. Start a new export of the same range.",
                code="export_removed",
            )
        record_change(
            "export.downloaded", caller=caller, after={"id": str(export.id), "sha256": export.sha256}
        )
    return path


def name_export(export: AuditExport, tenant_slug: str) -> str:
    """What an export's file is called wherever it is downloaded."""
    return f"marina-{tenant_slug}-{export.created_at:%Y%m%d-%H%M%S}-{str(export.id)[:8]}.{export.format}"


def describe_export(export: AuditExport) -> str:
    """Where an export stands, as a sentence for a person."""
    match export.status:
        case AuditExport.Status.QUEUED:
            return "The export waits for a worker. Ask again in a few seconds."
        case AuditExport.Status.RUNNING:
            return "The export is being written. Ask again in a few seconds."
        case AuditExport.Status.FAILED:
            return export.error or "The export failed. Start a new one."
    if not export.records:
        return "No record matches this range and these filters, so the file is empty. That is a valid result."
    return f"{export.records} record{'' if export.records == 1 else 's'} exported."


def _access_export(export_id: UUID | str) -> AuditExport:
    try:
        wanted = export_id if isinstance(export_id, UUID) else UUID(export_id)
    except ValueError:
        wanted = None
    export = AuditExport.objects.filter(id=wanted).first() if wanted is not None else None
    if export is None:
        raise NotFound("There is no such export in this team.", code="export_not_found")
    return export


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
