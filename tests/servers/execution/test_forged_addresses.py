"""No kind of data source connects to an address of the corpus, neither when it is saved nor when it is used."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

from core.errors import InvalidInput, MarinaError
from core.outbound import AddressRule, parse_networks
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.corpora.addresses import CASES
from tests.corpora.quiet import Quiet, resolver
from tests.objectstorage import KEYS

pytestmark = pytest.mark.anyio

CODES = {
    "arguments_invalid",
    "invalid_input",
    "openapi_invalid",
    "request_invalid",
    "source_denied",
    "source_missing",
}
"""What a refusal may be called: none of an answer, nor of a server that did not answer."""


@pytest.fixture(scope="module")
def quiet() -> Iterator[Quiet]:
    server = Quiet()
    yield server
    server.close()


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setattr(socket, "getaddrinfo", resolver())
    engine = Engine(allow_address=AddressRule().allows)
    yield engine
    await engine.close()


async def use(engine: Engine, kind: str, settings: Mapping[str, Any], tool: str, **arguments: Any) -> None:
    """Save a source, look at its health and call a tool. Raises the first error."""
    backend = engine.backend(kind)
    fetched = settings
    if backend.describes_itself or backend.document_settings & settings.keys():
        fetched = await backend.fetch_documents(settings)
    source = Source(uuid4(), 1, "forged", kind, 1, backend.clean_settings(fetched))
    health = await engine.check(source)
    if kind != "toolkit":
        assert health.state == "unhealthy"
        assert health.code in CODES, health
    await engine.execute(source, Operation(tool, {}), arguments, timeout=10)


PUBLIC = "https://93.184.215.14"
"""Whose requests wait for a token, which they never get."""
CLIENT = {"auth": "oauth", "client_id": "forged", "client_secret": "forged-client-secret"}


def dsn_of(url: str) -> str:
    """A connection string with the host and the port of a URL, and with whatever else is in their place."""
    place = url.partition("://")[2]
    if "@" not in place:
        place = f"forged:secret@{place}"
    return f"postgresql://{place if '/' in place else place + '/'}forged"


DOORS: Mapping[str, Any] = {
    "fetch_json": lambda engine, url: use(engine, "toolkit", {}, "fetch_json", url=url),
    "dsn": lambda engine, url: use(engine, "postgres", {"dsn": dsn_of(url)}, "list_tables"),
    "token_url": lambda engine, url: use(
        engine, "http", {"base_url": PUBLIC, "token_url": url, **CLIENT}, "api_get", endpoint="/items"
    ),
    "base_url": lambda engine, url: use(engine, "http", {"base_url": url}, "api_get", endpoint="/items"),
    "openapi": lambda engine, url: use(engine, "http", {"openapi": url}, "api_get", endpoint="/items"),
    "upstream": lambda engine, url: use(engine, "mcp", {"url": url}, "tool"),
    "storage": lambda engine, url: use(
        engine, "files", {"bucket": "bucket", "endpoint": url.removesuffix("/"), **KEYS}, "list_directory"
    ),
}


@pytest.mark.parametrize("door", DOORS)
async def test_no_source_connects_to_a_forged_address(door: str, engine: Engine, quiet: Quiet) -> None:
    for case in CASES:
        if door == "openapi" and case.reason == "address":
            continue  # what is no address is the text of a document there
        with pytest.raises(MarinaError) as caught:
            await DOORS[door](engine, case.url.format(port=quiet.port))
        assert caught.value.code in CODES, (ascii(case.url), caught.value)
        assert len(caught.value.message) < 1_000, ascii(case.url)
        if door in {"dsn", "token_url"} and isinstance(caught.value, InvalidInput):
            assert {each["path"] for each in caught.value.errors} == {door}, ascii(case.url)
        elif door == "token_url":
            assert "token endpoint" in caught.value.message, ascii(case.url)
    assert quiet.connections == 0


@pytest.mark.parametrize("door", DOORS)
async def test_every_door_leads_to_its_address_where_that_may_be_connected_to(
    door: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver())
    engine, reached = Engine(allow_address=AddressRule(parse_networks(["127.0.0.0/8"])).allows), Quiet()
    with suppress(MarinaError, AssertionError):
        await DOORS[door](engine, f"http://loopback.example:{reached.port}/")
    await engine.close()
    reached.close()
    assert reached.connections > 0
