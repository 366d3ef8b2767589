"""The streams of a team's log: who receives it, how far that is, what was delivered. A worker does the work.

Nothing here waits for a receiver but a test and a delivery that somebody asked for again, each for some seconds at
most and while no transaction of ours is open.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from core.errors import Conflict, NotFound
from core.loop import run_async
from core.outbound import AddressRule
from core.outbound_http import OutboundRefused, judged_addresses
from tenants.access import Caller
from tenants.audit.query import clean_filters
from tenants.audit.removed import read_removed
from tenants.models import AuditHead, LogStream, StreamDelivery, Tenant
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import name_taken, one_of, refuse, whole_number
from tenants.services.recording import record_change
from tenants.services.stream_settings import (
    address_of,
    open_secrets,
    put_settings,
    seal_secrets,
    shown,
)
from tenants.streams.claims import note_delivery, read_lines, receiver_of
from tenants.streams.lines import Batch, Outcome, Receiver
from tenants.streams.sending import SEND_SECONDS, timed
from tenants.streams.webhook import live_keys, new_key

MAX_STREAMS: Final = 10
MAX_OVERLAP_HOURS: Final = 168
LISTED_DELIVERIES: Final = 50
MAX_LISTED: Final = 500
NOW: Final = "now"

_LOOK_UP_SECONDS: Final = 4.0
_WHERE: Final = ("url", "host", "port", "server_name", "authorities", "headers", "filters", "sd_id", "ends")
"""What changes what is sent or where to: an attempt that is under way with the old ones moves nothing."""

_NAME_TAKEN: Final = "The team has a stream of this name already. Choose another name."


@dataclass(frozen=True, slots=True)
class Standing:
    """A stream, and how far it is: ``head`` is the number of the log's last record."""

    row: LogStream
    head: int

    @property
    def behind(self) -> int:
        """How many records wait, filtered ones among them."""
        return max(0, self.head - self.row.cursor)

    @property
    def words(self) -> str:
        """Where it stands, as a sentence or two for a person."""
        row, waiting = self.row, _records(self.behind)
        if not row.enabled:
            why = row.paused_because or "Paused."
            return f"{why} {waiting} kept for it." if self.behind else why
        if row.failures:
            error = row.error[:1].upper() + row.error[1:]
            return (
                f"Retrying since {_moment(row.failing_since)}: {error} The next try is at {_moment(row.next_try_at)}. "
                f"{waiting} kept for it."
            )
        if self.behind:
            return f"Handed over up to record {row.cursor}; {waiting} on the way."
        return f"Handed over up to record {row.cursor}, the last one."


@dataclass(frozen=True, slots=True)
class MadeStream:
    """A new stream; of a webhook ``secret`` is what its receiver verifies by, shown this once."""

    standing: Standing
    secret: str


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries, newest first. Where there are older ones, ``next_before`` is the number to ask for next."""

    deliveries: list[StreamDelivery]
    next_before: int | None


def list_streams(*, caller: Caller) -> list[Standing]:
    """The team's streams by name."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        head = _head()
        return [Standing(row, head) for row in LogStream.objects.all()]


def get_stream(stream_id: UUID, *, caller: Caller) -> Standing:
    """One stream. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    with tenant_scope(caller.tenant_id):
        return Standing(_stream(stream_id), _head())


def create_stream(kind: str, given: Mapping[str, Any], *, begin: object = NOW, caller: Caller) -> MadeStream:
    """Hand the log over to another receiver, from now on or from a record's number on.

    Raises ``InvalidInput``, for an address that is not connected to as well, and ``Conflict`` (name, too many).
    """
    caller.require(Action.STREAMS_CHANGE)
    row = LogStream(
        id=uuid4(), tenant_id=caller.tenant_id, kind=one_of(kind, "kind", LogStream.Kind.values), cursor=0
    )
    put_settings(row, {"name": "", **given})
    _require_reachable(row)
    secret = ""
    if row.kind == LogStream.Kind.WEBHOOK:
        secret = new_key()
        seal_secrets(row, {**open_secrets(row), "keys": [{"key": secret, "until": None}]})
    with tenant_scope(caller.tenant_id):
        Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        if LogStream.objects.count() >= MAX_STREAMS:
            raise Conflict(
                f"A team has at most {MAX_STREAMS} streams. Delete one first.", code="too_many_streams"
            )
        row.cursor = _cursor_before(begin, _head())
        with name_taken("tenants_logstream_name_unique", _NAME_TAKEN):
            row.save(force_insert=True)
        record_change("stream.created", caller=caller, after={**shown(row), "begin": row.cursor + 1})
        return MadeStream(Standing(row, _head()), secret)


def change_stream(stream_id: UUID, given: Mapping[str, Any], *, caller: Caller) -> Standing:
    """Change what is given; the kind stays. What was begun for the old address or filters is begun anew.

    Raises ``InvalidInput``, ``NotFound`` and ``Conflict``.
    """
    caller.require(Action.STREAMS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id)
        put_settings(row, given)
    if {"url", "host", "port"} & set(given):
        _require_reachable(row)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id, lock=True)
        before, held = shown(row), open_secrets(row)
        put_settings(row, given)
        if set(_WHERE) & set(given):
            row.fence, row.lease_until, row.pending = row.fence + 1, None, None
            row.next_try_at = None
        with name_taken("tenants_logstream_name_unique", _NAME_TAKEN):
            row.save()
        after, holds = shown(row), open_secrets(row)
        for secret, words in (("headers", "header_values"), ("query", "url_query")):
            if held.get(secret) != holds.get(secret):
                after[words] = "changed"
        if after != before:
            record_change("stream.changed", caller=caller, before=before, after=after)
        return Standing(row, _head())


def delete_stream(stream_id: UUID, *, caller: Caller) -> None:
    """Hand nothing over any more, and forget what was delivered. Raises ``NotFound``."""
    caller.require(Action.STREAMS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id, lock=True)
        record = {**shown(row), "cursor": row.cursor}
        row.delete()
        record_change("stream.deleted", caller=caller, before=record)


def pause_stream(stream_id: UUID, *, caller: Caller) -> Standing:
    """Hand nothing over until it is resumed; records are kept for it. Raises ``NotFound``."""
    caller.require(Action.STREAMS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id, lock=True)
        if row.enabled:
            row.enabled, row.paused_because = False, ""
            row.save(update_fields=["enabled", "paused_because"])
            record_change("stream.paused", caller=caller, after=_place(row))
        return Standing(row, _head())


def resume_stream(stream_id: UUID, *, caller: Caller) -> Standing:
    """Go on where it was paused. Of one that is retrying, the next try is now. Raises ``NotFound``."""
    caller.require(Action.STREAMS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id, lock=True)
        if not row.enabled:
            row.enabled, row.paused_because = True, ""
            row.failures, row.failing_since, row.error = 0, None, ""
            record_change("stream.resumed", caller=caller, after=_place(row))
        row.next_try_at = None
        row.save(
            update_fields=["enabled", "paused_because", "failures", "failing_since", "error", "next_try_at"]
        )
        return Standing(row, _head())


def roll_secret(stream_id: UUID, *, overlap_hours: object = 24, caller: Caller) -> MadeStream:
    """Sign with another secret from now on, and with the old one beside it for so many hours (0: not at all).

    Raises ``NotFound``, and ``Conflict`` for a stream that signs nothing.
    """
    caller.require(Action.STREAMS_CHANGE)
    hours = whole_number(overlap_hours, "overlap_hours", low=0, high=MAX_OVERLAP_HOURS)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id, lock=True)
        if row.kind != LogStream.Kind.WEBHOOK:
            raise Conflict(
                "Only webhooks are signed, so this stream has no secret to roll.", code="not_signed"
            )
        held, secret = open_secrets(row), new_key()
        keys: list[dict[str, Any]] = [{"key": secret, "until": None}]
        old = next(iter(live_keys(held)), None)
        if old is not None and hours:
            keys.append({"key": old, "until": time.time() + hours * 3600})
        seal_secrets(row, {**held, "keys": keys})
        row.fence, row.lease_until = row.fence + 1, None
        row.save(update_fields=["sealed", "fence", "lease_until"])
        after = {"id": str(row.pk), "name": row.name, "secret": "rolled", "overlap_hours": hours}
        record_change("stream.changed", caller=caller, after=after)
        return MadeStream(Standing(row, _head()), secret)


def send_test(stream_id: UUID, *, caller: Caller) -> StreamDelivery:
    """Send a test, which holds no record, and wait for what becomes of it. Raises ``NotFound``."""
    caller.require(Action.STREAMS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id)
        record_change("stream.tested", caller=caller, after={"id": str(row.pk), "name": row.name})
    return _send(row, Batch(row.pk, test=uuid4()), {}, StreamDelivery.Cause.TEST, caller)


def redeliver(stream_id: UUID, delivery_id: UUID, *, caller: Caller) -> StreamDelivery:
    """Send the batch of a delivery once more, out of turn, and wait for what becomes of it; the cursor stays.

    It has the name that it had, so a receiver knows it for a double. Raises ``NotFound``, and ``Conflict`` for a test.
    """
    caller.require(Action.STREAMS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _stream(stream_id)
        delivery = row.deliveries.filter(pk=delivery_id).first()
        if delivery is None:
            raise NotFound(
                "There is no such delivery of this stream, or it is too old to be kept.",
                code="delivery_not_found",
            )
        if delivery.first is None or delivery.last is None:
            raise Conflict("This was a test, which holds no record. Send a test instead.", code="was_a_test")
        if delivery.first <= (removed := read_removed().seq):
            raise Conflict(
                f"Retention has removed records up to {removed}, so this delivery cannot be made as it was.",
                code="records_removed",
            )
        lines = read_lines(caller.tenant_id, clean_filters(delivery.filters), delivery.first, delivery.last)
        place = {"id": str(row.pk), "name": row.name, "first": delivery.first, "last": delivery.last}
        record_change("stream.redelivered", caller=caller, after=place)
    batch = Batch(row.pk, delivery.first, delivery.last, tuple(lines), delivery.filters)
    return _send(row, batch, delivery.filters, StreamDelivery.Cause.AGAIN, caller)


def list_deliveries(
    stream_id: UUID, *, before: int | None = None, limit: int = LISTED_DELIVERIES, caller: Caller
) -> DeliveryPage:
    """The newest deliveries of a stream older than the one with the number ``before``. Raises ``NotFound``."""
    caller.require(Action.AUDIT_READ)
    whole_number(limit, "limit", low=1, high=MAX_LISTED)
    with tenant_scope(caller.tenant_id):
        rows = _stream(stream_id).deliveries.all()
        if before is not None:
            rows = rows.filter(number__lt=before)
        found = list(rows[: limit + 1])
    page = found[:limit]
    return DeliveryPage(page, page[-1].number if len(found) > limit else None)


def _send(
    row: LogStream, batch: Batch, filters: Mapping[str, str], cause: StreamDelivery.Cause, caller: Caller
) -> StreamDelivery:
    outcome, duration_us = _wait_for(receiver_of(row, caller.tenant_slug), batch)
    with tenant_scope(caller.tenant_id):
        if not LogStream.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1):
            raise _unknown()
        return note_delivery(row.pk, clean_filters(filters), batch, outcome, duration_us, cause)


def _wait_for(receiver: Receiver, batch: Batch) -> tuple[Outcome, int]:
    try:
        return run_async(timed(receiver, batch), timeout=SEND_SECONDS + 5)
    except TimeoutError:
        words = "it was not sent: this process was too busy. Try again."
        return Outcome(taken=False, words=words), int(SEND_SECONDS * 1_000_000)


def _require_reachable(row: LogStream) -> None:
    """Raise ``InvalidInput`` where the host's address is none that this installation connects to.

    A name that has no address yet passes: the stream says so, and tries again.
    """
    kind, host, port = address_of(row)
    rule = AddressRule(settings.ENV.outbound_allow)
    allow = rule.names if kind == "http" else rule.allows
    path = "host" if kind == "tls" else "url"
    try:
        run_async(judged_addresses(host, port, allow=allow), timeout=_LOOK_UP_SECONDS)
    except OutboundRefused as refused:
        if refused.reason != "denied":
            return
        if kind == "http":
            refuse(
                path,
                "is an http address, and in the clear Marina sends only into networks that the operator allows "
                "(MARINA_OUTBOUND_ALLOW). Use https.",
            )
        refuse(
            path,
            "is at an address that Marina does not connect to: a private one, or one of this installation. The "
            "operator can allow its network (MARINA_OUTBOUND_ALLOW).",
        )
    except TimeoutError:
        return


def _cursor_before(begin: object, head: int) -> int:
    if begin == NOW:
        return head
    if type(begin) is not int or not 1 <= begin <= head + 1:
        refuse("begin", f"must be {NOW!r}, or the number of a record from 1 to {head + 1}, the next one.")
    return begin - 1


def _head() -> int:
    return AuditHead.objects.values_list("seq", flat=True).first() or 0


def _stream(stream_id: UUID, *, lock: bool = False) -> LogStream:
    rows = LogStream.objects.select_for_update() if lock else LogStream.objects.all()
    row = rows.filter(pk=stream_id).first()
    if row is None:
        raise _unknown()
    return row


def _unknown() -> NotFound:
    return NotFound("There is no such stream in this team.", code="stream_not_found")


def _place(row: LogStream) -> dict[str, Any]:
    return {"id": str(row.pk), "name": row.name, "cursor": row.cursor}


def _records(count: int) -> str:
    return "1 record is" if count == 1 else f"{count} records are"


def _moment(at: datetime | None) -> str:
    return (at or timezone.now()).strftime("%Y-%m-%d %H:%M:%S UTC")
