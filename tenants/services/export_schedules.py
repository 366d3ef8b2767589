"""Exports that are made again and again and put into a bucket: set up, changed, deleted, begun when they are due.

Each run is an export of its own: of the records behind those of the run before, up to the end of the log at its
beginning. By numbers, not by times: so nothing is exported twice, and nothing is missed that came late.

Whoever sets one up has the log sent somewhere, so it takes the right to keep secrets besides that of reading the log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from core.errors import Conflict, NotFound
from core.loop import run_async
from core.outbound import AddressRule
from core.outbound_http import OutboundRefused, judged_addresses, read_target
from core.sealing import sealer
from tenants.access import Caller, marina_of
from tenants.audit.query import clean_filters
from tenants.models import AuditExport, AuditHead, ExportSchedule, Tenant
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.export_times import next_due
from tenants.services.exports import BY_SCHEDULE, FORMATS, shown
from tenants.services.inputs import clean_text, name_taken, one_of, refuse, whole_number
from tenants.services.recording import record_change

MAX_SCHEDULES: Final = 20
MAX_SECRET: Final = 256
LISTED_RUNS: Final = 50
DEFAULT_REGION: Final = "us-east-1"

CLEAR_TEXT: Final = (
    "in the clear Marina sends only into networks that the operator allows "
    "(MARINA_OUTBOUND_ALLOW). Use https."
)
_LOOK_UP_SECONDS: Final = 5.0
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/ -]{0,512}")
_NUMBERS: Final = {"hour": (0, 23), "minute": (0, 59), "weekday": (0, 6), "day": (1, 28)}
_WHERE: Final = ("endpoint", "bucket", "access_key")
"""Fields that say to whom the secret key goes."""

FIELDS: Final = (
    "name",
    "format",
    "filters",
    "every",
    *_NUMBERS,
    "endpoint",
    "region",
    "bucket",
    "prefix",
    "access_key",
    "enabled",
)
"""What is chosen of a schedule, besides ``secret_key``."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "name": "",
    "format": "jsonl",
    "filters": {},
    "every": "daily",
    "hour": 0,
    "minute": 0,
    "weekday": 0,
    "day": 1,
    "endpoint": "",
    "region": DEFAULT_REGION,
    "bucket": "",
    "prefix": "",
    "access_key": "",
    "secret_key": "",
    "enabled": True,
}


def list_schedules(*, caller: Caller) -> list[ExportSchedule]:
    """The team's schedules by name."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return list(ExportSchedule.objects.all())


def get_schedule(schedule_id: UUID, *, caller: Caller) -> ExportSchedule:
    """One schedule. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return _row(schedule_id)


def list_runs(schedule_id: UUID, *, caller: Caller) -> list[AuditExport]:
    """The newest exports of a schedule. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return list(AuditExport.objects.filter(schedule=_row(schedule_id))[:LISTED_RUNS])


def create_schedule(given: Mapping[str, Any], *, caller: Caller) -> ExportSchedule:
    """Set a schedule up. Its first run is of the whole log so far. Raises ``InvalidInput`` and ``Conflict``."""
    _require(caller)
    _require_no_clear_text(given)
    with tenant_scope(caller.tenant_id):
        Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        if ExportSchedule.objects.count() >= MAX_SCHEDULES:
            raise Conflict(
                f"A team has {MAX_SCHEDULES} scheduled exports at most. Delete one first.", code="too_many"
            )
        row = ExportSchedule(tenant_id=caller.tenant_id)
        _fill(row, {**_DEFAULTS, **given})
        _save(row, new=True)
        record_change("schedule.created", caller=caller, after=shown_schedule(row))
    return row


def change_schedule(schedule_id: UUID, given: Mapping[str, Any], *, caller: Caller) -> ExportSchedule:
    """Change what is given, and leave the rest. What is exported next begins where it left off all the same.

    The secret key has to be given again where it would go to somewhere else. Raises ``NotFound``, ``InvalidInput`` and
    ``Conflict``.
    """
    _require(caller)
    _require_no_clear_text(given)
    with tenant_scope(caller.tenant_id):
        row = _row(schedule_id, lock=True)
        before = shown_schedule(row)
        where = {name: getattr(row, name) for name in _WHERE}
        _fill(row, {**{name: getattr(row, name) for name in FIELDS}, **given})
        if not given.get("secret_key") and where != {name: getattr(row, name) for name in _WHERE}:
            # Or who may change an address could have the secret key's signatures sent to themselves.
            refuse("secret_key", "must be entered again for another endpoint, bucket or access key.")
        _save(row, new=False)
        record_change("schedule.changed", caller=caller, before=before, after=shown_schedule(row))
    return row


def delete_schedule(schedule_id: UUID, *, caller: Caller) -> None:
    """Delete a schedule. Exports that it made stay; what is not in the bucket yet stays out. Raises ``NotFound``."""
    _require(caller)
    with tenant_scope(caller.tenant_id):
        row = _row(schedule_id, lock=True)
        before = shown_schedule(row)
        AuditExport.objects.filter(schedule=row).update(schedule=None)
        row.delete()
        record_change("schedule.deleted", caller=caller, before=before)


def run_schedule(schedule_id: UUID, *, caller: Caller) -> AuditExport:
    """Begin a run now; the next one is due when it is. The surface tells a worker. Raises ``NotFound``."""
    _require(caller)
    with tenant_scope(caller.tenant_id):
        return _begin(_row(schedule_id, lock=True), caller)


def begin_due_runs(tenant_id: int) -> list[AuditExport]:
    """Begin a run of each schedule of a team that is due: one, however many times were missed."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        due = ExportSchedule.objects.filter(enabled=True, next_at__lte=now)
        if not due.exists():
            return []
        marina = marina_of(tenant_id)
        runs = []
        for row in due.select_for_update(skip_locked=True):
            row.next_at = next_due(row, now)
            runs.append(_begin(row, marina))
    return runs


def deliver_again(export_id: UUID, *, caller: Caller) -> AuditExport:
    """Try once more to put a scheduled export into its bucket. Raises ``NotFound`` and ``Conflict``."""
    _require(caller)
    with tenant_scope(caller.tenant_id):
        export = AuditExport.objects.filter(id=export_id).first()
        if export is None:
            raise NotFound("There is no such export in this team.", code="export_not_found")
        again = AuditExport.objects.filter(
            id=export_id,
            delivery=AuditExport.Delivery.FAILED,
            status=AuditExport.Status.DONE,
            schedule__isnull=False,
        ).update(delivery=AuditExport.Delivery.WAITING, delivery_tries=0, deliver_at=timezone.now())
        if again != 1:
            raise Conflict(
                "Only an export that a schedule made, that is done and that could not be put into its bucket is put "
                "there again.",
                code="nothing_to_deliver",
            )
        record_change("export.redelivered", caller=caller, after={"id": str(export_id)})
        export.refresh_from_db(from_queryset=AuditExport.objects.all())
    return export


def shown_schedule(row: ExportSchedule) -> dict[str, Any]:
    """What the log shows of a schedule: all but the secret key."""
    return {"id": str(row.id), **{name: getattr(row, name) for name in FIELDS}}


def _begin(row: ExportSchedule, caller: Caller) -> AuditExport:
    head = AuditHead.objects.get(tenant_id=row.tenant_id)
    export = AuditExport.objects.create(
        format=row.format,
        filters=row.filters,
        requested_by=f"{BY_SCHEDULE}{row.name}",
        schedule=row,
        head_seq=head.seq,
        head_hash=head.hash,
        first_seq=row.covered_seq + 1,
        last_seq=head.seq,
        by_numbers=True,
        delivery=AuditExport.Delivery.WAITING,
        deliver_at=timezone.now(),
    )
    row.covered_seq = head.seq
    row.save(update_fields=["covered_seq", "next_at"])
    record_change("export.created", caller=caller, after={**shown(export), "schedule": row.name})
    return export


def _require(caller: Caller) -> None:
    caller.require(Action.AUDIT_READ)
    caller.require(Action.SECRETS_CHANGE)


def _require_no_clear_text(given: Mapping[str, Any]) -> None:
    """Raise ``InvalidInput`` for an http address outside the networks that the operator named.

    A name that has no address yet passes: each delivery looks again.
    """
    endpoint = given.get("endpoint")
    if not endpoint or not (text := _endpoint(endpoint, "")).startswith("http:"):
        return
    rule = AddressRule(settings.ENV.outbound_allow)
    try:
        _, host, port = read_target(f"{text}/")
        run_async(judged_addresses(host, port, allow=rule.names), timeout=_LOOK_UP_SECONDS)
    except OutboundRefused as refused:
        if refused.reason == "denied":
            refuse("endpoint", f"is an http address: {CLEAR_TEXT}")
    except TimeoutError:
        return


def _row(schedule_id: UUID, *, lock: bool = False) -> ExportSchedule:
    rows = ExportSchedule.objects.select_for_update() if lock else ExportSchedule.objects
    row = rows.filter(pk=schedule_id).first()
    if row is None:
        raise NotFound("There is no such scheduled export in this team.", code="schedule_not_found")
    return row


def _save(row: ExportSchedule, *, new: bool) -> None:
    with name_taken("tenants_exportschedule_name_unique", "Another scheduled export has this name."):
        row.save(force_insert=new)


def _fill(row: ExportSchedule, given: Mapping[str, Any]) -> None:
    """Put what was given into the row, checked. Raises ``InvalidInput``."""
    for name in given:
        if name not in _DEFAULTS:
            refuse(name, "is not known.")
    row.name = clean_text(given["name"], "name", longest=80)
    row.format = one_of(given["format"], "format", FORMATS)
    row.filters = clean_filters(given["filters"] or {}).to_json()
    every = one_of(given["every"], "every", ExportSchedule.Every.values)
    numbers = {
        name: whole_number(given[name], name, low=low, high=high) for name, (low, high) in _NUMBERS.items()
    }
    former = {"every": row.every, **{name: getattr(row, name) for name in _NUMBERS}, "on": row.enabled}
    row.every, row.enabled = every, given["enabled"] is True
    for name, number in numbers.items():
        setattr(row, name, number)
    now = {"every": every, **numbers, "on": row.enabled}
    # A new row has no moment yet.
    if former != now or not row.sealed:
        row.next_at = next_due(row, timezone.now())
    row.region = _matching(given["region"] or DEFAULT_REGION, "region", _REGION, "such as eu-central-1")
    row.endpoint = _endpoint(given["endpoint"], row.region)
    row.bucket = _matching(
        given["bucket"], "bucket", _BUCKET, "3 to 63 lower-case letters, digits, dots and hyphens"
    )
    prefix = str(given["prefix"] or "").strip().strip("/")
    row.prefix = _matching(prefix, "prefix", _PREFIX, "letters, digits, spaces and !_.*'()-/ in 512 at most")
    if any(part in {"", ".", ".."} for part in row.prefix.split("/")) and row.prefix:
        refuse("prefix", "must not hold an empty name, . or .. between its slashes.")
    row.access_key = _matching(
        given["access_key"], "access_key", _VISIBLE, "as it was issued, without spaces", longest=128
    )
    secret = given.get("secret_key")
    if secret:
        _matching(secret, "secret_key", _VISIBLE, "as it was issued, without spaces", longest=MAX_SECRET)
        row.sealed = sealer().seal(str(secret).encode(), context=row.seal_context)
    elif not row.sealed:
        refuse("secret_key", "must be given: what is put into the bucket is signed with it.")


def _matching(value: object, path: str, form: re.Pattern[str], words: str, *, longest: int = 512) -> str:
    if not isinstance(value, str) or len(value) > longest or not form.fullmatch(value):
        refuse(path, f"must be given {words}." if path.endswith("key") else f"must be: {words}.")
    return value


def _endpoint(value: object, region: str) -> str:
    if value in (None, ""):
        return f"https://s3.{region}.amazonaws.com"
    text = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not text.isascii()
        or not plain
        or port == 0
        or len(text) > 300
    ):
        refuse("endpoint", "must be scheme, host and port only, such as https://minio.example.com:9000.")
    return f"{parts.scheme}://{parts.netloc.lower()}"
