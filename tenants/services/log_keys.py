"""The installation's keys that sign checkpoints: made at first use, rotated, published. Of no team.

A key is believed to be ours where its private half opens under the master key, bound to its public half: a row that
somebody with power over the database alone put there does not.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from core.crypto import SealError
from core.sealing import sealer
from tenants.audit.notes import key_id, key_name, sign, verifier_key
from tenants.audit.records import to_microseconds
from tenants.models import LogKey

_log = logging.getLogger(__name__)

_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys of this installation. ``public`` are all of them, the newest first; ``signing`` is the newest."""

    signing: Ed25519PrivateKey
    public: tuple[bytes, ...]


class KeysDoNotOpen(Exception):
    """There are keys, and none of them opens: another master key, or rows that are not ours."""


def base_host() -> str:
    """The host of the installation's base URL, with its port where it has one."""
    return urlsplit(settings.ENV.base_url).netloc


def origin_of(tenant_slug: str) -> str:
    """What checkpoints of a tenant's log begin with."""
    return f"{key_name(base_host())}/{tenant_slug}"


def open_keys() -> LogKeys:
    """The keys to sign and to check with; the first is made when there is none. Raises ``KeysDoNotOpen``."""
    for _ in range(_ATTEMPTS):
        rows = list(LogKey.objects.order_by("-id"))
        opened = [(row, key) for row in rows if (key := _opened(row)) is not None]
        if opened:
            return LogKeys(opened[0][1], tuple(bytes(row.public) for row, _ in opened))
        if rows:
            raise KeysDoNotOpen
        try:
            with transaction.atomic():
                _make_key(1, timezone.now(), before=None)
        except IntegrityError:
            # Another process was quicker: its key is there now.
            continue
    raise KeysDoNotOpen


def rotate_log_key() -> int:
    """Make another key, which signs from now on. The one before says so with its signature. Gives its number."""
    before = open_keys().signing
    now = timezone.now()
    with transaction.atomic():
        newest = LogKey.objects.select_for_update().order_by("-id")[0]
        LogKey.objects.filter(pk=newest.pk, until=None).update(until=now)
        return _make_key(newest.pk + 1, now, before=before).pk


def public_keys() -> list[dict[str, Any]]:
    """Every key of this installation, as it is published: the oldest first. Makes none."""
    name = key_name(base_host())
    return [
        {
            "number": row.pk,
            "name": name,
            "key_id": key_id(name, bytes(row.public)).hex(),
            "public_key": base64.b64encode(bytes(row.public)).decode(),
            "vkey": verifier_key(name, bytes(row.public)),
            "since": row.since.isoformat(),
            "until": row.until and row.until.isoformat(),
            "statement": bytes(row.statement).decode(),
        }
        for row in LogKey.objects.order_by("id")
        if _opened(row) is not None
    ]


def _make_key(number: int, since: datetime, *, before: Ed25519PrivateKey | None) -> LogKey:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    name = key_name(base_host())
    text = (
        f"{name}\nkey {number}\n{base64.b64encode(public).decode()}\ntime {to_microseconds(since)}\n".encode()
    )
    row = LogKey(id=number, public=public, since=since)
    row.statement = sign(text, name, *(each for each in (before, key) if each is not None))
    row.sealed = sealer().seal(key.private_bytes_raw(), context=row.seal_context)
    row.save(force_insert=True)
    return row


def _opened(row: LogKey) -> Ed25519PrivateKey | None:
    try:
        key = Ed25519PrivateKey.from_private_bytes(sealer().open(bytes(row.sealed), context=row.seal_context))
    except (SealError, ValueError):
        key = None
    if key is None or key.public_key().public_bytes_raw() != bytes(row.public):
        _log.critical("a key of the log's checkpoints is not this installation's", extra={"log_key": row.pk})
        return None
    return key
