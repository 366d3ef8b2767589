"""Requests that would hold others up go on in the heavy process, connection and all; without one nothing changes."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.env import BadEnvironment, parse_env
from config.handover import LONGEST_PATH, hand_over
from config.heavy import NICENESS
from config.local.options import read_options
from config.local.plan import child_environment, make_plan
from config.protocol import HEAVY_BYTES, HEAVY_REST_BYTES
from tests.config.heavy_app import MUCH
from tests.leftovers import Leftovers
from tests.plugins.live_marina import LiveMarina
from tests.protocol.waiting import wait_for
from tests.turns import has_long_turns

APPLICATION = "tests.config.heavy_app:application"
LARGE = os.urandom(HEAVY_BYTES)
MOST_WAITING = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
"""Connections that wait to be taken."""


@contextmanager
def serving(folder: Path) -> Iterator[LiveMarina]:
    environment = {
        "HEAVY_LEFT": str(folder / "left"),
        "HEAVY_DONE": str(folder / "done"),
        "MARINA_IDLE_SECONDS": "60",
    }
    marina = LiveMarina(folder / "web.log", module=APPLICATION, environment=environment)
    with marina.with_heavy(), marina.running(wait_for="/"):
        yield marina


@pytest.fixture(scope="module")
def web(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    with serving(tmp_path_factory.mktemp("heavy")) as marina:
        yield marina


@pytest.fixture
def own_web(database: None, tmp_path: Path) -> Iterator[LiveMarina]:
    """Whose heavy process a test may end."""
    with serving(tmp_path) as marina:
        yield marina


@pytest.fixture
def client(web: LiveMarina) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
    yield connection
    connection.close()


def ask(client: http.client.HTTPConnection, method: str, path: str, body: Any = None, **more: Any) -> Any:
    client.request(method, path, body, **more)
    answer = client.getresponse()
    assert answer.status == 200
    return json.loads(answer.read())


def dialled(web: LiveMarina) -> socket.socket:
    return socket.create_connection(("127.0.0.1", web.port), timeout=60)


def head_of(path: str, *more: str, size: int = len(LARGE)) -> bytes:
    """The head of a request with a large body."""
    lines = [f"POST {path} HTTP/1.1", "Host: h", *more, f"Content-Length: {size}", "", ""]
    return "\r\n".join(lines).encode()


def answers(connection: socket.socket) -> list[Any]:
    """What is said on a connection until it ends."""
    read = b""
    while piece := connection.recv(65_536):
        read += piece
    return [json.loads(body) for body in re.findall(rb"\{[^}]*\}", read)]


def ask_once(web: LiveMarina, path: str, body: bytes) -> Any:
    """On a connection of its own."""
    client = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
    try:
        return ask(client, "POST", path, body)
    finally:
        client.close()


def pid_of_heavy(web: LiveMarina) -> int:
    assert web.heavy is not None
    assert web.heavy.process is not None
    return web.heavy.process.pid


def test_a_large_body_is_read_elsewhere_and_whole(
    web: LiveMarina, client: http.client.HTTPConnection
) -> None:
    said = ask(client, "POST", "/mcp/team?a=b", LARGE * 20)
    assert said["pid"] == pid_of_heavy(web)
    assert said["nice"] == NICENESS + os.nice(0)
    assert (said["size"], said["sha256"]) == (len(LARGE) * 20, hashlib.sha256(LARGE * 20).hexdigest())
    assert (said["method"], said["path"], said["query"]) == ("POST", "/mcp/team", "a=b")


def test_it_sees_the_clients_own_address(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.sendall(head_of("/mcp/t") + LARGE)
        (said,) = answers(connection)
        assert said["peer"] == connection.getsockname()[1]


@pytest.mark.parametrize(
    ("path", "size", "elsewhere"),
    [
        ("/mcp/team", HEAVY_BYTES - 1, False),
        ("/mcp/team", HEAVY_BYTES, True),
        ("/api/v1/tenants/t/tools/sum", HEAVY_REST_BYTES - 1, False),
        ("/api/v1/tenants/t/tools/sum", HEAVY_REST_BYTES, True),
        ("/app/t/tools/sum", HEAVY_REST_BYTES, True),
        ("/api/v1/tenants/t/tools/sum/call", HEAVY_BYTES - 1, False),
        ("/app/t/tools/sum/try", HEAVY_BYTES, True),
    ],
)
def test_from_which_size_on_it_is_large(web: LiveMarina, path: str, size: int, elsewhere: bool) -> None:
    said = ask_once(web, path, LARGE[:size])
    assert (said["pid"], said["size"]) == (pid_of_heavy(web) if elsewhere else web.pid, size)


@pytest.mark.parametrize(
    ("method", "path", "elsewhere"),
    [
        ("POST", "/mcp/team", False),
        ("POST", "/mcp/data-sources", False),
        ("POST", "/api/v1/tenants/t/keys", False),
        ("POST", "/api/v1/tenants/t/data-sources", True),
        ("PATCH", "/api/v1/tenants/t/data-sources/7", True),
        ("GET", "/api/v1/tenants/t/data-sources", False),
        ("POST", "/app/t/data-sources/new", True),
        ("POST", "/app/t/data%2Dsources/new", True),
        ("POST", "/app/t/keys?back=/data-sources", False),
        ("POST", "/api/v1/tenants/t/configuration/apply", True),
        ("GET", "/api/v1/tenants/t/configuration.yaml", False),
    ],
)
def test_what_makes_much_of_little_goes_there_too(
    web: LiveMarina, client: http.client.HTTPConnection, method: str, path: str, elsewhere: bool
) -> None:
    said = ask(client, method, path, None if method == "GET" else b"{}")
    assert said["pid"] == (pid_of_heavy(web) if elsewhere else web.pid)


def test_a_small_body_in_chunks_stays(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.sendall(
            b"POST /mcp/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\n\r\n"
        )
        (said,) = answers(connection)
    assert (said["pid"], said["size"]) == (web.pid, 2)


def test_a_body_of_unknown_length_goes_there(web: LiveMarina, client: http.client.HTTPConnection) -> None:
    said = ask(client, "POST", "/mcp/team", iter([LARGE, b"c"]), encode_chunked=True)
    assert (said["pid"], said["size"]) == (pid_of_heavy(web), len(LARGE) + 1)


def test_a_connection_ends_with_the_answer_to_what_was_large(
    web: LiveMarina, client: http.client.HTTPConnection
) -> None:
    client.request("POST", "/mcp/team", b"{}")
    small = client.getresponse()
    assert small.getheader("connection") is None
    assert json.loads(small.read())["pid"] == web.pid
    # On the same connection, which goes over.
    client.request("POST", "/mcp/team", LARGE)
    large = client.getresponse()
    assert large.getheader("connection") == "close"
    assert json.loads(large.read())["pid"] == pid_of_heavy(web)
    assert ask(client, "POST", "/mcp/team", b"{}")["pid"] == web.pid


def test_a_head_that_comes_byte_by_byte_goes_over_whole(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head_of("/mcp/team", "X-More: " + "x" * 50):
            connection.sendall(bytes([byte]))
        connection.sendall(LARGE)
        (said,) = answers(connection)
    assert (said["pid"], said["sha256"]) == (pid_of_heavy(web), hashlib.sha256(LARGE).hexdigest())


def test_what_comes_behind_another_request_stays(web: LiveMarina) -> None:
    """Its first byte lies in the middle of what was read: it is answered in its turn, where the first one is."""
    with dialled(web) as connection:
        small = b"POST /mcp/a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
        connection.sendall(small + head_of("/mcp/b", "Connection: close") + LARGE)
        seen = answers(connection)
    assert [(said["path"], said["size"]) for said in seen] == [("/mcp/a", 2), ("/mcp/b", len(LARGE))]
    assert {said["pid"] for said in seen} == {web.pid}


def test_who_asks_before_sending_is_told_to_go_on(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.sendall(head_of("/mcp/a", "Expect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(LARGE)
        (said,) = answers(connection)
    assert said["pid"] == pid_of_heavy(web)


def test_whoever_leaves_is_noticed_there(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.sendall(head_of("/mcp/left") + LARGE)
        time.sleep(0.2)
    left = web.log.with_name("left")
    wait_for(lambda: left.exists() and left.read_text() == str(pid_of_heavy(web)))


def test_who_is_refused_early_gets_the_answer_and_no_reset(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.sendall(head_of("/mcp/refused", size=20 * len(LARGE)))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        for _ in range(20):
            connection.sendall(LARGE)
        (said,) = answers(connection)
    assert (said["refused"], said["pid"]) == (True, pid_of_heavy(web))


def test_an_answer_that_is_not_read_yet_is_not_cut(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.sendall(b"POST /mcp/much HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        # The answer fills what is between the two: the rest waits in the process.
        time.sleep(0.3)
        connection.sendall(head_of("/mcp/b", "Connection: close") + LARGE)
        read = b""
        while piece := connection.recv(65_536):
            read += piece
    assert read.count(b"~") == MUCH
    assert b'"path": "/mcp/b"' in read


@pytest.mark.parametrize("others", [1, 2])
def test_what_follows_in_the_same_read_is_not_done_in_both(web: LiveMarina, others: int) -> None:
    with dialled(web) as connection:
        small = b"DELETE /mcp/done HTTP/1.1\r\nHost: h\r\n\r\n"
        # Chunks, so that it is large by its head and ends in the first reads.
        body = b"1\r\nx\r\n0\r\nA-Trailer: 1\r\n\r\n"
        head = b"POST /mcp/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + body + small * others)
        said = answers(connection)
    assert [(each["path"], each["pid"]) for each in said] == [("/mcp/a", pid_of_heavy(web))]
    assert not web.log.with_name("done").exists()


def test_who_would_change_the_protocol_stays(web: LiveMarina) -> None:
    with dialled(web) as connection:
        connection.sendall(head_of("/mcp/a", "Connection: Upgrade, close", "Upgrade: websocket") + LARGE)
        assert ask_once(web, "/mcp/b", b"{}")["pid"] == web.pid
    assert "Traceback" not in web.log.read_text()


def test_other_processes_of_the_machine_go_first(web: LiveMarina) -> None:
    grouped = Path(f"/proc/{pid_of_heavy(web)}/autogroup")
    assert os.getpriority(os.PRIO_PROCESS, pid_of_heavy(web)) == NICENESS + os.nice(0)
    if grouped.exists():
        assert grouped.read_text().split()[-1] == str(NICENESS)
    assert has_long_turns(pid_of_heavy(web))


def test_while_it_stands_still_others_are_answered(own_web: LiveMarina) -> None:
    """What waits for it waits; when as much waits as may, web processes answer by themselves."""
    assert own_web.heavy is not None
    stopped = own_web.heavy.process
    assert stopped is not None
    stopped.send_signal(signal.SIGSTOP)
    with ExitStack() as opened:
        waiting = [opened.enter_context(dialled(own_web)) for _ in range(MOST_WAITING + 20)]
        for connection in waiting:
            connection.sendall(head_of("/mcp/a", "Connection: close"))
        assert ask_once(own_web, "/mcp/b", b"{}")["pid"] == own_web.pid
        for connection in waiting[-5:]:
            connection.sendall(LARGE)
            assert answers(connection)[0]["pid"] == own_web.pid
        stopped.send_signal(signal.SIGCONT)
        for connection in waiting[:-5]:
            connection.sendall(LARGE)
            (said,) = answers(connection)
            assert said["sha256"] == hashlib.sha256(LARGE).hexdigest()
    assert "are answered here" in own_web.log.read_text()


def test_many_at_once_are_all_answered(web: LiveMarina) -> None:
    answered: list[int] = []

    def send() -> None:
        said = ask_once(web, "/mcp/team", LARGE)
        assert said["sha256"] == hashlib.sha256(LARGE).hexdigest()
        answered.append(said["pid"])

    threads = [threading.Thread(target=send) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answered) == 60
    assert pid_of_heavy(web) in answered


def test_without_it_the_web_process_answers_itself(own_web: LiveMarina) -> None:
    heavy = own_web.heavy
    assert heavy is not None
    heavy.kill()
    assert heavy.path.exists()
    said = ask_once(own_web, "/mcp/team", LARGE)
    assert (said["pid"], said["sha256"]) == (own_web.pid, hashlib.sha256(LARGE).hexdigest())
    # Another one takes the place that the first one left.
    heavy.start(own_web)
    wait_for(lambda: ask_once(own_web, "/mcp/team", LARGE)["pid"] == pid_of_heavy(own_web))
    heavy.stop()
    assert not heavy.path.exists()
    assert ask_once(own_web, "/mcp/team", LARGE)["pid"] == own_web.pid


def test_what_it_answers_is_answered_before_it_ends(own_web: LiveMarina) -> None:
    assert own_web.heavy is not None
    ending = own_web.heavy.process
    assert ending is not None
    client = http.client.HTTPConnection("127.0.0.1", own_web.port, timeout=60)
    client.request("POST", "/mcp/slow", LARGE)
    answer = client.getresponse()
    ending.send_signal(signal.SIGTERM)
    assert json.loads(answer.read())["pid"] == ending.pid
    client.close()
    # uvicorn ends by the signal when all is done.
    assert ending.wait(30) == -signal.SIGTERM


def test_nobody_else_hands_anything_over(web: LiveMarina) -> None:
    assert web.heavy is not None
    assert stat.S_IMODE(web.heavy.path.stat().st_mode) == 0o600


@pytest.mark.anyio
async def test_nothing_is_handed_over_to_nobody(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        leftovers = Leftovers()
        assert not hand_over(ours.fileno(), [b"x"], to=str(tmp_path / "nobody"))
        await leftovers.none()


@pytest.mark.parametrize("path", ["heavy.sock", "/" + "x" * LONGEST_PATH])
def test_a_path_that_no_socket_can_have_is_told(path: str) -> None:
    with pytest.raises(BadEnvironment, match="MARINA_HEAVY_SOCKET"):
        parse_env({**os.environ, "MARINA_HEAVY_SOCKET": path})


@pytest.mark.parametrize(("home", "there"), [("/srv/marina", True), ("/srv/" + "x" * LONGEST_PATH, False)])
def test_a_local_run_has_one_where_its_socket_can_be(home: str, there: bool) -> None:
    options = read_options({"MARINA_HOME": home})
    names = [service.name for service in make_plan(options).services]
    assert ("heavy" in names) is there
    environment = child_environment({}, options, master_key="k", database_url="d", redis_url="r")
    assert environment["MARINA_HEAVY_SOCKET"] == (f"{home}/heavy.sock" if there else "")
