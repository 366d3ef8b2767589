"""Commands that may reach some hosts, in the sandbox for real: these are reached, by real programs, nothing else is."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.egress import VARIABLES, Egress
from core.errors import InvalidInput, SourceError
from core.hostedcommands import parse_commands
from core.hostlists import read_hosts
from core.outbound import AddressRule, parse_networks
from core.sandbox import Bounds, Box
from core.sandboxed import start
from tests.farside import FarSide, far_side, reply
from tests.hosted.commands import PROGRAMS, PYTHON, SERVERS, command, node_entry, python_entry
from tests.leftovers import Leftovers
from tests.servers.execution.mcp.test_hosted import Hosting, gone, source

pytestmark = pytest.mark.anyio

RULE = AddressRule(parse_networks(["127.0.0.0/8"]))
NAMES = {
    "api.example.com": "127.0.0.1",
    "a.example.org": "127.0.0.1",
    "inner.example.com": "10.1.2.3",
    "metadata.example.com": "169.254.169.254",
    "localhost": "127.0.0.1",
}
GET = (
    "import urllib.request, urllib.error\n"
    "def get(url):\n"
    "    try:\n"
    "        return urllib.request.urlopen(url, timeout=20).read().decode()\n"
    "    except urllib.error.HTTPError as fault:\n"
    "        return f'{fault.code} {fault.read().decode()}'\n"
    "    except OSError as fault:\n"
    "        return repr(fault)\n"
)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marina's resolver knows these names, and no others. That of a command knows none."""

    def getaddrinfo(host: Any, port: Any, **more: Any) -> Any:
        if host not in NAMES and not str(host)[0].isdecimal():
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (NAMES.get(host, host), port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        server.serve("/", reply(b"reached"))
        yield server


class Reaching(Hosting):
    """An engine whose commands may reach some hosts."""

    def __init__(self, *hosts: str) -> None:
        super().__init__(command("odd", arguments=True, memory=256, network=list(hosts)), allow=RULE.allows)
        self.mark = str(uuid4())
        self.given = source("odd", args=[self.mark])

    async def does(self, code: str) -> str:
        return (await self.run(self.given, code, timeout=30)).strip()

    async def refusals(self) -> list[str]:
        await self.engine.close()
        return [line for line in self.lines if line.startswith("Marina: ")]


@pytest.fixture
async def reaching(far: FarSide) -> AsyncIterator[Reaching]:
    hosting = Reaching(
        f"api.example.com:{far.port}",
        f"*.example.org:{far.port}",
        "inner.example.com",
        "metadata.example.com",
    )
    yield hosting
    await hosting.engine.close()


async def test_hosts_that_are_listed_are_reached(reaching: Reaching, far: FarSide) -> None:
    for name in ("api.example.com", "a.example.org", "API.example.com"):
        assert await reaching.does(f"{GET}print(get('http://{name}:{far.port}/'))") == "reached"
    assert [asked.headers["host"].lower() for asked in far.asked] == [
        f"api.example.com:{far.port}",
        f"a.example.org:{far.port}",
        f"api.example.com:{far.port}",
    ]
    assert await reaching.refusals() == []


async def test_who_talks_much_hides_no_refusal(reaching: Reaching, far: FarSide) -> None:
    talk = "for n in range(400): print(n, file=sys.stderr, flush=True)\n"
    await reaching.does(f"{GET}{talk}print(get('http://evil.example:{far.port}/'))")
    assert await reaching.refusals() == [
        f"Marina: refused evil.example:{far.port}, which is not in network of odd"
    ]


async def test_no_other_is_and_its_page_says_which(reaching: Reaching, far: FarSide) -> None:
    for name in ("evil.example", "example.org", "inner.example.com", "127.0.0.2"):
        said = await reaching.does(f"{GET}print(get('http://{name}:{far.port}/'))")
        assert said.startswith("403 Marina: the command odd may not reach"), said
        assert f"{name}:{far.port}" in said
    # Listed for the port of the far side alone.
    assert (await reaching.does(f"{GET}print(get('http://api.example.com/'))")).startswith("403 ")
    assert far.connections == 0
    refusals = await reaching.refusals()
    assert refusals[0] == f"Marina: refused evil.example:{far.port}, which is not in network of odd"
    assert len(refusals) == 5


async def test_a_listed_name_at_an_inner_address_is_not_reached(reaching: Reaching) -> None:
    for name in ("inner.example.com", "metadata.example.com"):
        said = await reaching.does(f"{GET}print(get('http://{name}/'))")
        assert "403 Marina" in said
        assert "at an address that Marina does not connect to" in said
    assert len(await reaching.refusals()) == 2


async def test_without_the_proxy_there_is_nothing(reaching: Reaching, far: FarSide) -> None:
    tried = (
        "import socket\n"
        f"for address in [('127.0.0.1', {far.port}), ('169.254.169.254', 80), ('1.1.1.1', 443)]:\n"
        "    try: socket.create_connection(address, 20)\n"
        "    except OSError as fault: print(fault.errno)\n"
        "try: socket.getaddrinfo('api.example.com', 443)\n"
        "except OSError as fault: print('no name')\n"
    )
    assert (await reaching.does(tried)).split("\n") == ["111", "101", "101", "no name"]
    # Nor is an address of the host's: names are what is listed.
    by_address = (
        "import http.client\n"
        "c = http.client.HTTPConnection('127.0.0.1', 3128, timeout=20)\n"
        f"c.request('GET', 'http://127.0.0.1:{far.port}/', headers={{'Host': 'api.example.com:{far.port}'}})\n"
        "print(c.getresponse().status)\n"
    )
    assert await reaching.does(by_address) == "403"
    assert far.connections == 0


def trusted_here() -> str:
    """How many authorities a program of this machine trusts, as it is set up."""
    count = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    return subprocess.run(
        [PYTHON, "-c", count], env={}, capture_output=True, text=True, check=True
    ).stdout.strip()


async def test_tls_is_between_the_command_and_the_host(tmp_path: Path) -> None:
    with far_side(tmp_path) as far:
        far.serve("/", reply(b"reached"))
        assert far.authority is not None
        hosting = Reaching(f"localhost:{far.port}")
        code = (
            "import http.client, ssl\n"
            "print(ssl.create_default_context().cert_store_stats()['x509_ca'])\n"
            f"trusted = ssl.create_default_context(cadata={far.authority.read_text()!r})\n"
            "c = http.client.HTTPSConnection('127.0.0.1', 3128, context=trusted, timeout=20)\n"
            f"c.set_tunnel('localhost', {far.port})\n"
            "c.request('GET', '/')\n"
            "print(c.getresponse().read().decode())\n"
        )
        try:
            said = await hosting.does(code)
        finally:
            await hosting.engine.close()
    # Whom this machine trusts is known inside.
    assert said.split("\n") == [trusted_here(), "reached"]


async def test_tunnels_end_with_the_command(reaching: Reaching, far: FarSide) -> None:
    over: list[bytes] = []
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.append(await reader.read())
        loop.call_soon(ended.set)
        writer.transport.abort()

    held = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with held:
        port = held.sockets[0].getsockname()[1]
        hosting = Reaching(f"api.example.com:{port}")
        code = (
            "import socket\n"
            "c = socket.create_connection(('127.0.0.1', 3128), 20)\n"
            f"c.sendall(b'CONNECT api.example.com:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nhello')\n"
            "print(c.recv(12).decode())\n"
            "sys.kept = c\n"
        )
        assert await hosting.does(code) == "HTTP/1.1 200"
        assert not ended.is_set()
        await hosting.engine.close()
        async with asyncio.timeout(30):
            await ended.wait()
    assert over == [b"hello"]


async def test_nothing_is_left_behind(reaching: Reaching, far: FarSide) -> None:
    reach = f"{GET}print(get('http://api.example.com:{far.port}/'))"
    assert await reaching.does(reach) == "reached"
    await reaching.engine.close()
    left = Leftovers()
    for _ in range(20):
        assert await reaching.does(reach) == "reached"
        await reaching.backend.upstreams.close()
    await left.none()
    assert await gone(reaching.mark)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "NO_PROXY", "NODE_USE_ENV_PROXY"])
async def test_a_team_cannot_lead_around_the_proxy(reaching: Reaching, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        reaching.backend.clean_settings({"command": "odd", "env": {name: "http://127.0.0.1:1"}})
    assert [each["path"] for each in refused.value.errors] == [f"env.{name}"]
    # What was stored before hosts were listed is not begun, either.
    with pytest.raises(SourceError) as denied:
        await reaching.run(source("odd", env={name: "x"}), "print(7)")
    assert (denied.value.code, f"Leave {name} out" in denied.value.message) == ("source_denied", True)


def test_who_chooses_a_command_is_told_what_it_reaches() -> None:
    hosting = Hosting(
        command("odd", network=["api.example.com", "*.example.org:8443"], note="Odd."),
        command("yard", network=True),
    )
    told = hosting.backend.settings_schema["properties"]["command"]["description"]
    assert "odd: Odd; reaches api.example.com, *.example.org:8443 alone" in told
    assert "yard: reaches all that this machine does" in told


async def test_node_reaches_them_by_its_own_fetch(far: FarSide) -> None:
    script = (
        f"const where = 'http://api.example.com:{far.port}/';"
        "fetch(where).then(r => r.text()).then(console.log, e => console.log(String(e)))"
        f".then(() => fetch('http://evil.example:{far.port}/')).catch(e => console.log(String(e)))"
    )
    entry = node_entry(Path(__file__), folder=PROGRAMS)
    box = Box(
        [entry["run"][0], "-e", script], VARIABLES, entry["folders"], door=True, bounds=Bounds(memory=1_024)
    )
    sandboxed = await start(box)
    door = sandboxed.take_door()
    assert door is not None
    notes: list[str] = []
    hosts = read_hosts([f"api.example.com:{far.port}"])
    egress = Egress(door, hosts, name="node", allow=RULE.allows, note=notes.append)
    try:
        async with asyncio.timeout(60):
            said = (await sandboxed.stdout.read()).decode()
    finally:
        await sandboxed.end(at_once=True)
        await egress.close()
    # It asks for a tunnel also where there is no TLS, and shows nobody why it got none.
    assert (said, len(notes), far.connections) == ("reached\nTypeError: fetch failed\n", 1, 1)


async def test_a_server_of_others_fetches_what_is_listed_and_nothing_else(far: FarSide) -> None:
    assert SERVERS.exists(), "The servers for tests are not installed. Run `make test-clients`."
    far.serve("/page", reply(b"a page of theirs"))
    fetch = python_entry(
        "mcp_server_fetch",
        "--allow-private-ips",
        "--ignore-robots-txt",
        network=[f"api.example.com:{far.port}"],
    )
    hosting = Hosting(*parse_commands({"fetch": fetch}), allow=RULE.allows)
    given = source("fetch")
    try:
        read = await hosting.call(given, "fetch", url=f"http://api.example.com:{far.port}/page", timeout=60)
        refused = await hosting.call(given, "fetch", url=f"http://evil.example:{far.port}/page", timeout=60)
    finally:
        await hosting.engine.close()
    assert "a page of theirs" in read.text
    assert "a page of theirs" not in refused.text
    assert f"Marina: refused evil.example:{far.port}, which is not in network of fetch" in hosting.lines
