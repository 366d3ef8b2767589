"""The official Python client, connected to an endpoint with the endpoint's key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.protocol.wireclient import Endpoint


@asynccontextmanager
async def connected(endpoint: Endpoint, mode: Any, **given: Any) -> AsyncIterator[Client]:
    """A client that speaks the era ``mode``: a version of the protocol, ``legacy`` or ``auto``. ``given`` go to it."""
    async with (
        # A call that is answered late is no failure.
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {endpoint.key}"}, timeout=60) as http,
        Client(streamable_http_client(endpoint.url, http_client=http), mode=mode, **given) as client,
    ):
        yield client
