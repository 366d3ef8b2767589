"""The ASGI object for ``/mcp/{tenant}`` and ``/mcp/{tenant}/{server}``: framing, order of checks, error boundary.

The order: Host and Origin, method and path, content type, Accept and declared size, credential, server, body,
JSON, envelope, method. What the body asks for is ``methods``' business.

Sessions and streams (GET, DELETE, ``Mcp-Session-Id``) are not offered yet: both eras are served statelessly.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from django.conf import settings

from core.errors import Forbidden, MarinaError, NotFound
from servers.endpoint.authentication import identify
from servers.endpoint.body import ClientGone, DisconnectWatch, read_body
from servers.endpoint.eras import (
    BATCH_VERSION,
    check_batched,
    check_envelope,
    check_modern_notification,
    check_modern_request,
    header_version,
    legacy_version,
)
from servers.endpoint.errors import translate
from servers.endpoint.headers import Gate, check_content, fold, refuse_doubled, request_id_of
from servers.endpoint.methods import METHODS, Incoming, run_method, user_agent
from servers.endpoint.strictjson import BadJson, read_json
from servers.endpoint.view import PAGE_SIZE, Views
from servers.endpoint.wire import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    Id,
    Reply,
    RpcError,
    error_bytes,
    result_bytes,
)
from servers.services.reasons import log_unavailable
from servers.services.refusals import KIND_AUTH
from servers.services.runtime import Runtime, get_runtime
from servers.services.surfaces import Surface
from servers.services.visibility import require_server
from tenants.access import Caller
from tenants.models import SLUG_PATTERN

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

MAX_BATCH: Final = 50
"""Messages in one batch."""

DEFAULT_SERVER: Final = "default"
PUBLIC_SCOPES: Final = ("tools:read", "tools:execute")
"""What anyone may do on a server that its team made public."""

_SLUG: Final = re.compile(SLUG_PATTERN)
_JSON: Final = (b"content-type", b"application/json")
_ACCEPTED: Final = Reply(202, b"")

logger = logging.getLogger(__name__)


class EndpointApp:
    """Serves MCP over HTTP, both eras. One object a process."""

    def __init__(self, *, page_size: int = PAGE_SIZE) -> None:
        env = settings.ENV
        self._gate = Gate(env.allowed_hosts, env.allowed_origins)
        self._max_body_bytes: int = env.max_body_bytes
        self._views = Views(page_size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(get_runtime(), self._views)
        watch: DisconnectWatch | None = None
        try:
            headers, doubled = fold(scope["headers"])
            exchange.headers = headers
            exchange.request_id = request_id_of(headers)
            refuse_doubled(doubled)
            self._gate.check(headers)
            tenant_slug, server_slug = _route(scope["method"], scope["path"])
            check_content(headers, max_body_bytes=self._max_body_bytes)
            await exchange.admit(tenant_slug, server_slug)
            body = await read_body(receive, self._max_body_bytes)
            watch = DisconnectWatch(receive)
            reply = await exchange.answer(body)
        except ClientGone:
            return
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if watch is None or not watch.gone or task is None:
                raise
            # The client left, so there is nobody to answer; the task itself was not to end.
            task.uncancel()
            return
        except (RpcError, MarinaError) as error:
            reply = exchange.refusal(error)
        except Exception:
            logger.exception(
                "request failed", extra={"request_id": exchange.request_id, "path": scope["path"]}
            )
            reply = exchange.refusal(_internal(exchange.request_id))
        finally:
            if watch is not None:
                watch.end()
        await _send(send, reply, exchange.request_id)


class _Exchange:
    """One HTTP request and its answer."""

    __slots__ = ("_runtime", "_views", "caller", "headers", "request_id", "surface")

    caller: Caller
    surface: Surface

    def __init__(self, runtime: Runtime, views: Views) -> None:
        self._runtime = runtime
        self._views = views
        self.headers: dict[bytes, bytes] = {}
        self.request_id = ""

    async def admit(self, tenant_slug: str, server_slug: str) -> None:
        """Find out who calls, and the server they call. Raises ``MarinaError``."""
        runtime = self._runtime
        authorization = self.headers.get(b"authorization")
        caller = await self._identify(tenant_slug, server_slug, authorization)
        runtime.uses.note(caller)
        try:
            require_server(caller, server_slug)
        except Forbidden as refusal:
            await runtime.refusals.refused_caller(
                caller,
                refusal,
                kind=KIND_AUTH,
                server=server_slug,
                client=user_agent(self.headers),
                request_id=self.request_id,
            )
            raise
        surface = runtime.surfaces.peek(caller.tenant_id, server_slug)
        if surface is None and not runtime.writer.accepting:
            # The database that has no log for us has no snapshot either: do not wait for it to say so.
            raise log_unavailable()
        if surface is None:
            surface = await runtime.surfaces.get(caller.tenant_id, server_slug)
        if surface is None:
            raise NotFound(
                "This team has no server at this URL. The dashboard lists the servers with their URLs; the "
                "team's URL without a server's name is the default one.",
                code="server_not_found",
            )
        self.caller = caller
        self.surface = surface

    async def answer(self, body: bytes) -> Reply:
        """The answer to a body: one message, or a batch where the protocol has them."""
        try:
            message = read_json(body)
        except BadJson as fault:
            raise RpcError(PARSE_ERROR, f"The body is not valid JSON: {fault}.", status=400) from None
        if isinstance(message, list):
            return await self._answer_batch(message)
        return await self._answer_one(check_envelope(message))

    def refusal(self, error: RpcError | MarinaError, rpc_id: Id = None, *, modern: bool = False) -> Reply:
        """An error as an answer of its own."""
        if isinstance(error, MarinaError):
            error = translate(error)
        status = error.http_status(modern=modern, answers=rpc_id is not None)
        return Reply(status, error_bytes(rpc_id, error), error.headers)

    async def _identify(self, tenant_slug: str, server_slug: str, authorization: bytes | None) -> Caller:
        if authorization is None:
            anonymous = await self._anonymous(tenant_slug, server_slug)
            if anonymous is not None:
                return anonymous
        return await identify(
            self._runtime,
            tenant_slug,
            authorization,
            server=server_slug,
            client=user_agent(self.headers),
            request_id=self.request_id,
        )

    async def _anonymous(self, tenant_slug: str, server_slug: str) -> Caller | None:
        """Anyone, on a server that its team made public; elsewhere ``None``."""
        if not self._runtime.writer.accepting:
            raise log_unavailable()
        tenant_id = await self._runtime.tenants.get(tenant_slug)
        surface = None if tenant_id is None else await self._runtime.surfaces.get(tenant_id, server_slug)
        if surface is None or not surface.public:
            return None
        return Caller(
            tenant_id=surface.tenant_id,
            tenant_slug=surface.tenant_slug,
            actor="anonymous",
            scopes=frozenset((*PUBLIC_SCOPES, f"server:{surface.slug}")),
        )

    async def _answer_one(self, message: dict[str, Any]) -> Reply:
        version = legacy_version(self.headers, message)
        modern = version is None
        rpc_id: Id = message.get("id")
        if "method" not in message or "id" not in message:
            if modern:
                if "method" not in message:
                    raise RpcError(
                        INVALID_REQUEST,
                        "A client sends no responses in protocol version 2026-07-28.",
                        status=400,
                    )
                check_modern_notification(self.headers)
            # Nothing here waits for a response or acts on a notification yet: heard, and dropped.
            return _ACCEPTED
        try:
            if version is None:
                version = check_modern_request(self.headers, message)
            return Reply(200, result_bytes(rpc_id, await self._run(message, version, modern=modern)))
        except (RpcError, MarinaError) as error:
            return self.refusal(error, rpc_id, modern=modern)
        except Exception:
            logger.exception("method failed", extra=self._fault_fields(message))
            return self.refusal(_internal(self.request_id), rpc_id, modern=modern)

    async def _answer_batch(self, messages: list[Any]) -> Reply:
        version = header_version(self.headers)
        if version != BATCH_VERSION:
            raise RpcError(
                INVALID_REQUEST,
                f"A batch is allowed in protocol version {BATCH_VERSION} only. Send each message in a request "
                "of its own.",
                data={"code": "batch_not_allowed"},
                status=400,
            )
        if not 1 <= len(messages) <= MAX_BATCH:
            raise RpcError(
                INVALID_REQUEST,
                f"A batch holds 1 to {MAX_BATCH} messages, this one {len(messages)}. Send several.",
                data={"code": "batch_size"},
                status=400,
            )
        answers = [
            answer for message in messages if (answer := await self._answer_in_batch(message, version))
        ]
        return Reply(200, b"[" + b",".join(answers) + b"]") if answers else _ACCEPTED

    async def _answer_in_batch(self, message: object, version: str) -> bytes | None:
        rpc_id: Id = None
        try:
            checked = check_batched(message)
            if "method" not in checked or "id" not in checked:
                return None
            rpc_id = checked["id"]
            return result_bytes(rpc_id, await self._run(checked, version, modern=False))
        except RpcError as error:
            return error_bytes(rpc_id, error)
        except MarinaError as error:
            return error_bytes(rpc_id, translate(error))
        except Exception:
            logger.exception("method failed", extra=self._fault_fields(message))
            return error_bytes(rpc_id, _internal(self.request_id))

    async def _run(self, message: dict[str, Any], version: str, *, modern: bool) -> bytes:
        surface = self.surface
        return await run_method(
            Incoming(
                method=message["method"],
                params=message.get("params") or {},
                id=message["id"],
                version=version,
                modern=modern,
                caller=self.caller,
                surface=surface,
                view=self._views.of(surface),
                runtime=self._runtime,
                headers=self.headers,
                request_id=self.request_id,
            )
        )

    def _fault_fields(self, message: object) -> dict[str, object]:
        method = message.get("method") if isinstance(message, dict) else None
        return {
            "request_id": self.request_id,
            "tenant": self.surface.tenant_slug,
            "method": method if method in METHODS else "unknown",
        }


def _route(method: str, path: str) -> tuple[str, str]:
    """Tenant and server of a path. Raises ``RpcError``: 404 elsewhere, 405 for another method."""
    parts = path.split("/")
    if not (3 <= len(parts) <= 4 and all(parts[2:])):
        raise RpcError(
            404,
            "There is nothing at this path. MCP is served at /mcp/<team> and /mcp/<team>/<server>.",
            data={"code": "path_unknown"},
            status=404,
        )
    if method != "POST":
        raise RpcError(
            405,
            "This endpoint answers POST only: no stream is offered, and there is no session to end.",
            data={"code": "method_not_allowed"},
            status=405,
            headers=((b"allow", b"POST"),),
        )
    return _slug(parts[2]), _slug(parts[3]) if len(parts) == 4 else DEFAULT_SERVER


def _slug(segment: str) -> str:
    """A path's segment as a slug; one that cannot be a slug becomes ``-``, which nothing is called."""
    return segment if _SLUG.fullmatch(segment) else "-"


def _internal(request_id: str) -> RpcError:
    """The answer to a fault of ours: nothing of it but the id under which the operator's log has it."""
    return RpcError(
        INTERNAL_ERROR,
        f"Something failed inside Marina. Tell the operator the request id {request_id}.",
        data={"code": "internal", "request_id": request_id},
    )


async def _send(send: Send, reply: Reply, request_id: str) -> None:
    headers = [(b"x-request-id", request_id.encode("ascii")), *reply.headers]
    if reply.body:
        headers.append(_JSON)
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
