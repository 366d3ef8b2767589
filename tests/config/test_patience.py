"""A request that a hanging database holds up is given up in time; all others have theirs."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from config import patience
from config.bodylimit import App, Message, Receive, Scope, Send
from config.patience import Patience

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.1)
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.02)


class Held:
    """An application that answers when it is let go; ``began`` first, where it is to."""

    def __init__(self, *, begins: bool = False) -> None:
        self.begins = begins
        self.let_go = asyncio.Event()
        self.ended = False
        self.headers: dict[bytes, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = dict(scope["headers"])
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        if self.begins:
            await send(start)
        await self.let_go.wait()
        if not self.begins:
            await send(start)
        await send({"type": "http.response.body", "body": b"done"})
        self.ended = True


async def ask(app: App, path: str = "/api/v1/tenants", headers: list[Any] | None = None) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    await app({"type": "http", "path": path, "headers": headers or []}, receive, send)
    return sent


async def test_what_a_hanging_database_holds_up_is_a_503_and_goes_on_unheard() -> None:
    held = Held()
    began = time.monotonic()
    start, body = await ask(Patience(held, lambda: True))
    assert time.monotonic() - began < 60
    told = json.loads(body["body"])
    assert (start["status"], told["code"]) == (503, "database_unavailable")
    assert "look before you send it again" in told["detail"]
    # The id is the one that what goes on has, too.
    assert dict(start["headers"])[b"x-request-id"].decode() == told["request_id"]
    assert held.headers[b"x-request-id"].decode() == told["request_id"]
    held.let_go.set()
    await asyncio.sleep(0.05)
    assert held.ended


async def test_an_id_that_the_client_gave_is_kept() -> None:
    start, _ = await ask(Patience(Held(), lambda: True), headers=[(b"x-request-id", b"from-the-proxy")])
    assert dict(start["headers"])[b"x-request-id"] == b"from-the-proxy"


@pytest.mark.parametrize(
    ("begins", "away", "path"),
    [(False, False, "/api/v1/tenants"), (True, True, "/api/v1/tenants"), (False, True, "/ready")],
    ids=["the database is there", "the answer has begun", "it asks how the database is"],
)
async def test_all_others_have_the_time_that_they_take(begins: bool, away: bool, path: str) -> None:
    held = Held(begins=begins)
    asking = asyncio.create_task(ask(Patience(held, lambda: away), path))
    await asyncio.sleep(0.3)
    assert not asking.done()
    held.let_go.set()
    start, body = await asking
    assert (start["status"], body["body"]) == (200, b"done")
