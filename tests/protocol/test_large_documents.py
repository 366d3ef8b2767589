"""While one team's large OpenAPI document is read, other teams' calls are answered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import orjson
import psutil
import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.farside import FarSide, far_side, reply
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint

CALLS = 10


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        yield side


def large_document() -> bytes:
    """Some 13 MB, which take seconds to read: two hundred operations over schemas that refer to each other."""
    names = [f"Part{number}" for number in range(2_000)]
    schemas = {
        name: {
            "type": "object",
            "properties": {
                f"p{each}": {"$ref": f"#/components/schemas/{names[(number * 7 + each) % len(names)]}"}
                for each in range(60)
            },
            "description": "x" * 3_000,
        }
        for number, name in enumerate(names)
    }
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Part0"}}}}
    paths = {
        f"/things/{number}": {"get": {"operationId": f"thing_{number}", "responses": {"200": answer}}}
        for number in range(200)
    }
    whole = {"openapi": "3.1.0", "info": {"title": "Large"}, "paths": paths}
    return orjson.dumps({**whole, "components": {"schemas": schemas}})


def readers() -> list[psutil.Process]:
    """The programs that read documents now."""
    found = []
    for child in psutil.Process().children():
        # Others end meanwhile.
        with contextlib.suppress(psutil.Error):
            if "openapi.reader" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_others_are_answered_while_a_large_document_is_read(endpoint: Endpoint, api: FarSide) -> None:
    api.serve("/openapi.json", reply(large_document(), kind="application/json"))
    other = make_team()
    settings = {"openapi": f"{api.origin}/openapi.json", "base_url": api.origin}
    ended: list[str] = []

    def take_over() -> None:
        create_source("large", "http", settings, caller=other.owner)
        ended.append("import")

    importing = threading.Thread(target=take_over)
    importing.start()
    wait_for(lambda: bool(readers()))
    for number in range(CALLS):
        assert endpoint.call("echo", {"text": str(number)}).status == 200
        ended.append("call")
    importing.join()
    assert ended == [*["call"] * CALLS, "import"]
