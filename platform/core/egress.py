"""The proxy by which a program in a sandbox reaches some hosts, and no others: HTTP/1.1, CONNECT and ``http://``.

A host is looked up in the list by its name, and then resolved, judged and connected to as all that is outbound
(``core.outbound``): the program resolves nothing itself. What a tunnel carries is not looked into. All of it ends with
``close``.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import h11
import httpcore2

from core.finishing import heed, stop
from core.hostlists import AllowedHost, allows, as_authority, in_words, read_authority
from core.lookups import OF_COMMANDS
from core.outbound import AllowAddress
from core.outbound_http import OutboundRefused, judged_addresses
from core.outbound_lines import connect_to_one
from core.pace import Pace
from core.passing import BYTES_A_SECOND, PIECE, Asking, Refused, Side
from core.sandbox import DOOR_PORT

MAX_CONNECTIONS: Final = 32
"""Of one program at once; further ones wait."""
HEAD_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 20.0
"""For a host to be looked up and connected to."""
CONNECTION_BYTES: Final = 524_288
"""What one more connection counts for, as if so much had passed: it costs a millisecond."""
NOTES_A_MINUTE: Final = 20

_PROXY: Final = f"http://127.0.0.1:{DOOR_PORT}"
_AROUND: Final = "localhost,127.0.0.1"
VARIABLES: Final = {
    **{name: _PROXY for each in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (each, each.lower())},
    "NO_PROXY": _AROUND,
    "no_proxy": _AROUND,
    # Where Node.js finds this, it heeds the others.
    "NODE_USE_ENV_PROXY": "1",
}
"""What a program finds in its environment, so that it comes here."""

_LOOKING_UP: Final = 2
"""Names of one program at once."""
_REST_SECONDS: Final = 1.0
_TARGET: Final = re.compile(rb"(?i:http)://([^/?#@\\\x00-\x20\x7f-\xff]+)((?:[/?][!-~]*)?)")
_TOO_MANY_FILES: Final = (errno.EMFILE, errno.ENFILE)


class Egress:
    """Serves the connections of one program, which come by ``listener``, from the event loop that it is made in."""

    def __init__(
        self,
        listener: socket.socket,
        hosts: Sequence[AllowedHost],
        *,
        name: str,
        allow: AllowAddress,
        note: Callable[[str], None],
    ) -> None:
        """``name``: what the program is called. ``note`` is told what was refused, or not reached."""
        self._listener = listener
        self._hosts = hosts
        self._name = name
        self._allow = allow
        self._notes = _Notes(note)
        self._pace = Pace(BYTES_A_SECOND)
        self._looking_up = asyncio.Semaphore(_LOOKING_UP)
        self._loop = asyncio.get_running_loop()
        self._serving: set[asyncio.Task[None]] = set()
        self._accepted: set[socket.socket] = set()
        """Those whose task has not begun."""
        self._asked: set[asyncio.Task[list[str]]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._listens = False
        self._closed = False
        self._listen()

    async def close(self) -> None:
        """End all connections, and take no more."""
        self._closed = True
        self._deafen()
        if self._resting is not None:
            self._resting.cancel()
        self._listener.close()
        try:
            await stop(*self._serving, *self._asked)
        finally:
            for accepted in self._accepted:
                accepted.close()
        # The loop closes sockets in its next round.
        await asyncio.sleep(0)

    def _listen(self) -> None:
        self._resting = None
        if not (self._listens or self._closed) and len(self._serving) < MAX_CONNECTIONS:
            self._listens = True
            self._loop.add_reader(self._listener, self._accept)

    def _deafen(self) -> None:
        if self._listens:
            self._listens = False
            self._loop.remove_reader(self._listener)

    def _rest(self, seconds: float) -> None:
        """Take no connection for some time."""
        self._deafen()
        self._resting = self._loop.call_later(seconds, self._listen)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError as fault:
            # Too many files are open, perhaps: it would be so again at once.
            self._notes.add(f"Marina: a connection of {self._name} waits: {fault.strerror}")
            self._rest(_REST_SECONDS)
            return
        accepted.setblocking(False)
        self._accepted.add(accepted)
        task = self._loop.create_task(self._serve(accepted))
        self._serving.add(task)
        task.add_done_callback(self._served)
        if len(self._serving) >= MAX_CONNECTIONS:
            self._notes.add(
                f"Marina: {MAX_CONNECTIONS} connections of {self._name} are open; further ones wait"
            )
        if (ahead := self._pace.count(CONNECTION_BYTES)) > 0:
            self._rest(ahead)
        elif len(self._serving) >= MAX_CONNECTIONS:
            self._deafen()

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        if self._resting is None:
            self._listen()

    async def _serve(self, accepted: socket.socket) -> None:
        self._accepted.discard(accepted)
        try:
            near = Side(*await asyncio.open_connection(sock=accepted, limit=PIECE))
        except OSError:
            accepted.close()
            return
        except BaseException:
            accepted.close()
            raise
        asking = Asking(near, self._pace)
        try:
            try:
                await self._answer(asking)
            except Refused as refused:
                await asking.refuse(refused)
            await near.close()
        except (OSError, RuntimeError, h11.ProtocolError):
            # One of both went away (RuntimeError: uvloop's, on what is closed), or fell silent: nobody is left to tell.
            pass
        finally:
            near.abort()

    async def _answer(self, asking: Asking) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                asked = await asking.read_head()
        except TimeoutError:
            raise Refused(408, f"The request did not come within {HEAD_SECONDS:g} s.") from None
        if asked.method == b"CONNECT":
            far = await self._reach(*_read(asked.target))
            try:
                await asking.tunnel(far)
                await far.close()
            finally:
                far.abort()
            return
        found = _TARGET.fullmatch(asked.target)
        if found is None:
            raise Refused(400, "This is a proxy, which takes CONNECT host:port, and addresses with http://.")
        far = await self._reach(*_read(found[1], 80))
        try:
            target = found[2] if found[2].startswith(b"/") else b"/" + found[2]
            await asking.pass_on(asked, far, host=found[1], target=target)
        finally:
            far.abort()

    async def _reach(self, host: str, port: int) -> Side:
        """A connection to a host. Raises ``Refused`` where it is not of the list, or cannot be reached."""
        where = as_authority(host, port)
        if not allows(self._hosts, host, port):
            self._notes.add(f"Marina: refused {where}, which is not in network of {self._name}")
            raise Refused(
                403,
                f"the command {self._name} may not reach {where}. The operator's entry allows "
                f"{in_words(self._hosts)}; where this one is needed, the operator adds it to `network`.",
            )
        late = "its name was not looked up in time"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                addresses = await self._look_up(host, port)
                late = f"it could not be connected to within {CONNECT_SECONDS:g} s"
                return await connect_to_one(addresses, lambda address: _connect(address, port))
        except OutboundRefused as fault:
            status, why = 502, str(fault)
            if fault.reason == "denied":
                status, why = 403, f"{why} unless MARINA_OUTBOUND_ALLOW has it"
        except httpcore2.ConnectError as fault:
            status, why = 502, "it could not be connected to"
            if getattr(fault.__cause__, "errno", None) in _TOO_MANY_FILES:
                status, why = 503, "Marina has too many files open; try again soon"
        except TimeoutError:
            status, why = 504, late
        self._notes.add(f"Marina: {where} was not reached: {why}")
        raise Refused(status, f"{where} was not reached: {why}.")

    async def _look_up(self, host: str, port: int) -> list[str]:
        """One that nobody waits for any more keeps its place until it ends: it keeps its thread, too."""
        await self._looking_up.acquire()
        looking = judged_addresses(host, port, allow=self._allow, lookups=OF_COMMANDS)
        task = self._loop.create_task(looking)
        self._asked.add(task)
        task.add_done_callback(self._looked_up)
        return await asyncio.shield(task)

    def _looked_up(self, task: asyncio.Task[list[str]]) -> None:
        self._asked.discard(task)
        self._looking_up.release()
        heed(task)


class _Notes:
    """What is said of refusals: each once a minute, and not many."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._said: set[str] = set()
        self._since = monotonic()

    def add(self, text: str) -> None:
        if monotonic() - self._since > 60:
            self._said.clear()
            self._since = monotonic()
        if text not in self._said and len(self._said) < NOTES_A_MINUTE:
            self._said.add(text)
            self._note(text)


async def _connect(address: str, port: int) -> Side:
    try:
        return Side(*await asyncio.open_connection(address, port, limit=PIECE))
    except OSError as fault:
        raise httpcore2.ConnectError(fault) from fault


def _read(authority: bytes, default: int | None = None) -> tuple[str, int]:
    try:
        return read_authority(authority.decode("latin-1"), default)
    except ValueError:
        raise Refused(400, "The request names no host and port that there can be.") from None
