"""An ASGI extension of ours: a request's body and its answer, each taken in one piece. Decides nothing.

An application receives a body in messages, which is two coroutines even where all of it is there; and it sends head
and body as two messages, of which uvicorn checks every header's name and value with a pattern each. For a short call
that was a tenth of its whole time. Who does not find the extension, or hears no from it, goes the long way.

The headers are the application's own words, never a client's: nothing here checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

JOINED: Final = 1024 * 1024
"""Bytes of the largest body that is copied behind its head. uvloop takes several pieces a slow way: for 230 KB the copy
costs a third of what it spares. A larger body would hold the loop for as long as it is copied.
"""


class _Defaults:
    """The headers that every answer has, as bytes. uvicorn makes them anew each second, for the date."""

    of: Sequence[tuple[bytes, bytes]] = ()
    joined: bytes = b""


class WholeCycle:
    """Implements ``core.extensions.Whole`` for one of uvicorn's requests."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def body(self) -> bytes | None:
        """See ``Whole``."""
        cycle = self._cycle
        if cycle.more_body or cycle.disconnected or cycle.response_complete or cycle.waiting_for_100_continue:
            return None
        body = bytes(cycle.body)
        cycle.body.clear()
        # Whoever receives from now on waits for the client to go away, and nothing else.
        cycle.message_event.clear()
        cycle.flow.resume_reading()
        return body

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], parts: Sequence[bytes]) -> bool:
        """See ``Whole``."""
        cycle = self._cycle
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
        size = sum(map(len, parts))
        if status != 204:
            head.append(b"content-length: %d\r\n" % size)
        head.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        if size <= JOINED:
            cycle.transport.write(b"".join((*head, *parts)))
        else:
            cycle.transport.writelines((b"".join(head), *parts))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    return [b"%s: %s\r\n" % header for header in headers]
