"""The proxy of sandboxed programs, spoken to byte for byte: what it passes on, what it refuses, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core import egress, passing
from core.egress import Egress
from core.hostlists import read_hosts
from core.outbound import AddressRule, parse_networks
from tests.farside import FarSide, far_side, reply
from tests.leftovers import Leftovers

pytestmark = pytest.mark.anyio

HERE = AddressRule(parse_networks(["127.0.0.0/8", "::1"])).allows
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Web processes have uvloop, workers have not."""
    return "asyncio", {"use_uvloop": request.param}


class Proxy:
    """A proxy on our own loopback, with what it noted."""

    def __init__(self, *hosts: str, inside: bool = True, listener: socket.socket | None = None) -> None:
        listener = listener or socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self.notes: list[str] = []
        allow = HERE if inside else AddressRule().allows
        self.egress = Egress(listener, read_hosts(hosts), name="ships", allow=allow, note=self.notes.append)

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *pieces: bytes) -> bytes:
        """All that is answered to these bytes."""
        reader, writer = await self.dial()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(30):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()

    async def get(self, address: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
        lines = [f"{method} {address} HTTP/1.1", "Host: other.example", *headers, "", ""]
        return await self.say("\r\n".join(lines).encode() + body)

    async def connect(self, where: str) -> bytes:
        return await self.say(connecting(where))


@asynccontextmanager
async def proxy(
    *hosts: str, inside: bool = True, listener: socket.socket | None = None
) -> AsyncIterator[Proxy]:
    made = Proxy(*hosts, inside=inside, listener=listener)
    try:
        yield made
    finally:
        await made.egress.close()


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[str]:
    """A server of anything, by its name and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.transport.abort()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with made:
        yield f"localhost:{made.sockets[0].getsockname()[1]}"


class FullListener(socket.socket):
    """One that has no file left for a connection, while ``full``."""

    full = True

    def accept(self) -> tuple[socket.socket, Any]:
        if self.full:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def connecting(where: str) -> bytes:
    return f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode()


def at(far: FarSide, path: str = "/") -> str:
    return f"http://localhost:{far.port}{path}"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_request_is_passed_on_as_the_hosts_own() -> None:
    with far_side() as far:
        far.serve(
            "/a", reply(b"found", headers={"X-Far": "1", "Connection": "x-far-only", "X-Far-Only": "2"})
        )
        async with proxy(f"localhost:{far.port}") as near:
            headers = ["Connection: x-mine", "X-Mine: 1", "Proxy-Authorization: Basic abc", "X-Kept: 2"]
            said = await near.get(at(far, "/a?b=c"), *headers)
        (asked,) = far.asked
        host = f"localhost:{far.port}"
    head, _, body = said.partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 Said", b"found")
    assert b"x-far: 1" in head.lower()
    assert b"x-far-only" not in head.lower()
    assert (asked.method, asked.target, asked.headers["host"]) == ("GET", "/a?b=c", host)
    assert asked.headers["x-kept"] == "2"
    assert not {"x-mine", "proxy-authorization"} & asked.headers.keys()


async def test_bodies_of_both_framings_are_passed_on() -> None:
    got = bytearray()

    async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil the end")
        await writer.drain()

    async with server(chunked) as where, proxy(where) as near:
        body = b"5\r\nhello\r\n0\r\n\r\n"
        said = await near.get(f"http://{where}", "Transfer-Encoding: chunked", method="POST", body=body)
    assert (b"POST / HTTP/1.1" in got, b"5\r\nhello\r\n" in got) == (True, True)
    # Its end cannot be mistaken for one that broke off.
    assert said.startswith(b"HTTP/1.1 100")
    assert b"\r\nd\r\nuntil the end\r\n0\r\n\r\n" in said
    with far_side() as far:
        far.serve("/", lambda asked, send: send(reply(asked.body * 2)))
        async with proxy(f"localhost:{far.port}") as near:
            body = os.urandom(500_000)
            said = await near.get(at(far), f"Content-Length: {len(body)}", method="POST", body=body)
    assert said.partition(b"\r\n\r\n")[2] == body * 2


async def test_a_tunnel_carries_tls_to_the_host_itself(tmp_path: Path) -> None:
    with far_side(tmp_path) as far:
        far.serve("/", reply(b"x" * 300_000))
        async with proxy(f"localhost:{far.port}") as near:
            reader, writer = await near.dial()
            writer.write(connecting(f"localhost:{far.port}"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await writer.start_tls(
                ssl.create_default_context(cafile=str(far.authority)), server_hostname="localhost"
            )
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(30):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert len(await reader.readexactly(300_000)) == 300_000
            writer.transport.abort()
            assert near.notes == []


async def test_a_side_that_has_said_all_may_still_be_answered() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        writer.write(b"you said " + asked)
        await writer.drain()

    async with server(answer_at_the_end) as where, proxy(where) as near:
        reader, writer = await near.dial()
        # Some do not wait for the answer.
        writer.write(connecting(where) + b"hello")
        writer.write_eof()
        async with asyncio.timeout(30):
            said = await reader.read()
        writer.transport.abort()
    assert said.endswith(b"\r\n\r\nyou said hello")


async def test_who_has_asked_and_says_no_more_is_answered_also_without_a_tunnel() -> None:
    async def answer_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        # The end of the request is there before the answer.
        await asyncio.sleep(0.5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfound")
        await writer.drain()

    async with server(answer_later) as where, proxy(where) as near:
        reader, writer = await near.dial()
        writer.write(f"GET http://{where}/ HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        writer.write_eof()
        async with asyncio.timeout(30):
            said = await reader.read()
        writer.transport.abort()
    assert said.endswith(b"\r\n\r\nfound")


async def test_what_is_not_listed_is_refused_and_noted_once() -> None:
    with far_side() as far:
        async with proxy(f"localhost:{far.port}", "*.example.org") as near:
            for _ in range(2):
                refused = await near.connect(f"127.0.0.1:{far.port}")
                assert refused.startswith(b"HTTP/1.1 403 ")
            assert f"may not reach 127.0.0.1:{far.port}".encode() in refused
            assert b"allows localhost:" in refused
            assert b"the operator adds it to `network`" in refused
            for where in ("localhost:443", "localhost:22", "example.org:443", "evil.example:443"):
                assert (await near.connect(where)).startswith(b"HTTP/1.1 403 ")
                assert (await near.get(f"http://{where}/")).startswith(b"HTTP/1.1 403 ")
        assert far.connections == 0
        assert near.notes[0] == f"Marina: refused 127.0.0.1:{far.port}, which is not in network of ships"
    assert len(near.notes) == 5


async def test_a_refusal_reaches_who_is_still_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_LINGER_SECONDS", 60.0)
    async with proxy("api.example.com") as near:
        body = bytes(1_000_000)
        length = f"Content-Length: {len(body)}"
        said = await near.get("http://evil.example/", length, method="POST", body=body)
    assert said.startswith(b"HTTP/1.1 403 ")


async def test_an_early_answer_reaches_who_is_still_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_LINGER_SECONDS", 60.0)

    async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too large\r\nContent-Length: 8\r\n\r\ntoo much")
        await writer.drain()

    async with server(answer_at_once) as where, proxy(where) as near:
        length = "Content-Length: 20000000"
        said = await near.get(f"http://{where}/", length, method="POST", body=bytes(4_000_000))
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.endswith(b"\r\n\r\ntoo much")


async def test_a_listed_name_leads_to_no_address_that_we_do_not_connect_to() -> None:
    with far_side() as far:
        async with proxy(f"localhost:{far.port}", f"127.0.0.1:{far.port}", inside=False) as near:
            for where in (f"localhost:{far.port}", f"127.0.0.1:{far.port}"):
                said = await near.connect(where)
                assert said.startswith(b"HTTP/1.1 403 ")
                assert b"at an address that Marina does not connect to" in said
        assert far.connections == 0
    assert near.notes[0].endswith(
        "was not reached: its host is at an address that Marina does not connect to unless MARINA_OUTBOUND_ALLOW has it"
    )


async def test_what_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *words: Any, **more: Any) -> Any:
        if host == "nothing.invalid":
            raise socket.gaierror
        return known(host, *words, **more)

    # Some resolvers answer for every name.
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with proxy(f"127.0.0.1:{port}", "nothing.invalid") as near:
        assert b"could not be connected to" in await near.connect(f"127.0.0.1:{port}")
        assert (await near.connect("nothing.invalid:443")).startswith(b"HTTP/1.1 502 ")
    assert len(near.notes) == 2


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET https://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost@evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost\\@evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://local%68ost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT localhost:443:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT http://localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT localhost:443 evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 403),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"CONNECT localhost:443\n\n", 400),
        (b"CONNECT localhost:443 HTTP/1.1\r\nX: \0\r\n\r\n", 400),
        (b"CONNECT localhost:443 HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
        (b"x" * 100_000, 431),
        # Whole, all of it there at once.
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 17_000 + b"\r\n\r\n", 431),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 100 + b"\r\n", 431),
        (b"HEAD http://localhost/ HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 100 + b"\r\n", 431),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 99 + b"\r\n", 403),
    ],
)
async def test_a_head_that_could_be_read_in_two_ways_is_refused(sent: bytes, status: int) -> None:
    async with proxy("api.example.com") as near:
        said = await near.say(sent)
        assert said.startswith(b"HTTP/1.1 %d " % status), said
        assert near.notes == ([] if status != 403 else [near.notes[0]])


async def test_a_request_whose_body_is_framed_in_an_unknown_way_is_refused_as_such() -> None:
    async with proxy("localhost:9") as near:
        said = await near.get("http://localhost:9/", "Transfer-Encoding: gzip", method="POST")
        assert said.startswith(b"HTTP/1.1 400 Bad request\r\n"), said


async def test_head_is_refused_with_a_head() -> None:
    async with proxy("api.example.com") as near:
        said = await near.get("http://evil.example/", method="HEAD")
        assert said.startswith(b"HTTP/1.1 403 Host not allowed\r\n"), said
        assert said.endswith(b"\r\n\r\n")


async def test_a_body_keeps_its_length_whatever_connection_names() -> None:
    with far_side() as far:
        far.serve("/", reply(b"one"))
        async with proxy(f"localhost:{far.port}") as near:
            said = await near.get(
                at(far), "Content-Length: 4", "Connection: Content-Length", method="POST", body=b"abcd"
            )
            assert said.endswith(b"one")
        assert [asked.body for asked in far.asked] == [b"abcd"]


async def test_what_was_accepted_a_moment_before_the_end_is_closed() -> None:
    async with proxy("api.example.com") as near:
        with socket.create_connection(("127.0.0.1", near.port)) as dialled:
            near.egress._accept()
            await near.egress.close()
            dialled.settimeout(30)
            assert dialled.recv(1) == b""


async def test_that_too_many_files_are_open_is_said() -> None:
    full = FullListener()
    full.bind(("127.0.0.1", 0))
    full.listen()
    async with proxy("api.example.com", listener=full) as near:
        asking = asyncio.create_task(near.connect("evil.example:443"))
        await until(lambda: bool(near.notes))
        assert near.notes == ["Marina: a connection of ships waits: Too many open files"]
        full.full = False
        assert (await asking).startswith(b"HTTP/1.1 403 ")


async def test_that_too_many_files_are_open_for_a_host_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_connection(*where: Any, **given: Any) -> Any:
        if "sock" not in given:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await really(*where, **given)

    async with proxy("localhost:9") as near:
        reader, writer = await near.dial()
        really = asyncio.open_connection
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "open_connection", open_connection)
            writer.write(connecting("localhost:9"))
            async with asyncio.timeout(30):
                said = await reader.read()
        writer.transport.abort()
    assert said.startswith(b"HTTP/1.1 503 "), said
    assert b"Marina has too many files open" in said


async def test_no_second_request_slips_through_with_the_first() -> None:
    with far_side() as far:
        far.serve("/", reply(b"one"))
        async with proxy(f"localhost:{far.port}") as near:
            second = b"GET /two HTTP/1.1\r\nHost: localhost\r\n\r\n"
            assert (await near.get(at(far), body=second)).endswith(b"one")
            both = await near.get(
                at(far), "Content-Length: 4", "Transfer-Encoding: chunked", method="POST", body=b"0\r\n\r\n"
            )
            assert both.startswith(b"HTTP/1.1 400 ")
            two = await near.get(
                at(far), "Content-Length: 4", "Content-Length: 5", method="POST", body=b"abcde"
            )
            assert two.startswith(b"HTTP/1.1 400 ")
        assert [asked.target for asked in far.asked] == ["/"]
        # What is refused has not been connected to.
        assert far.connections == 1


async def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "HEAD_SECONDS", 0.2)
    async with proxy("api.example.com") as near:
        assert (await near.say(b"CONNECT api.exa")).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none_is_said(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with server(talk) as where, proxy(where) as near:
        assert (await near.get(f"http://{where}/")).startswith(b"HTTP/1.1 502 ")


async def test_a_tunnel_on_which_nothing_comes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "IDLE_SECONDS", 0.3)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as where, proxy(where) as near:
        assert (await near.connect(where)).startswith(b"HTTP/1.1 200 ")


async def test_what_nobody_takes_is_not_read() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with server(pour) as where, proxy(where) as near:
        _, writer = await near.dial()
        writer.write(connecting(where))
        await until(lambda: sent > 0)
        last = -1
        # It ends when all between them is full: the kernel's buffers are the most of it.
        async with asyncio.timeout(30):
            while last != sent:
                last = sent
                await asyncio.sleep(0.5)
        writer.transport.abort()


async def test_it_leaves_nothing_open() -> None:
    gone: list[Sequence[bytes]] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone.append([await reader.read()])

    async with server(hold) as where:
        async with proxy(where) as near:  # Threads and modules are there from now on.
            assert (await near.connect("evil.example:443")).startswith(b"HTTP/1.1 403 ")
            assert not (await near.get(f"http://{where}/", "Content-Length: x")).startswith(b"HTTP/1.1 2")
            near_end = await near.dial()
            near_end[1].write(connecting(where))
            await near_end[0].readuntil(b"\r\n\r\n")
        near_end[1].transport.abort()
        await until(lambda: len(gone) == 1)
        left = Leftovers()
        for number in range(20):
            made = Proxy(where)
            ends = [await made.dial() for _ in range(3)]
            ends[0][1].write(connecting(where))
            ends[1][1].write(b"CONNECT loca")
            await ends[0][0].readuntil(b"\r\n\r\n")
            await made.egress.close()
            async with asyncio.timeout(30):
                with contextlib.suppress(ConnectionError):
                    assert await ends[0][0].read() == b""
            for _, writer in ends:
                writer.transport.abort()
            await until(lambda ended=number + 2: len(gone) == ended)  # type: ignore[misc]
        await left.none()
