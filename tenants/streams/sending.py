"""Hands one batch over to one receiver, and says what became of it. Knows no storage; waits for nobody longer than
told.

Everything goes through the door for outbound connections (``core.outbound``): addresses are judged, nothing is
followed. HTTP in the clear reaches only networks that the operator named.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from django.conf import settings

from core.outbound import AddressRule
from core.outbound_http import OutboundClient, OutboundRefused, Streamed, read_target
from core.outbound_tls import hand_over
from tenants.streams import otlp, syslog, webhook
from tenants.streams.lines import Batch, Outcome, Receiver

SEND_SECONDS: Final = 10.0
"""For all of one attempt: look-up, connection, sending and answer."""

MAX_WAIT: Final = 3600.0
"""A receiver may ask for no more seconds of quiet."""

_MOST_ANSWER: Final = 65_536
_GONE: Final = 410
_SET_ENDS: Final = " If it never sends that (rsyslog's gtls driver), set ends to connection."

_log = logging.getLogger(__name__)

T = TypeVar("T")


class _NotWritten(Exception):
    """A batch that cannot be written in its stream's form. The text says which of its records."""


async def timed(receiver: Receiver, batch: Batch) -> tuple[Outcome, int]:
    """``send``, and how many microseconds it took."""
    begun = time.monotonic_ns()
    outcome = await send(receiver, batch)
    return outcome, (time.monotonic_ns() - begun) // 1000


async def send(receiver: Receiver, batch: Batch) -> Outcome:
    """Hand the batch over. Never raises for what a receiver does, nor for what a record holds."""
    if receiver.sealed:
        words = "its secrets do not open with this installation's key, so nothing was sent. Tell an operator."
        return Outcome(taken=False, words=words)
    try:
        match receiver.kind:
            case "webhook":
                headers, body = _written(batch, lambda part: webhook.encode(receiver, part, time.time()))
                return await _post(receiver, headers, body)
            case "otlp":
                body = _written(batch, lambda part: otlp.encode(receiver, part))
                return await _post(receiver, otlp.HEADERS, body)
        return await _over_tls(receiver, _written(batch, lambda part: syslog.encode(receiver, part)))
    except _NotWritten as fault:
        return Outcome(taken=False, words=str(fault))


def _written(batch: Batch, encode: Callable[[Batch], T]) -> T:
    """What ``encode`` makes of the batch. Raises ``_NotWritten`` for whatever it raises: it is to be seen where the
    stream is, and waited with.
    """
    try:
        return encode(batch)
    except Exception as fault:
        _log.exception("a batch of a stream cannot be written", extra={"batch": batch.name})
        if batch.test is not None:
            raise _NotWritten("it was sent nothing: the test cannot be written. Tell an operator.") from fault
        which = f"its records {batch.first} to {batch.last}"
        for line in batch.lines:
            try:
                encode(replace(batch, lines=(line,)))
            except Exception:  # noqa: BLE001 - that it fails is what is asked
                which = f"record {line.seq}"
                break
        raise _NotWritten(
            f"it was sent nothing: {which} cannot be written in the form of this stream. Tell an operator; another "
            "stream that begins behind goes on meanwhile."
        ) from fault


async def _over_tls(receiver: Receiver, body: bytes) -> Outcome:
    chosen = receiver.settings
    try:
        await hand_over(
            body,
            host=chosen["host"],
            port=chosen["port"],
            server_name=chosen["server_name"] or chosen["host"],
            authorities=chosen["authorities"],
            allow=AddressRule(settings.ENV.outbound_allow).allows,
            seconds=SEND_SECONDS,
            answered=chosen["ends"] == "close_notify",
        )
    except OutboundRefused as refused:
        hint = _SET_ENDS if refused.reason == "unanswered" else ""
        return Outcome(taken=False, words=f"{refused}.{hint}", size=len(body))
    return Outcome(taken=True, size=len(body))


async def _post(receiver: Receiver, headers: Mapping[str, str], body: bytes) -> Outcome:
    url = receiver.settings["url"] + receiver.secrets.get("query", "")
    rule = AddressRule(settings.ENV.outbound_allow)
    try:
        scheme, _, _ = read_target(url)
        client = OutboundClient(
            allow=rule.allows if scheme == "https" else rule.names, http2=False, max_connections=1
        )
        try:
            async with client.stream(
                "POST",
                url,
                headers={**receiver.secrets.get("headers", {}), **headers},
                content=body,
                seconds=SEND_SECONDS,
                most_bytes=_MOST_ANSWER,
            ) as answer:
                if 200 <= answer.status < 300:
                    rejected = await _rejected(answer) if receiver.kind == "otlp" else 0
                    return Outcome(True, _partly(rejected), answer.status, len(body))
                return _not_taken(answer.status, answer.headers, len(body))
        finally:
            await client.close()
    except OutboundRefused as refused:
        words = f"{refused}."
        if refused.reason == "denied" and url.lower().startswith("http:"):
            words = (
                "it is an http address, and those are connected to only in networks that the operator allows."
            )
        return Outcome(taken=False, words=words, size=len(body))


async def _rejected(answer: Streamed) -> int:
    try:
        return otlp.read_rejected(b"".join([piece async for piece in answer.pieces]))
    except OutboundRefused:
        return 0  # the status has said that it was taken


def _not_taken(status: int, headers: Mapping[str, str], size: int) -> Outcome:
    if status == _GONE:
        words = "it answered with status 410: it wants nothing more."
    elif 300 <= status < 400:
        words = (
            f"it answered with status {status}, which leads elsewhere. Enter the address where that leads."
        )
    else:
        words = f"it answered with status {status}."
    wait = read_wait(headers.get("retry-after", ""), time.time())
    return Outcome(False, words, status, size, gone=status == _GONE, wait=wait)


def _partly(rejected: int) -> str:
    if rejected <= 0:
        return ""
    return f"It took the batch and refused {rejected} of its records, which OTLP forbids to send again."


def read_wait(text: str, now: float) -> float | None:
    """The seconds that a ``Retry-After`` asks for (RFC 9110, section 10.2.3), or ``None``. At most an hour."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        seconds = float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(0.0, math.ceil(seconds)), MAX_WAIT)
