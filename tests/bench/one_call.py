"""One modern ``tools/call`` in this process, built by hand: no network, no database. Measures nothing.

Surface, grant and data source are what ``prepare`` would have made through the services. The log is the product's
writer over a connection that does nothing: each record is chained and packed, and then counts as durable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

import tenants.audit.writer
from core.extensions import WHOLE
from servers.endpoint.app import EndpointApp
from servers.execution.contract import Offered, Source
from servers.execution.engine import Engine
from servers.execution.schemas import compile_schema
from servers.services.grants import _Grant
from servers.services.runtime import Runtime, get_runtime
from servers.services.surface_cache import _Held
from servers.services.surfaces import Surface, SurfaceTool
from tenants.access import Caller
from tenants.audit.chain import EMPTY
from tenants.audit.originals import KEY_BYTES, Detail, Marks
from tenants.audit.session import Session
from tenants.audit.statements import Command
from tenants.audit.writer import AuditWriter
from tenants.models import DEFAULT_PREVIEW
from tenants.oauth_addresses import DEFAULT_SERVER
from tests.bench.echo_kind import KIND, EchoBackend
from tests.bench.works import Target, Work, WrongAnswer, prepare
from tests.plainkind import only

TENANT_ID: Final = 7
TENANT: Final = "bench-50"
TOOLS: Final = 50
_ID: Final = 100_000_001
_KEY: Final = "mcp_live_benchkey_" + "x" * 32
_HOUR: Final = 3600.0

Headers = Sequence[tuple[bytes, bytes]]


class InstantSession(Session):
    """A connection of the log's writer on which a batch is durable as soon as it was sent."""

    def __init__(self) -> None:
        self._lost = False

    @classmethod
    async def connect(
        cls, dsn: str, statements: Mapping[bytes, str], on_lost: Callable[[], None]
    ) -> InstantSession:
        """See ``Session``."""
        return cls()

    async def exchange(self, commands: Sequence[Command], *, sync: bool) -> list[Any]:
        """See ``Session``: only asked whether the log is there and may be written."""
        return [_Writable()]

    def send(self, commands: Sequence[Command], *, sync: bool) -> None:
        """See ``Session``."""

    async def receive(self, count: int, *, sync: bool) -> list[Any]:
        """See ``Session``."""
        return []

    async def close(self) -> None:
        """See ``Session``."""


class _Writable:
    def get_value(self, row: int, column: int) -> bytes:
        return b"\0"


async def start_log() -> AuditWriter:
    """The product's writer over that connection, writing."""
    log = AuditWriter("")
    with patch.object(tenants.audit.writer, "Session", InstantSession):
        await log.start()
    log._heads[TENANT_ID] = EMPTY
    return log


class WholeCall:
    """Implements ``core.extensions.Whole`` in memory."""

    __slots__ = ("_body", "answered")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.answered: tuple[int, bytes] | None = None

    def body(self) -> bytes | None:
        """See ``Whole``."""
        return self._body

    def answer(self, status: int, headers: Headers, parts: Sequence[bytes]) -> bool:
        """See ``Whole``."""
        self.answered = status, b"".join(parts)
        return True


@dataclass(slots=True)
class OneCall:
    """The endpoint with everything a call needs in its caches, and the call as it comes from uvicorn."""

    app: EndpointApp
    runtime: Runtime
    log: AuditWriter
    surface: Surface
    caller: Caller
    raw_headers: Headers
    body: bytes
    path: str

    def scope(self) -> MutableMapping[str, Any]:
        """What uvicorn would hand to the application. An answer in one piece is taken and thrown away."""
        return {
            "type": "http",
            "method": "POST",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "headers": self.raw_headers,
            "client": ("127.0.0.1", 1),
            "extensions": {WHOLE: WholeCall(self.body)},
        }

    async def receive(self) -> Mapping[str, Any]:
        """The body, which came with the headers."""
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def serve(self) -> None:
        """The whole call, its record "durable" before the answer."""
        await self.app(self.scope(), self.receive, _send)

    async def verify(self, work: Work) -> None:
        """Serve once and look at all of the answer. Raises ``WrongAnswer``."""
        whole = WholeCall(self.body)
        before = self.records
        await self.app({**self.scope(), "extensions": {WHOLE: whole}}, self.receive, _send)
        status, body = whole.answered or (0, b"nothing")
        if status != 200 or not work.check(json.loads(body).get("result", {})):
            raise WrongAnswer(f"{work.name}, in one process: HTTP {status}: {body[:500]!r}")
        if self.records != before + 1:
            raise WrongAnswer(f"{work.name}, in one process: {self.records - before} records, expected 1")

    @property
    def records(self) -> int:
        """How many are in the log."""
        return self.log._heads[TENANT_ID].seq


async def make_call(work: Work) -> OneCall:
    """Build everything for one work of 50 tools. Call it once a process, on the loop that serves."""
    url = f"{settings.ENV.base_url}/mcp/{TENANT}"
    request = prepare(work, Target(url, {"Authorization": f"Bearer {_KEY}"}))
    raw_headers, body = split_request(request.first + b"%d" % _ID + request.last)
    runtime = get_runtime()
    log = await start_log()
    runtime.writer = log
    runtime.engine = Engine(makers=only(EchoBackend()))
    caller = Caller(
        tenant_id=TENANT_ID,
        tenant_slug=TENANT,
        actor="key:bench",
        credential_id=UUID(int=TENANT_ID),
        scopes=frozenset({"tools:read", "tools:execute"}),
    )
    surface = _make_surface()
    _hold(runtime, caller, surface)
    path = urlsplit(url).path
    return OneCall(EndpointApp(), runtime, log, surface, caller, raw_headers, body, path)


def split_request(request: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A request's headers as httptools gives them, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return [(name.lower(), value.strip()) for name, _, value in lines], body


def _make_surface() -> Surface:
    source = Source(UUID(int=1), TENANT_ID, "bench", KIND, 1, {"tools": TOOLS})
    tools = tuple(_make_tool(offered, source) for offered in EchoBackend().offered(source.settings).tools)
    return Surface(
        tenant_id=TENANT_ID,
        tenant_slug=TENANT,
        slug=DEFAULT_SERVER,
        title="Bench",
        instructions="",
        public=False,
        version=1,
        tools=tools,
        by_name={tool.name: tool for tool in tools},
        detail=Detail(Marks(bytes(KEY_BYTES)), DEFAULT_PREVIEW),
    )


def _make_tool(offered: Offered, source: Source) -> SurfaceTool:
    schema = offered.output_schema
    return SurfaceTool(
        name=offered.name,
        title=offered.title,
        description=offered.description,
        input_schema=offered.input_schema,
        output_schema=schema,
        annotations=offered.annotations,
        version=1,
        operation=offered.operation,
        source=source,
        validator=compile_schema(offered.input_schema),
        output_validator=None if schema is None else compile_schema(schema),
    )


def _hold(runtime: Runtime, caller: Caller, surface: Surface) -> None:
    """Have the caches hold grant and surface for longer than any measurement."""
    grant = _Grant(caller)
    grant.until = monotonic() + _HOUR
    runtime.grants._grants[hashlib.sha256(_KEY.encode()).digest(), TENANT] = grant
    runtime.surfaces._held[TENANT_ID, surface.slug] = _Held(surface, 1, monotonic() + _HOUR)


async def _send(message: MutableMapping[str, Any]) -> None:
    raise WrongAnswer(f"the answer did not come in one piece: {message!r}"[:500])
