"""A reverse proxy that sends each request to the next replica, whatever came before it. For tests only.

``python -m tests.replicas.proxy PORT REPLICA_PORT…``. No affinity of any kind: not by session, address or
connection, and each request takes a connection of its own to its replica. Bodies are passed on piece by piece in both
directions; who goes away on one side is dropped on the other. A replica that refuses the connection is passed
over (nothing was sent to it); one that breaks off is not, since what it did is unknown: the client gets a 502, or a
broken answer where some of it had gone out. Standard output has a line of JSON for each request that ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from config.local.ports import LOOPBACK
from tests.replicas.wire import Broken, Head, Reader, copy_body, copy_rest

_LARGEST_HEAD = 256 * 1024
_NO_BODY = {204, 304}
_SWITCHING = 101
_REST_SECONDS = 1.0


class Ending(StrEnum):
    """How a request ended."""

    WHOLE = "whole"
    """The replica's answer went out whole."""

    LOST = "lost"
    """The replica broke off with the request in flight."""

    LEFT = "left"
    """The client went away first."""

    NOWHERE = "nowhere"
    """No replica took the connection."""


@dataclass(slots=True)
class Passage:
    """One request's way through. Times are seconds since the epoch; ``replica`` counts from 0."""

    method: str
    path: str
    began: float = field(default_factory=time.time)
    ended: float = 0.0
    replica: int | None = None
    status: int | None = None
    ending: Ending = Ending.NOWHERE


class Proxy:
    """Its clients' connections, and whose turn it is."""

    def __init__(self, replicas: list[int]) -> None:
        self._replicas = replicas
        self._turn = 0

    async def serve(self, port: int) -> asyncio.Server:
        """Listen on loopback."""

        def connect() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(Reader(limit=_LARGEST_HEAD), self._meet)

        return await asyncio.get_running_loop().create_server(connect, LOOPBACK, port, backlog=2048)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, Reader)
        try:
            while await self._pass_one(reader, writer):
                pass
        except Broken:
            pass
        finally:
            writer.close()

    async def _pass_one(self, reader: Reader, writer: asyncio.StreamWriter) -> bool:
        """One request. Whether the client's connection may bring another."""
        head = await Head.read(reader)
        passage = Passage(head.method, head.path)
        try:
            return await self._send_on(head, passage, reader, writer)
        finally:
            passage.ended = time.time()
            print(json.dumps(asdict(passage)), flush=True)

    async def _send_on(
        self, head: Head, passage: Passage, reader: Reader, writer: asyncio.StreamWriter
    ) -> bool:
        replica = await self._find_replica(passage)
        if replica is None:
            return await _answer_502(writer)
        upstream, downstream = replica
        downstream.write(head.encode(head.get(b"connection") if head.is_upgrade else b"close"))
        giving = asyncio.create_task(_give(head, reader, downstream))
        taking = asyncio.create_task(_take(head, passage, upstream, writer))
        leaving = asyncio.create_task(reader.gone.wait())
        try:
            # Where both are true the answer has gone out: it was the client's to close.
            await asyncio.wait({taking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                passage.ending = Ending.LEFT
                return False
            ended, again = taking.result()
            if again and not head.is_upgrade:
                # The client was told that it may go on. A quick answer is here before the task that gave the body away
                # has had its turn; one that came without the body leaves a rest of it that nobody can read past.
                await asyncio.wait({giving}, timeout=_REST_SECONDS)
            again = again and giving.done() and not head.is_upgrade
        finally:
            for task in (giving, taking, leaving):
                task.cancel()
            downstream.transport.abort()
        passage.ending = ended
        if ended is Ending.LOST:
            if passage.status is None:
                return await _answer_502(writer)
            writer.transport.abort()
        return again and ended is Ending.WHOLE

    async def _find_replica(
        self, passage: Passage
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._replicas:
            number, self._turn = self._turn, (self._turn + 1) % len(self._replicas)
            try:
                opened = await asyncio.open_connection(LOOPBACK, self._replicas[number], limit=_LARGEST_HEAD)
            except OSError:
                continue
            passage.replica = number
            return opened
        return None


async def _give(head: Head, reader: Reader, downstream: asyncio.StreamWriter) -> None:
    """The request's body, on its way to the replica. One that stops reading may still answer."""
    try:
        if head.is_upgrade:
            await copy_rest(reader, downstream)
        else:
            await copy_body(head, reader, downstream, until_end=False)
    except (Broken, OSError):
        return


async def _take(
    asked: Head, passage: Passage, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[Ending, bool]:
    """The replica's answer, on its way to the client; and whether that can tell where the answer ended."""
    try:
        head = await Head.read(upstream)
        while head.status < 200 and head.status != _SWITCHING:
            writer.write(head.encode(b"keep-alive"))
            head = await Head.read(upstream)
        passage.status = head.status
        if head.status == _SWITCHING:
            writer.write(head.encode(head.get(b"connection")))
            await copy_rest(upstream, writer)
            return Ending.WHOLE, False
        bare = asked.method == "HEAD" or head.status in _NO_BODY
        measured = bare or bool(head.get(b"content-length") or head.get(b"transfer-encoding"))
        writer.write(head.encode(b"keep-alive" if measured else b"close"))
        await writer.drain()
        if not bare:
            await copy_body(head, upstream, writer, until_end=True)
    except Broken:
        return Ending.LOST, False
    except OSError:
        return Ending.LEFT, False
    return Ending.WHOLE, measured


async def _answer_502(writer: asyncio.StreamWriter) -> bool:
    """Say that the replica broke off. The connection ends with it: the request may not have been read whole."""
    text = b"The replica broke off, or none was there.\n"
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + text)
    return False


async def main(port: int, replicas: list[int]) -> None:
    """Serve until a signal ends the process."""
    server = await Proxy(replicas).serve(port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), [int(argument) for argument in sys.argv[2:]]))
