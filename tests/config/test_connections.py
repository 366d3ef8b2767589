"""What a client may do with its connection: real sockets against a real web process, its deadlines set short."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from config.protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, SPARE_CONNECTIONS
from tests.config.doors_app import PART, PARTS
from tests.plugins.live_marina import LiveMarina

APPLICATION = "tests.config.doors_app:application"
# A reader that reads is not to be taken for one that does not because the machine stood still.
SHORT = {"MARINA_HEADER_SECONDS": "2", "MARINA_IDLE_SECONDS": "1", "MARINA_WRITE_SECONDS": "6"}
LONGEST = 60.0
STALLED = 1000
HALF = b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Half: "
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def web(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    with LiveMarina(
        tmp_path_factory.mktemp("doors") / "web.log", module=APPLICATION, environment=SHORT
    ).running(wait_for="/") as marina:
        yield marina


@pytest.fixture
def own_web(database: None, tmp_path: Path) -> Iterator[LiveMarina]:
    """A web process that the test may end, with time to end in."""
    with LiveMarina(
        tmp_path / "web.log",
        module=APPLICATION,
        environment={"MARINA_IDLE_SECONDS": "60", "MARINA_DRAIN_SECONDS": "7"},
    ).running(wait_for="/") as marina:
        yield marina


@pytest.fixture
def open_to() -> Iterator[Callable[[LiveMarina], socket.socket]]:
    with contextlib.ExitStack() as opened:

        def connect(marina: LiveMarina) -> socket.socket:
            address = ("127.0.0.1", marina.port)
            return opened.enter_context(socket.create_connection(address, timeout=LONGEST))

        yield connect


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes. A reset is an end too."""
    parts = []
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while part := connection.recv(1 << 20):
            parts.append(part)
    return b"".join(parts)


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer that says how long it is."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        assert part, "closed before the headers ended"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        part = connection.recv(65536)
        assert part, "closed before the body ended"
        body += part
    return int(head.split(b" ")[1]), body


def ask(connection: socket.socket, path: str) -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status, body = read_answer(connection)
    assert status == 200
    return body


def ask_when_there_is_room(connection: socket.socket, path: str) -> bytes:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status, body = read_answer(connection)
    return body if status == 200 else b""


def wait_for(why_not: Callable[[], bool]) -> None:
    deadline = monotonic() + LONGEST
    while not why_not():
        assert monotonic() < deadline, "it did not happen"
        sleep(0.02)


OpenTo = Callable[[LiveMarina], socket.socket]


def test_a_thousand_stalled_connections_are_closed_while_others_are_served(
    web: LiveMarina, open_to: OpenTo
) -> None:
    stalled = [open_to(web) for _ in range(STALLED)]
    for number, connection in enumerate(stalled):
        # Some say nothing at all, some half of what they want.
        connection.sendall(HALF if number % 4 else b"")
    unharmed = [ask(open_to(web), "/") for _ in range(20)]
    assert set(unharmed) == {b"served"}
    answers = [read_to_end(connection) for connection in stalled]
    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 408 Request Timeout"}
    assert ask(open_to(web), "/") == b"served"


def test_a_head_that_drips_gets_no_more_time(web: LiveMarina, open_to: OpenTo) -> None:
    connection = open_to(web)
    connection.sendall(HALF)
    ended = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.2):
                connection.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert b" 408 " in read_to_end(connection)
    finally:
        ended.set()
        dripping.join()


@pytest.mark.parametrize("before", [b"\r\n", HALF], ids=["empty lines", "half a head"])
def test_a_second_request_on_a_connection_has_the_same_deadline(
    web: LiveMarina, open_to: OpenTo, before: bytes
) -> None:
    connection = open_to(web)
    assert ask(connection, "/") == b"served"
    connection.sendall(before)
    rest = read_to_end(connection)
    assert rest == b"" or b" 408 " in rest


def test_an_idle_connection_is_closed_without_a_word(web: LiveMarina, open_to: OpenTo) -> None:
    connection = open_to(web)
    assert ask(connection, "/") == b"served"
    assert read_to_end(connection) == b""


@pytest.mark.parametrize(
    "head",
    [
        REQUEST[:-2] + b"X-Long: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
        REQUEST[:-2] + b"X-Endless: " + b"x" * (MAX_HEAD_BYTES * 16),
        REQUEST[:-2] + b"".join(b"X-%d: y\r\n" % number for number in range(MAX_HEADERS)) + b"\r\n",
        b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["one long field", "one that never ends", "too many fields", "a long path"],
)
def test_a_head_that_is_too_large_gets_431(web: LiveMarina, open_to: OpenTo, head: bytes) -> None:
    connection = open_to(web)
    answers: list[bytes] = []
    reader = threading.Thread(target=lambda: answers.append(read_to_end(connection)))
    reader.start()
    with contextlib.suppress(OSError):
        connection.sendall(head)
    reader.join(LONGEST)
    # Closing while the client still sends may take the answer from it; served it is never.
    assert not answers[0] or answers[0].startswith(b"HTTP/1.1 431 ")
    if len(head) < 2 * MAX_HEAD_BYTES:
        assert answers[0]


def test_a_head_within_the_limits_is_served_however_large_the_body_before_it_was(
    web: LiveMarina, open_to: OpenTo
) -> None:
    connection = open_to(web)
    body = b"y" * (4 * MAX_HEAD_BYTES)
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    large = REQUEST[:-2] + b"X-Large: " + b"x" * (MAX_HEAD_BYTES - 4096) + b"\r\n\r\n"
    connection.sendall(post + body + large)
    assert read_to_end(connection).count(b"HTTP/1.1 200 ") == 2


def test_requests_ahead_of_their_turn_are_bounded(web: LiveMarina, open_to: OpenTo) -> None:
    connection = open_to(web)
    connection.sendall(REQUEST * (MAX_PIPELINED * 4))
    served = read_to_end(connection).count(b"HTTP/1.1 200")
    assert MAX_PIPELINED <= served <= MAX_PIPELINED + 1


def test_a_reader_that_never_reads_is_cut_off_and_the_application_hears_of_it(
    web: LiveMarina, open_to: OpenTo
) -> None:
    connection = open_to(web)
    connection.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
    # Connections of the tests before may count against the limit for a moment yet: 503 is no answer here.
    wait_for(lambda: ask_when_there_is_room(open_to(web), "/seen") == b"disconnected")
    assert len(read_to_end(connection)) < len(PART) * PARTS


def test_a_reader_that_is_slow_but_reads_gets_all(web: LiveMarina, open_to: OpenTo) -> None:
    connection = open_to(web)
    connection.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
    left = len(PART) * PARTS
    began = monotonic()
    while left > 0:
        # Longer in all than a reader that stops is waited for.
        if monotonic() - began < 2 * int(SHORT["MARINA_WRITE_SECONDS"]):
            threading.Event().wait(0.05)
        part = connection.recv(len(PART))
        assert part, f"cut off with {left} bytes to come"
        left -= len(part)


def test_what_is_no_http_gets_400(web: LiveMarina, open_to: OpenTo) -> None:
    connection = open_to(web)
    connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert read_to_end(connection).startswith(b"HTTP/1.1 400 ")


def test_sigterm_answers_what_is_in_flight_closes_what_idles_and_refuses_new_connections(
    own_web: LiveMarina, open_to: OpenTo
) -> None:
    idle, busy = open_to(own_web), open_to(own_web)
    assert ask(idle, "/") == b"served"
    busy.sendall(b"GET /until-drained HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: ask(idle, "/waiting") == b"yes")
    assert own_web.process is not None
    own_web.process.terminate()
    assert read_answer(busy) == (200, b"draining")
    assert read_to_end(busy) == read_to_end(idle) == b""
    own_web.process.wait(LONGEST)
    with pytest.raises(ConnectionRefusedError):
        open_to(own_web)


@pytest.mark.parametrize(
    ("path", "said", "code"), [("/mcp/team/ws", ["the last answer"], 1001), ("/pages", [], 1012)]
)
def test_an_mcp_websocket_ends_itself_while_the_process_drains(
    own_web: LiveMarina, path: str, said: list[str], code: int
) -> None:
    with connect(f"ws://127.0.0.1:{own_web.port}{path}", proxy=None) as connection:
        ending = threading.Thread(target=own_web.stop)
        ending.start()
        heard: list[object] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                heard.append(connection.recv(timeout=LONGEST))
        assert heard == said
        assert connection.close_code == code
        ending.join(LONGEST)


def test_what_does_not_end_is_ended_when_the_time_to_drain_is_over(
    own_web: LiveMarina, open_to: OpenTo
) -> None:
    other, busy = open_to(own_web), open_to(own_web)
    busy.sendall(b"GET /for-ever HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for(lambda: ask(other, "/waiting") == b"yes")
    assert own_web.process is not None
    own_web.process.terminate()
    own_web.process.wait(LONGEST)


def test_several_processes_serve_one_port_and_end_together(
    database: None, tmp_path: Path, open_to: OpenTo
) -> None:
    with LiveMarina(
        tmp_path / "web.log",
        module=APPLICATION,
        environment={"WEB_CONCURRENCY": "2", "MARINA_DRAIN_SECONDS": "3"},
    ).running(wait_for="/") as marina:
        assert ask(open_to(marina), "/") == b"served"
        assert marina.process is not None
        marina.process.terminate()
        assert marina.process.wait(LONGEST) == 0
        with pytest.raises(ConnectionRefusedError):
            open_to(marina)


def test_beyond_the_limit_of_connections_others_are_told_so_and_soon_not_even_heard(
    database: None, tmp_path: Path, open_to: OpenTo
) -> None:
    with LiveMarina(
        tmp_path / "web.log", module=APPLICATION, environment={"MARINA_MAX_CONNECTIONS": "16"}
    ).running(wait_for="/") as marina:
        held = [open_to(marina) for _ in range(16)]
        over = open_to(marina)
        over.sendall(REQUEST)
        assert b" 503 " in read_to_end(over)
        held += [open_to(marina) for _ in range(SPARE_CONNECTIONS + 1)]
        assert read_to_end(held[-1]) == b""
        for connection in held:
            connection.close()
        wait_for(lambda: _is_served(open_to(marina)))


def _is_served(connection: socket.socket) -> bool:
    # Until the process has heard of those that left, it may close this one without a word.
    with contextlib.suppress(ConnectionError):
        connection.sendall(REQUEST)
        return connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    return False
