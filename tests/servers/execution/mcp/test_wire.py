"""Messages of an upstream are read as they are written, and too many in one batch are not read at all."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from servers.execution.backends.mcp.wire import NotMcp, read_messages

MESSAGE: Final = {"jsonrpc": "2.0", "method": "notifications/message"}
QUOTED: Final = orjson.dumps(MESSAGE).decode()


def result(content: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": {"structuredContent": content}}


@pytest.mark.parametrize("body", [orjson.dumps([MESSAGE] * 3), orjson.dumps([MESSAGE] * 3).decode()])
def test_a_batch_is_its_messages(body: bytes | str) -> None:
    assert read_messages(body, most=3) == [MESSAGE] * 3


@pytest.mark.parametrize("before", [b"", b" \r\n\t"])
def test_too_many_are_refused_before_they_are_read(before: bytes) -> None:
    body = before + orjson.dumps([MESSAGE] * 4)[:-1] + b", no JSON any more"
    for each in (body, body.decode()):
        with pytest.raises(NotMcp, match="batch of more than 3 messages"):
            read_messages(each, most=3)


def test_too_many_in_another_spelling_are_refused() -> None:
    body = orjson.dumps([MESSAGE] * 4).replace(b"jsonrpc", rb"jsonrp\u0063")
    with pytest.raises(NotMcp, match="batch of more than 3 messages"):
        read_messages(body, most=3)


@pytest.mark.parametrize(
    "message",
    [result([QUOTED] * 9), result([MESSAGE] * 9), result({"text": f"[{QUOTED * 9}"})],
    ids=["texts of messages", "objects like messages", "a text like a batch"],
)
def test_what_a_message_holds_is_not_counted(message: dict[str, Any]) -> None:
    assert read_messages(orjson.dumps(message), most=3) == [message]


def test_what_a_message_of_a_batch_holds_is_counted_where_it_looks_like_messages() -> None:
    texts = result([QUOTED] * 9)
    assert read_messages(orjson.dumps([texts]), most=3) == [texts]
    with pytest.raises(NotMcp, match="batch of more than 3 messages"):
        read_messages(orjson.dumps([result([MESSAGE] * 9)]), most=3)
