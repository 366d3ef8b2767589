"""The ASGI object for ``/mcp/{tenant}`` and ``/mcp/{tenant}/{server}``: framing, order of checks, error boundary.

The order: Host and Origin, method and path, content type, Accept and declared size, credential, server, body,
JSON, envelope, method. What the body asks for is ``exchange``'s and ``methods``' business.

Sessions and streams (GET, DELETE, ``Mcp-Session-Id``) are not offered yet: both eras are served statelessly.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Final

from django.conf import settings

from core.errors import MarinaError
from servers.endpoint.body import ClientGone, DisconnectWatch, read_body
from servers.endpoint.exchange import Exchange
from servers.endpoint.headers import Gate, check_content, fold, refuse_doubled, request_id_of
from servers.endpoint.view import PAGE_SIZE, Views
from servers.endpoint.wire import Reply, RpcError, error_bytes, internal_error
from servers.services.runtime import get_runtime
from tenants.models import SLUG_PATTERN

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

DEFAULT_SERVER: Final = "default"

_SLUG: Final = re.compile(SLUG_PATTERN)
_KEPT_PATH: Final = 100
"""Characters of the longest path whose reading is kept."""

_JSON: Final = (b"content-type", b"application/json")

logger = logging.getLogger(__name__)


class EndpointApp:
    """Serves MCP over HTTP, both eras. One object a process."""

    def __init__(self, *, page_size: int = PAGE_SIZE) -> None:
        env = settings.ENV
        self._gate = Gate(env.allowed_hosts, env.allowed_origins)
        self._max_body_bytes: int = env.max_body_bytes
        self._views = Views(page_size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(get_runtime(), self._views)
        watch: DisconnectWatch | None = None
        try:
            headers, doubled = fold(scope["headers"])
            exchange.headers = headers
            exchange.request_id = request_id_of(headers)
            refuse_doubled(doubled)
            self._gate.check(headers)
            exchange.tenant_slug, exchange.server_slug = _route(scope)
            check_content(headers, max_body_bytes=self._max_body_bytes)
            await exchange.admit()
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
            reply = await exchange.refuse(error)
        except Exception:
            logger.exception(
                "request failed", extra={"request_id": exchange.request_id, "path": scope["path"]}
            )
            reply = Reply(500, error_bytes(None, internal_error(exchange.request_id)))
        finally:
            if watch is not None:
                watch.end()
        await _send(send, reply, exchange.request_id)


def _route(scope: Scope) -> tuple[str, str]:
    """Tenant and server of a request's path. Raises ``RpcError``: 404 elsewhere, 405 for another method."""
    path: str = scope["path"]
    # A proxy routes by the path as it was sent, and slugs need no encoding: what has one is nowhere.
    encoded = b"%" in (scope.get("raw_path") or b"")
    place = None if encoded else (_place(path) if len(path) <= _KEPT_PATH else _read_place(path))
    if place is None:
        raise RpcError(
            404,
            "There is nothing at this path. MCP is served at /mcp/<team> and /mcp/<team>/<server>.",
            data={"code": "path_unknown"},
            status=404,
        )
    if scope["method"] != "POST":
        raise RpcError(
            405,
            "This endpoint answers POST only: no stream is offered, and there is no session to end.",
            data={"code": "method_not_allowed"},
            status=405,
            headers=((b"allow", b"POST"),),
        )
    return place


def _read_place(path: str) -> tuple[str, str] | None:
    parts = path.split("/")
    if not (3 <= len(parts) <= 4 and all(parts[2:])):
        return None
    return _slug(parts[2]), _slug(parts[3]) if len(parts) == 4 else DEFAULT_SERVER


_place = lru_cache(maxsize=4096)(_read_place)
"""Paths repeat with every call."""


def _slug(segment: str) -> str:
    """A path's segment as a slug; one that cannot be a slug becomes ``-``, which nothing is called."""
    return segment if _SLUG.fullmatch(segment) else "-"


async def _send(send: Send, reply: Reply, request_id: str) -> None:
    headers = [(b"x-request-id", request_id.encode("ascii")), *reply.headers]
    if reply.body:
        headers.append(_JSON)
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
