"""A batch as a webhook: JSON, signed as Standard Webhooks says (v1, HMAC-SHA256). Pure: sends nothing.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. Signed is
``<webhook-id>.<webhook-timestamp>.<body>``; while a secret is rolled, the header holds a signature by each.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from typing import Any, Final

from tenants.streams.lines import Batch, Receiver

PREFIX: Final = "whsec_"
_KEY_BYTES: Final = 32


def new_key() -> str:
    """A new secret, as it is shown once."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def encode(receiver: Receiver, batch: Batch, now: float) -> tuple[dict[str, str], bytes]:
    """The headers and the body of the request. ``now`` in seconds since 1970."""
    if batch.test is not None:
        body = b'{"test":true,"records":[]}'
    else:
        body = b'{"records":[' + b",".join(line.as_json() for line in batch.lines) + b"]}"
    stamp = str(int(now))
    signatures = " ".join(sign(key, batch.name, stamp, body) for key in live_keys(receiver.secrets, now))
    return {
        "content-type": "application/json",
        "webhook-id": batch.name,
        "webhook-timestamp": stamp,
        "webhook-signature": signatures,
    }, body


def sign(key: str, name: str, stamp: str, body: bytes) -> str:
    """One signature, as the header holds it."""
    signed = b".".join((name.encode(), stamp.encode(), body))
    digest = hmac.new(_raw(key), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def live_keys(held: Any, now: float | None = None) -> Iterable[str]:
    """The secrets that sign at this moment, the newest first. ``until`` of an older one is in seconds since 1970."""
    moment = time.time() if now is None else now
    return [each["key"] for each in held.get("keys", ()) if each["until"] is None or moment < each["until"]]


def _raw(key: str) -> bytes:
    try:
        return base64.b64decode(key.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a webhook's secret is no base64") from None
