"""An ASGI extension of ours: an answer that is known as a whole is written in one piece. Decides nothing.

An application sends head and body as two messages, and uvicorn checks every header's name and value with a pattern
each. For a short answer that was a tenth of a call's whole time. Under ``WHOLE_ANSWER`` in the scope's extensions
there is a function that takes both at once; who does not find it sends the two messages.

The headers are the application's own words, never a client's: nothing here checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

JOINED: Final = 16 * 1024
"""Bytes of the largest body that is copied behind its head; a larger one is written by itself."""


class _Defaults:
    """The headers that every answer has, as bytes. uvicorn makes them anew each second, for the date."""

    of: Sequence[tuple[bytes, bytes]] = ()
    joined: bytes = b""


def answer_whole(
    cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> bool:
    """Write an answer and complete it. False, with nothing done, when it has to go the long way."""
    if (
        cycle.access_log
        or cycle.response_started
        or cycle.flow.write_paused
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    if cycle.disconnected:
        return True
    if _Defaults.of is not cycle.default_headers:
        _Defaults.joined = b"".join(_lines(cycle.default_headers))
        _Defaults.of = cycle.default_headers
    head = [STATUS_LINE[status], _Defaults.joined]
    for name, value in headers:
        if name == b"connection":
            return False
        head += (name, b": ", value, b"\r\n")
    if status != 204:
        head.append(b"content-length: %d\r\n" % len(body))
    head.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    if len(body) <= JOINED:
        head.append(body)
        cycle.transport.write(b"".join(head))
    else:
        cycle.transport.write(b"".join(head))
        cycle.transport.write(body)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    return [b"%s: %s\r\n" % header for header in headers]
