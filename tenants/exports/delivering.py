"""Puts finished exports of schedules into their buckets: the file, then its manifest. Tries again, later and later.

Putting the same there twice harms nothing: name and bytes are the same. So no fence is needed, only a moment before
which nobody else tries, which moves on while somebody is at it. Who finds that it is wanted no more stops.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from core.crypto import SealError
from core.finishing import stop
from core.loop import run_async
from core.objectstorage import StorageRefused, Target, put_file, url_of
from core.outbound import AddressRule
from core.outbound_http import OutboundClient, OutboundRefused, judged_addresses, read_target
from core.sealing import sealer
from core.threads import run_sync
from tenants.access import Caller, marina_of
from tenants.exportfiles import home, manifest_of
from tenants.exports.formats import FORMATS
from tenants.models import AuditExport, ExportSchedule
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import CLEAR_TEXT
from tenants.services.recording import record_change

HELD: Final = timedelta(minutes=5)
"""So long nobody else tries after whoever is at it was seen last: longer than one request with all its tries takes."""

DELIVER_SECONDS: Final = 1800.0
"""For one try, all in all."""

MAX_TRIES: Final = 12
FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=6)
"""Twelve tries with pauses that double are a day."""

MANIFEST_TYPE: Final = "application/json"
RENEW_SECONDS: Final = 20.0
_DELETED: Final = "The schedule was deleted before this was in its bucket."
_Delivery = AuditExport.Delivery
_Status = AuditExport.Status

_log = logging.getLogger(__name__)


class _Unwanted(Exception):
    """The schedule was deleted meanwhile, or somebody ended the delivery."""


def find_undelivered(tenant_id: int) -> list[UUID]:
    """Exports of schedules that have ended and that it is time to put into their buckets."""
    with tenant_scope(tenant_id):
        return list(_due().values_list("id", flat=True))


def deliver_export(tenant_id: int, export_id: UUID) -> bool:
    """Put one export into its bucket. False where there was nothing to do, or it did not work this time.

    One whose making failed is made again instead. Safe to call at any time and any number of times.
    """
    now = timezone.now()
    with tenant_scope(tenant_id):
        if (
            _due().filter(id=export_id).update(deliver_at=now + HELD, delivery_tries=F("delivery_tries") + 1)
            != 1
        ):
            return False
        export = AuditExport.objects.select_related("schedule").get(id=export_id)
        marina = marina_of(tenant_id)
    schedule = export.schedule
    if schedule is None:
        give_up(export, marina, _DELETED)
        return False
    if export.delivery_tries > MAX_TRIES:
        # Those who tried ended without a word: they were killed.
        give_up(export, marina, export.delivery_error or f"{MAX_TRIES} tries ended without a result.")
        return False
    if export.status != _Status.DONE:
        _make_again(export, marina)
        return False
    try:
        key = _put(export, schedule, marina.tenant_slug)
    except StorageRefused as refusal:
        _put_off(export, marina, str(refusal))
        return False
    except _Unwanted:
        give_up(export, marina, _DELETED)
        return False
    except FileNotFoundError:
        give_up(export, marina, "The file was removed from the server. Run the export again.")
        return False
    except (OSError, SealError) as fault:
        _log.error("export not delivered", extra={"export_id": str(export_id), "kind": type(fault).__name__})
        _put_off(
            export, marina, "The file or the secret key could not be read on the server: tell an operator."
        )
        return False
    except Exception as fault:  # noqa: BLE001 - whatever it is, it counts as a try, and is told by its kind alone
        _log.error("export not delivered", extra={"export_id": str(export_id), "kind": type(fault).__name__})
        _put_off(export, marina, "Something unforeseen went wrong on the server: tell an operator.")
        return False
    with tenant_scope(tenant_id):
        delivered = _waiting(export).update(
            delivery=_Delivery.DELIVERED, delivery_key=key, delivery_error="", deliver_at=None
        )
        if delivered:
            record_change(
                "export.delivered",
                caller=marina,
                after={
                    "id": str(export.id),
                    "schedule": schedule.name,
                    "endpoint": schedule.endpoint,
                    "bucket": schedule.bucket,
                    "key": key,
                    "sha256": export.sha256,
                },
            )
    return delivered == 1


def key_of(export: AuditExport, schedule: ExportSchedule, slug: str) -> str:
    """The name that an export's file gets in the bucket. It sorts by time, and says which records it is of."""
    stem = (
        f"{slug}-{export.created_at:%Y%m%dT%H%M%SZ}-{export.first_seq}-{export.last_seq}-{str(export.id)[:8]}"
    )
    return "/".join(part for part in (schedule.prefix, f"{stem}.{export.format}") if part)


def _put(export: AuditExport, schedule: ExportSchedule, slug: str) -> str:
    path = home() / export.path
    secret = sealer().open(bytes(schedule.sealed), context=schedule.seal_context).decode()
    target = Target(schedule.bucket, schedule.endpoint, schedule.region, schedule.access_key, secret)
    key = key_of(export, schedule, slug)
    manifest_key = f"{key.removesuffix(f'.{export.format}')}.manifest.json"
    files = [
        (key, path, FORMATS[export.format].media_type),
        # Last: where it is, the file is whole.
        (manifest_key, manifest_of(path), MANIFEST_TYPE),
    ]
    run_async(_put_files(target, files, _Hold(export)))
    return key


async def _put_files(target: Target, files: list[tuple[str, Path, str]], hold: _Hold) -> None:
    """Put them there, as long as that is wanted. Raises ``StorageRefused``, ``OSError`` and ``_Unwanted``."""
    rule = AddressRule(settings.ENV.outbound_allow)
    clear = target.endpoint.startswith("http:")
    if clear:
        await _require_named(target, rule)
    client = OutboundClient(allow=rule.names if clear else rule.allows, http2=False)
    keeping = asyncio.create_task(hold.keep())
    putting = asyncio.create_task(_put_each(client, target, files, hold))
    try:
        ended, _ = await asyncio.wait(
            {keeping, putting}, timeout=DELIVER_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not ended:
            raise StorageRefused(
                f"The storage at {target.endpoint} had not taken the file after {DELIVER_SECONDS / 60:.0f} minutes. "
                "Let the schedule run more often, or look why the storage is slow.",
                retryable=True,
            )
        (putting if putting in ended else keeping).result()
    finally:
        # What was sent of an upload is given up before the client goes.
        await stop(keeping, putting)
        await client.close()


async def _put_each(
    client: OutboundClient, target: Target, files: list[tuple[str, Path, str]], hold: _Hold
) -> None:
    for key, path, media_type in files:
        await run_sync(hold.renew)
        await put_file(client, target, key, path, media_type, hold.renew)


async def _require_named(target: Target, rule: AddressRule) -> None:
    """Raise ``StorageRefused`` where the operator did not name the network that would be spoken to in the clear."""
    try:
        _, host, port = read_target(url_of(target))
        await judged_addresses(host, port, allow=rule.names)
    except OutboundRefused as refused:
        if refused.reason == "denied":
            raise StorageRefused(f"Its endpoint is an http address: {CLEAR_TEXT}", retryable=False) from None


class _Hold:
    """Keeps others from trying while this is at it."""

    def __init__(self, export: AuditExport) -> None:
        self._export = export
        self._next = 0.0

    async def keep(self) -> None:
        """Say that it goes on, again and again: one request may take long. Ends with ``_Unwanted`` alone."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await run_sync(self.renew)

    def renew(self) -> None:
        """Say that it goes on, where that was not said just now. Raises ``_Unwanted``."""
        if monotonic() < self._next:
            return
        with tenant_scope(self._export.tenant_id):
            renewed = (
                _waiting(self._export).filter(schedule__isnull=False).update(deliver_at=timezone.now() + HELD)
            )
        if renewed != 1:
            raise _Unwanted
        self._next = monotonic() + RENEW_SECONDS / 2


def _due() -> QuerySet[AuditExport]:
    ended = Q(status__in=[_Status.DONE, _Status.FAILED])
    return AuditExport.objects.filter(ended, delivery=_Delivery.WAITING, deliver_at__lte=timezone.now())


def _waiting(export: AuditExport) -> QuerySet[AuditExport]:
    return AuditExport.objects.filter(id=export.id, delivery=_Delivery.WAITING)


def _put_off(export: AuditExport, marina: Caller, why: str) -> None:
    if export.delivery_tries >= MAX_TRIES:
        give_up(export, marina, why)
        return
    pause = min(FIRST_PAUSE * 2 ** (export.delivery_tries - 1), LONGEST_PAUSE)
    with tenant_scope(export.tenant_id):
        _waiting(export).update(deliver_at=timezone.now() + pause, delivery_error=why[:300])


def _make_again(export: AuditExport, marina: Caller) -> None:
    if export.delivery_tries >= MAX_TRIES:
        give_up(export, marina, export.error or "The file could not be made.")
        return
    pause = min(FIRST_PAUSE * 2 ** (export.delivery_tries - 1), LONGEST_PAUSE)
    with tenant_scope(export.tenant_id):
        AuditExport.objects.filter(id=export.id, status=_Status.FAILED).update(
            status=_Status.QUEUED, tries=0, finished_at=None, deliver_at=timezone.now() + pause
        )


def give_up(export: AuditExport, marina: Caller, why: str) -> None:
    """End a delivery that waits, and record it."""
    with tenant_scope(export.tenant_id):
        given_up = _waiting(export).update(
            delivery=_Delivery.FAILED, delivery_error=why[:300], deliver_at=None
        )
        if given_up:
            record_change(
                "export.undelivered", caller=marina, after={"id": str(export.id), "reason": why[:300]}
            )
