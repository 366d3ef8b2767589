"""Exports of a team's log: started, watched, cancelled, downloaded, given away by links that end. Writes no file.

Making an export is a worker's job (``tenants.tasks``); a surface calls ``tenants.tasks.enqueue_export`` with the
row that ``start_export`` or ``repeat_export`` gives.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from django.utils import timezone

from core.crypto import SealError
from core.errors import Conflict, Gone, NotFound
from core.sealing import sealer
from tenants.access import Caller
from tenants.audit.query import clean_filters, clean_period
from tenants.exportfiles import home, manifest_of, remove_files
from tenants.models import AuditExport, Tenant
from tenants.models_exports import UNFINISHED
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import one_of, whole_number
from tenants.services.recording import record_change

FORMATS: Final = ("jsonl", "csv", "parquet")
LISTED_EXPORTS: Final = 100
MAX_UNFINISHED: Final = 5
"""Exports of a team that somebody asked for, and that are not finished. Those that schedules begin come on top."""

BY_SCHEDULE: Final = "schedule "
"""Who asked for what a schedule began, with its name behind. No actor is called so."""

DEFAULT_LINK_MINUTES: Final = 60
MAX_LINK_MINUTES: Final = 7 * 24 * 60

_LINK_CONTEXT: Final = "export-link"
_LINK: Final = struct.Struct(">Q16sQ6s")
"""What a link holds: the team, the export, when it ends in seconds since 1970, and its own id."""
_MAX_LINK: Final = 400


@dataclass(frozen=True, slots=True)
class Link:
    """A link that downloads one export until ``expires_at``. ``id`` names it in the log, ``token`` opens it."""

    id: str
    expires_at: datetime
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """A finished export, and a file of its that is there."""

    export: AuditExport
    tenant_slug: str
    path: Path


def start_export(
    format: str = "jsonl",  # noqa: A002 - the word of the REST API
    from_at: datetime | None = None,
    to_at: datetime | None = None,
    filters: Mapping[str, object] | None = None,
    payloads: bool | None = None,
    *,
    caller: Caller,
) -> AuditExport:
    """Accept an export: its row, ``queued``. The surface then calls ``tenants.tasks.enqueue_export``.

    ``filters`` are those of ``search_records`` by name. ``payloads``: with what calls were given and gave; left open,
    as the caller may see it. Raises ``InvalidInput``, ``Forbidden``, and ``Conflict`` while too many are unfinished.
    """
    caller.require(Action.AUDIT_READ)
    if payloads:
        caller.require(Action.AUDIT_PAYLOADS)
    wanted_format = one_of(format, "format", FORMATS)
    period = clean_period(from_at, to_at)
    wanted = clean_filters(filters or {})
    with tenant_scope(caller.tenant_id):
        _require_room(caller)
        export = AuditExport.objects.create(
            format=wanted_format,
            from_at=period.start,
            to_at=period.end,
            filters=wanted.to_json(),
            payloads=caller.may(Action.AUDIT_PAYLOADS) if payloads is None else payloads,
            requested_by=caller.actor[:200],
        )
        record_change("export.created", caller=caller, after=shown(export))
    return export


def repeat_export(export_id: UUID | str, *, caller: Caller) -> AuditExport:
    """Start a new export of the same range, filters and format. Raises ``NotFound`` and as ``start_export`` does.

    Of one that a schedule made it is of the same records, and for the same bucket: that takes the right to keep
    secrets, too. Where the schedule was deleted, there is no bucket.
    """
    export = get_export(export_id, caller=caller)
    if not export.by_numbers:
        return start_export(
            export.format, export.from_at, export.to_at, export.filters, export.payloads, caller=caller
        )
    _require_sight(export, caller)
    to_bucket = export.schedule_id is not None
    if to_bucket:
        caller.require(Action.SECRETS_CHANGE)
    with tenant_scope(caller.tenant_id):
        _require_room(caller)
        again = AuditExport.objects.create(
            format=export.format,
            filters=export.filters,
            requested_by=caller.actor[:200],
            schedule_id=export.schedule_id,
            head_seq=export.head_seq,
            head_hash=export.head_hash,
            first_seq=export.first_seq,
            last_seq=export.last_seq,
            by_numbers=True,
            payloads=export.payloads,
            delivery=AuditExport.Delivery.WAITING if to_bucket else "",
            deliver_at=timezone.now() if to_bucket else None,
        )
        record_change("export.created", caller=caller, after={**shown(again), "again": str(export.id)})
    return again


def cancel_export(export_id: UUID | str, *, caller: Caller) -> AuditExport:
    """End an export that is not finished. Its worker notices within a second; its files are deleted.

    One that is for a schedule's bucket then does not come there, so that takes the right to keep secrets, too.
    Raises ``NotFound``, and ``Conflict`` where it has ended already.
    """
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        export = _access_export(export_id)
        if export.schedule_id is not None:
            caller.require(Action.SECRETS_CHANGE)
        ended = AuditExport.objects.filter(id=export.id, status__in=UNFINISHED).update(
            status=AuditExport.Status.CANCELLED,
            finished_at=timezone.now(),
            lease_until=None,
            records=None,
            size=None,
        )
        AuditExport.objects.filter(id=export.id, delivery=AuditExport.Delivery.WAITING).update(
            delivery=AuditExport.Delivery.FAILED, delivery_error="The export was cancelled.", deliver_at=None
        )
        export.refresh_from_db(from_queryset=AuditExport.objects.all())
        if ended != 1:
            raise Conflict(
                f"The export has ended already: it is {export.status}. There is nothing to cancel.",
                code="export_over",
            )
        record_change("export.cancelled", caller=caller, after={"id": str(export.id)})
    # The row says that it is over: its worker deletes what it wrote, and the sweep what is left.
    with suppress(OSError):
        remove_files(caller.tenant_id, export.id)
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


def download_export(export_id: UUID | str, *, caller: Caller) -> Opened:
    """The finished file of an export, whose download is recorded, and the row that it is the file of.

    Raises ``NotFound``, also when the file was removed since, ``Gone`` once it expired, and ``Conflict`` while it is
    not finished.
    """
    caller.require(Action.AUDIT_READ)
    return _open(export_id, caller, {}, sight=True)


def open_manifest(export_id: UUID | str, *, caller: Caller) -> Path:
    """The manifest of a finished export. Raises as ``download_export`` does."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return _manifest(_access_export(export_id))


def make_link(
    export_id: UUID | str, expires_in_minutes: int = DEFAULT_LINK_MINUTES, *, caller: Caller
) -> Link:
    """Make a link to a finished export, for who cannot sign in. It says nothing of who made it.

    It ends with the access of who makes it, where that comes first.

    Raises ``InvalidInput``, and as ``download_export`` does.
    """
    caller.require(Action.AUDIT_READ)
    minutes = whole_number(expires_in_minutes, "expires_in_minutes", low=1, high=MAX_LINK_MINUTES)
    link_id = secrets.token_bytes(6)
    ends = timezone.now() + timedelta(minutes=minutes)
    if caller.access_ends_at is not None:
        ends = min(ends, caller.access_ends_at)
    ends = ends.replace(microsecond=0)
    with tenant_scope(caller.tenant_id):
        export = _access_export(export_id)
        _require_sight(export, caller)
        _file(export)
        clear = _LINK.pack(caller.tenant_id, export.id.bytes, int(ends.timestamp()), link_id)
        sealed = sealer().seal(clear, context=_LINK_CONTEXT)
        record_change(
            "export.linked",
            caller=caller,
            after={"id": str(export.id), "link": link_id.hex(), "expires_at": ends.isoformat()},
        )
    return Link(link_id.hex(), ends, base64.urlsafe_b64encode(sealed).rstrip(b"=").decode())


def open_link(token: str, *, address: str, manifest: bool = False) -> Opened:
    """What a link downloads: the file, which is recorded, or its manifest. ``address`` is whose request it is.

    Raises ``NotFound`` for what is no link of ours, and ``Gone`` for one that ended or whose file did.
    """
    tenant_id, export_id, ends, link_id = _read_link(token)
    if timezone.now() >= ends:
        raise Gone(
            f"This link ended at {ends:%Y-%m-%d %H:%M} UTC. Ask who gave it to you for a new one.",
            code="link_expired",
        )
    slug = Tenant.objects.filter(pk=tenant_id).values_list("slug", flat=True).first()
    if slug is None:
        raise _no_such_link()
    caller = Caller(tenant_id, slug, actor=f"anonymous ({address})")
    if manifest:
        with tenant_scope(tenant_id):
            export = _access_export(export_id)
            return Opened(export, slug, _manifest(export))
    return _open(export_id, caller, {"link": link_id})


def name_export(export: AuditExport, tenant_slug: str) -> str:
    """What an export's file is called wherever it is downloaded."""
    return f"{_stem(export, tenant_slug)}.{export.format}"


def name_manifest(export: AuditExport, tenant_slug: str) -> str:
    """What an export's manifest is called wherever it is downloaded."""
    return f"{_stem(export, tenant_slug)}.manifest.json"


def describe_export(export: AuditExport) -> str:
    """Where an export stands, as a sentence for a person."""
    match export.status:
        case AuditExport.Status.QUEUED:
            return "The export waits for a worker. Ask again in a few seconds."
        case AuditExport.Status.RUNNING:
            if not export.in_all:
                return "The export is being written. Ask again in a few seconds."
            return (
                f"The export is being written: {export.looked_at:,} of {export.in_all:,} records looked at. "
                "Ask again in a few seconds."
            )
        case AuditExport.Status.FAILED:
            return export.error or "The export failed. Start a new one."
        case AuditExport.Status.CANCELLED:
            return "The export was cancelled, and has no file. Run it again to have one."
        case AuditExport.Status.EXPIRED:
            return "The file was kept for its time and is deleted. Run the export again to have a new one."
    if not export.records:
        return "No record matches this range and these filters, so the file is empty. That is a valid result."
    return f"{export.records} record{'' if export.records == 1 else 's'} exported."


def shown(export: AuditExport) -> dict[str, object]:
    """What the log shows of an export that was asked for."""
    return {
        "id": str(export.id),
        "format": export.format,
        "from": export.from_at and export.from_at.isoformat(),
        "to": export.to_at and export.to_at.isoformat(),
        "filters": export.filters,
        "payloads": export.payloads,
    }


def _require_room(caller: Caller) -> None:
    # One after the other, or two requests at the same time would both find room.
    Tenant.objects.select_for_update(no_key=True).get(pk=caller.tenant_id)
    asked_for = AuditExport.objects.exclude(requested_by__startswith=BY_SCHEDULE)
    if asked_for.filter(status__in=UNFINISHED).count() >= MAX_UNFINISHED:
        raise Conflict(
            f"{MAX_UNFINISHED} exports of this team are not finished yet. Wait until one is, or cancel one.",
            code="too_many_exports",
        )


def _stem(export: AuditExport, tenant_slug: str) -> str:
    return f"marina-{tenant_slug}-{export.created_at:%Y%m%d-%H%M%S}-{str(export.id)[:8]}"


def _require_sight(export: AuditExport, caller: Caller) -> None:
    """Raise ``Forbidden`` where the export holds what calls were given and gave, and the caller may not see that."""
    if export.payloads:
        caller.require(Action.AUDIT_PAYLOADS)


def _open(export_id: UUID | str, caller: Caller, more: Mapping[str, str], *, sight: bool = False) -> Opened:
    with tenant_scope(caller.tenant_id):
        export = _access_export(export_id)
        if sight:
            _require_sight(export, caller)
        path = _file(export)
        record_change(
            "export.downloaded", caller=caller, after={"id": str(export.id), "sha256": export.sha256, **more}
        )
    return Opened(export, caller.tenant_slug, path)


def _access_export(export_id: UUID | str) -> AuditExport:
    try:
        wanted = export_id if isinstance(export_id, UUID) else UUID(export_id)
    except ValueError:
        wanted = None
    export = AuditExport.objects.filter(id=wanted).first() if wanted is not None else None
    if export is None:
        raise NotFound("There is no such export in this team.", code="export_not_found")
    return export


def _file(export: AuditExport) -> Path:
    expires_at = export.expires_at
    if export.status == AuditExport.Status.EXPIRED or (expires_at and timezone.now() >= expires_at):
        raise Gone(
            "The file of this export was kept for its time and is deleted. Start a new export of the same range.",
            code="export_expired",
        )
    if export.status != AuditExport.Status.DONE:
        raise Conflict(describe_export(export), code="export_not_done")
    path = home() / export.path
    if not path.is_file():
        raise NotFound(
            "The file of this export was removed from the server. Start a new export of the same range.",
            code="export_removed",
        )
    return path


def _manifest(export: AuditExport) -> Path:
    path = manifest_of(_file(export))
    if not path.is_file():
        raise NotFound(
            "This export has no manifest: it was made before there were any. Start a new export of the same range.",
            code="manifest_missing",
        )
    return path


def _read_link(token: str) -> tuple[int, UUID, datetime, str]:
    """The team, the export, the end and the id of a link. Raises ``NotFound``."""
    if len(token) > _MAX_LINK or not token.isascii():
        raise _no_such_link()
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        tenant_id, export_id, ends, link_id = _LINK.unpack(sealer().open(sealed, context=_LINK_CONTEXT))
    except (binascii.Error, SealError, struct.error):
        raise _no_such_link() from None
    return tenant_id, UUID(bytes=export_id), datetime.fromtimestamp(ends, UTC), link_id.hex()


def _no_such_link() -> NotFound:
    return NotFound(
        "This is no link to an export of Marina, or a part of it is missing. Copy it whole, or ask who gave it to you "
        "for a new one.",
        code="link_not_found",
    )
