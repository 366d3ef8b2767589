"""Marina's own ASGI application on a real uvicorn, in a thread of the test process."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from django.conf import settings
from mcp import Client

from config.web import make_server
from core.loop import run_async
from servers.endpoint import tenure
from servers.endpoint.subscribers import Hub
from servers.services.runtime import Runtime, get_runtime
from servers.services.sources import create_source
from servers.services.tasks.hints import use_hint
from servers.services.tasks.running import get_runner
from tenants.audit.records import KIND_CALL, decode
from tenants.changes import CHANNEL, redis_client
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.oauth.program import Program
from tests.plainkind import add_kinds
from tests.plugins.live_marina import LiveMarina
from tests.protocol import lasting
from tests.protocol import talker as talking
from tests.protocol.lasting import LastingBackend
from tests.protocol.officialclient import connected
from tests.protocol.probe import KIND, ProbeBackend
from tests.protocol.talker import TalkerBackend
from tests.protocol.tally import TallyBackend
from tests.protocol.tasks import TaskClient, Workers
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint

ALL_SCOPES = ("tools:read", "tools:execute", "resources:read", "prompts:read")

Records = Callable[..., list[dict[str, Any]]]
OnLoop = Callable[..., Any]
EndOfCall = Callable[[Team], tuple[str, str]]

HearAll = Callable[[], None]


class _Started(uvicorn.Server):
    """Says when it serves, so that nobody has to ask again and again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.up.set()


@pytest.fixture(scope="session")
def probe() -> ProbeBackend:
    """The backend behind the probe's tools, in this process."""
    return ProbeBackend()


@pytest.fixture(scope="session")
def talker() -> TalkerBackend:
    """The backend behind the talker's tools, in this process."""
    return TalkerBackend()


@pytest.fixture(scope="session")
def tally_backend() -> TallyBackend:
    """The backend behind the tally's tools, in this process."""
    return TallyBackend()


@pytest.fixture(scope="session")
def lasting_backend() -> LastingBackend:
    """The backend behind the tools that take long, in this process."""
    return LastingBackend()


@pytest.fixture(scope="session")
def port(
    database: None,
    probe: ProbeBackend,
    talker: TalkerBackend,
    tally_backend: TallyBackend,
    lasting_backend: LastingBackend,
) -> Iterator[int]:
    """The port of a running Marina."""
    listening = socket.create_server(("127.0.0.1", 0))
    number: int = listening.getsockname()[1]
    before = settings.ENV
    settings.ENV = dataclasses.replace(
        before, allowed_hosts=(f"127.0.0.1:{number}",), allowed_origins=("https://app.example.com",)
    )
    from config.asgi import Application

    # Tests before these may have started one on the background loop; this Marina has a loop of its own.
    run_async(get_runtime().stop())
    add_kinds(probe, talker, tally_backend, lasting_backend)
    server = _Started(make_server(Application(), settings.ENV, lifespan="on").config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="marina")
    thread.start()
    assert server.up.wait(60), "Marina did not start"
    yield number
    server.should_exit = True
    thread.join(30)
    settings.ENV = before


@pytest.fixture(scope="session")
def second_port(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a second replica: a web process over the same database and Redis."""
    with LiveMarina(
        tmp_path_factory.mktemp("second") / "web.log", module="tests.protocol.second_replica:application"
    ).running() as marina:
        yield marina.port


@pytest.fixture
def runtime(port: int) -> Runtime:
    """The runtime of the running Marina."""
    return get_runtime()


@pytest.fixture
def hub(runtime: Runtime) -> Hub:
    """What stands open at the running Marina, and how much it serves at once."""
    found: Hub = next(each.__self__ for each in runtime.changed if hasattr(each, "__self__"))
    return found


@pytest.fixture
def hear_all(runtime: Runtime) -> HearAll:
    """Waits until the running Marina has heard of every change announced so far.

    One heard later would drop what a test just saw held. What Redis takes from one client arrives in its order.
    """

    def hear() -> None:
        heard = threading.Event()

        def mark(tenant_id: int | None) -> None:
            if tenant_id == 0:
                heard.set()

        runtime.changed.append(mark)
        try:
            redis_client().publish(CHANNEL, "0")
            # It may have begun to listen only now.
            while not heard.wait(1):
                redis_client().publish(CHANNEL, "0")
        finally:
            runtime.changed.remove(mark)

    return hear


def _team_with_tools() -> Team:
    made = make_team()
    create_source("probe-source", KIND, {}, caller=made.owner)
    return made


@pytest.fixture(scope="session")
def shared_endpoint(port: int) -> Endpoint:
    """One team for all tests that read no log."""
    team = _team_with_tools()
    return Endpoint(port, f"/mcp/{team.slug}", team.key())


@pytest.fixture
def team(hear_all: HearAll) -> Team:
    """A team of the test's own with a probe source, so with the tools crash, echo, fail, routed and wait."""
    made = _team_with_tools()
    hear_all()
    return made


@pytest.fixture
def program(port: int, team: Team) -> Program:
    """A client that knows nothing of the test's own team but its URL."""
    return Program(port, team)


@pytest.fixture
def talkers(hear_all: HearAll) -> Team:
    """A team of the test's own with a talker source: tools, resources and prompts that talk back."""
    made = make_team()
    create_source("talker-source", talking.KIND, {}, caller=made.owner)
    hear_all()
    return made


@pytest.fixture
def talk(port: int, talkers: Team) -> Endpoint:
    """The URL of the team of talkers with a key that may do all that clients do."""
    return Endpoint(port, f"/mcp/{talkers.slug}", talkers.key(*ALL_SCOPES))


@pytest.fixture(params=["2026-07-28", "legacy"])
async def client(request: pytest.FixtureRequest, access: Endpoint) -> AsyncIterator[Client]:
    """The official client, in each era, of the server that a test's module has as ``access``."""
    async with connected(access, request.param) as client:
        yield client


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """A team's URL with a key that may list and call: of the test's own team where it has one."""
    if "team" in request.fixturenames:
        team: Team = request.getfixturevalue("team")
        return Endpoint(request.getfixturevalue("port"), f"/mcp/{team.slug}", team.key())
    shared: Endpoint = request.getfixturevalue("shared_endpoint")
    return shared


@pytest.fixture
def records() -> Records:
    """Reads a team's log: the bodies of its records, oldest first, without those of the set-up."""

    def read(team: Team, **filters: Any) -> list[dict[str, Any]]:
        with tenant_scope(team.tenant_id):
            rows = AuditRecord.objects.filter(**filters).order_by("seq")
            found = [{**decode(bytes(row.body)), "seq": row.seq} for row in rows]
        return [
            record
            for record in found
            if record["kind"]
            in {"tools/call", "tools/list", "resources/read", "prompts/get", "auth", "request"}
        ]

    return read


@pytest.fixture
def end_of_call(records: Records) -> EndOfCall:
    """Waits for the record of a team's one call: its outcome and, where it has a reason, the code of that."""

    def wait(team: Team) -> tuple[str, str]:
        wait_for(lambda: bool(records(team, kind=KIND_CALL)))
        (record,) = records(team, kind=KIND_CALL)
        return record["outcome"], (record["reason"] or {}).get("code", "")

    return wait


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands open is looked at anew soon."""
    monkeypatch.setattr(tenure, "CHECK_SECONDS", 0.1)


@pytest.fixture
def on_loop(port: int) -> OnLoop:
    """Runs a coroutine on Marina's loop and waits for it."""
    return run_async


@pytest.fixture
def workers_later(port: int) -> Iterator[Workers]:
    """Workers in this process, which begin when they are told to."""
    runner = get_runner()
    run_async(runner.start())
    made = Workers(runner)
    before = use_hint(None)
    yield made
    use_hint(before)


@pytest.fixture
def workers(workers_later: Workers) -> Workers:
    """Workers in this process."""
    workers_later.begin()
    return workers_later


@pytest.fixture
def lasters(hear_all: HearAll) -> Team:
    """A team of the test's own with the tools of ``lasting``."""
    made = make_team()
    create_source("lasting-source", lasting.KIND, {}, caller=made.owner)
    hear_all()
    return made


@pytest.fixture
def tasker(port: int, lasters: Team) -> TaskClient:
    """A client of that team's that takes tasks."""
    return TaskClient(Endpoint(port, f"/mcp/{lasters.slug}", lasters.key(*ALL_SCOPES)))


@pytest.fixture
def held(lasting_backend: LastingBackend, on_loop: OnLoop) -> Iterator[LastingBackend]:
    """The backend, with nothing held before and after."""
    while lasting_backend.entered.acquire(blocking=False):
        pass
    lasting_backend.cancelled.clear()
    yield lasting_backend
    on_loop(lasting_backend.let_go(0))
