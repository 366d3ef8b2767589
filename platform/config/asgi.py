"""The ASGI application: routes by path, before Django. ``/mcp`` → endpoint, WebSockets → Channels, rest → Django."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from functools import partial
from typing import Final, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from anyio.lowlevel import checkpoint
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

from config.bodylimit import App, BodyLimit, Receive, Scope, Send
from config.compiled import uses_compiled
from config.env import get_env
from config.patience import Patience
from config.startup import require_master_key
from core.collecting import bulk
from core.loop import adopt_loop
from core.outbound_http import trusted
from core.resting import begin_resting
from frontend.routing import websocket_urlpatterns
from servers.consumers import send_calls_hint
from servers.endpoint.app import EndpointApp
from servers.endpoint.websocket import SocketApp
from servers.services.live import use_sender
from servers.services.runtime import get_runtime

SETTLE_SECONDS: Final = 1.0
"""After a request that took long and may have made many objects, until these are gone, too."""

YOUNG_OBJECTS: Final = 10_000
"""Objects that are made before the collector looks at them for the first time: a few MB."""

SLICE_SECONDS: Final = 0.0001
"""How long a thread keeps the interpreter while the loop waits for it. The loop gives it away at each look at its
sockets, a dozen times a call: with the usual 5 ms, and still with half a millisecond, calls came in faster than they
went behind a thread that computes, and p99 was 105 ms; so it is 17. Without such a thread it is not felt. What may go
on for long rests besides (``core.resting``)."""

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

logger = logging.getLogger(__name__)


class Application:
    """The process's one ASGI object. Its lifespan owns the loop, the log's writer and the sources' pools."""

    def __init__(self) -> None:
        self.endpoint = EndpointApp()
        self.mcp_socket = SocketApp(self.endpoint)
        self.site = Patience(
            BodyLimit(cast("App", django_application), get_env().max_body_bytes), is_away=_database_is_away
        )
        self.websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if path.startswith("/mcp/") or path == "/mcp":
                await self.endpoint(scope, receive, send)
            elif scope["method"] in _READS:
                await self.site(scope, receive, send)
            else:
                # It may bring a document that makes thousands of tools.
                with bulk(partial(asyncio.get_running_loop().call_later, SETTLE_SECONDS)):
                    await self.site(scope, receive, send)
        elif scope["type"] == "websocket":
            if scope["path"].startswith("/mcp/"):
                await self.mcp_socket(scope, receive, send)
            else:
                await self.websocket(scope, receive, send)
        else:
            await self.lifespan(receive, send)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Start before the first request, stop after the last (uvicorn skips atexit on SIGTERM)."""
        await receive()
        runtime = get_runtime()
        try:
            await asyncio.to_thread(require_master_key)
            adopt_loop(asyncio.get_running_loop())
            use_sender(send_calls_hint)
            # What it listens to on the bus must be known before the bus connects.
            self.endpoint.parts()
            await runtime.start()
            # What only the first outbound request would load, and hold everybody else for 30 ms.
            await checkpoint()
            for http2 in (False, True):
                await asyncio.to_thread(trusted, http2=http2)
        except SystemExit as refusal:
            await send({"type": "lifespan.startup.failed", "message": str(refusal)})
            return
        # What start-up built lives as long as the process: keep the collector from walking it.
        gc.collect()
        gc.freeze()
        # A call in flight is some hundred objects, so with the usual threshold of 700 the collector came by every few
        # calls, found them all alive and made them old: an eighth of the process's time at 64 connections.
        # The middle generation is looked at four times as often, for a fourth of the time: everybody waits meanwhile.
        gc.set_threshold(YOUNG_OBJECTS, 5, 80)
        sys.setswitchinterval(SLICE_SECONDS)
        begin_resting()
        logger.info("web process serves", extra={"compiled": uses_compiled()})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # What uvicorn cancelled has yet to record its end, and the log's writer is what stops next.
        await self.endpoint.settle()
        await runtime.stop()
        adopt_loop(None)
        await send({"type": "lifespan.shutdown.complete"})


def _database_is_away() -> bool:
    """As the log's writer finds it, which asks once a second."""
    return not get_runtime().writer.connected


application = Application()
