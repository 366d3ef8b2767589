"""Documents are read by a program beside Marina: the same comes of them, and none keeps Marina busy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import orjson
import psutil
import pytest

from core.errors import InvalidInput
from servers.execution.backends.http import HttpBackend
from servers.execution.backends.http.openapi import apart
from servers.execution.backends.http.openapi.apart import Readers
from servers.execution.backends.http.openapi.imports import import_document
from tests.protocol.waiting import wait_for
from tests.servers.execution.http.openapi.shop import FASTAPI_LIKE, document

pytestmark = pytest.mark.anyio

STAND_IN = "tests.servers.execution.http.openapi.misreader"


def programs() -> list[psutil.Process]:
    """The programs of this process that still run."""
    running = []
    for child in psutil.Process().children():
        # What ends meanwhile has no command line.
        with contextlib.suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and "openapi" in " ".join(child.cmdline()):
                running.append(child)
    return running


async def refused(text: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        await Readers().read([text])
    assert programs() == []
    return caught.value


async def test_what_is_read_apart_is_what_would_be_read_here() -> None:
    schemes = {
        "o": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/t", "scopes": {"a": "A"}}}}
    }
    for given in (
        FASTAPI_LIKE,
        document(components={"securitySchemes": schemes}),
        document(paths={"/a/../b": {}}),
    ):
        text = orjson.dumps(given)
        here = import_document(text, fetched_from="https://api.example.com/d.json")
        there = await Readers().read([text], fetched_from="https://api.example.com/d.json")
        assert orjson.dumps(there, default=dict) == orjson.dumps(here, default=dict)
        assert (there.sign_ins, [each.tags for each in there.operations]) == (
            here.sign_ins,
            [each.tags for each in here.operations],
        )
        assert [type(each.tool) for each in there.operations] == [type(each.tool) for each in here.operations]


async def test_a_fault_of_a_document_is_told_with_its_place_and_code() -> None:
    fault = await refused(b'{"openapi": "3.0.0", "paths": []}')
    assert (fault.code, fault.errors[0]["path"]) == ("openapi_invalid", "openapi.paths")
    assert fault.message == "The paths of the document are no object."


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("memory", "more memory"),
        ("spin", "more time or memory"),
        ("crash", "more time or memory"),
        ("silent", "more time or memory"),
    ],
)
async def test_a_document_that_takes_too_much_is_refused(
    monkeypatch: pytest.MonkeyPatch, does: str, words: str
) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", STAND_IN)
    fault = await refused(does.encode())
    assert (fault.code, words in fault.message) == ("openapi_invalid", True), fault.message


async def test_a_document_of_which_too_much_is_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", STAND_IN)
    monkeypatch.setattr(apart, "MOST_BYTES", 3_000_000)
    assert "more of tools than there is room for" in (await refused(b"flood")).message


async def test_reading_that_never_ends_is_ended_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", STAND_IN)
    monkeypatch.setattr(apart, "SECONDS", 0.5)
    assert "was not read within" in (await refused(b"endless")).message


async def test_a_program_ends_with_whoever_waited_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", STAND_IN)
    reading = asyncio.create_task(Readers().read([b"endless"]))
    await asyncio.to_thread(wait_for, lambda: bool(programs()))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert programs() == []


async def test_who_gets_no_turn_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", STAND_IN)
    monkeypatch.setattr(apart, "WAIT_SECONDS", 0.05)
    readers = Readers()
    endless = [asyncio.create_task(readers.read([b"endless"])) for _ in range(apart.AT_ONCE)]
    await asyncio.to_thread(wait_for, lambda: len(programs()) == apart.AT_ONCE)
    with pytest.raises(InvalidInput, match="had no turn"):
        await readers.read([b"{}"])
    for each in endless:
        each.cancel()
    await asyncio.gather(*endless, return_exceptions=True)
    assert programs() == []


async def test_the_program_has_nothing_of_marinas_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_PROGRAM", STAND_IN)
    monkeypatch.setenv("MARINA_MASTER_KEY", "secret")
    names = set((await refused(b"environment")).message.split())
    # Python itself may set what its locale is.
    assert names - {"LC_CTYPE"} == {"PYTHONPATH"}


async def test_a_source_has_its_document_read_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    async def note(self: Readers, text: Sequence[bytes], *, fetched_from: str = "") -> object:
        read.append(b"".join(text))
        return import_document(read[-1], fetched_from=fetched_from)

    monkeypatch.setattr(Readers, "read", note)
    backend = HttpBackend()
    for given in (FASTAPI_LIKE, orjson.dumps(FASTAPI_LIKE).decode()):
        settings = {"openapi": given, "base_url": "https://api.example.com", "allow_writes": True}
        cleaned = backend.clean_settings(await backend.fetch_documents(settings))
        assert len(read.pop()) > 100
        assert len(backend.offered(cleaned).tools) == 4
        assert await backend.fetch_documents(backend.keep_settings(cleaned)) == backend.keep_settings(cleaned)
        assert read == []
