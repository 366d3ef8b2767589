"""What a client names that cannot be is told in few and plain words, in both eras: on the wire, and in the log."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from core.errors import MAX_MESSAGE
from tests.corpora.names import CASES, is_plain
from tests.factories import Team
from tests.protocol.conftest import ALL_SCOPES, Records
from tests.protocol.wireclient import MODERN, Answer, Endpoint, modern_meta

ASKS: dict[str, Any] = {
    "tools/call": lambda name: {"name": name, "arguments": {}},
    "an argument": lambda name: {"name": "echo", "arguments": {"text": "x", name: 1}},
    "prompts/get": lambda name: {"name": name},
    "resources/read": lambda name: {"uri": name},
    "completion/complete": lambda name: {
        "ref": {"type": "ref/prompt", "name": name},
        "argument": {"name": "a", "value": ""},
    },
    "an unknown method": lambda name: {},
}


def ask(endpoint: Endpoint, what: str, name: str, *, modern: bool) -> Answer:
    method = {"an argument": "tools/call", "an unknown method": name}.get(what, what)
    params: dict[str, Any] = ASKS[what](name)
    headers: dict[str, str | None] = {"MCP-Protocol-Version": "2025-11-25"}
    if modern:
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": in_header(method)}
        if (named := params.get("name", params.get("uri"))) is not None:
            headers["Mcp-Name"] = in_header(named)
        params = {**params, "_meta": modern_meta()}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return endpoint.send(json.dumps(message).encode(), headers)


def in_header(name: str) -> str:
    """As clients write what a header cannot hold."""
    if name.isascii() and name.isprintable() and name == name.strip():
        return name
    return f"=?base64?{base64.b64encode(name.encode('utf-8', 'surrogatepass')).decode()}?="


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
@pytest.mark.parametrize("what", ASKS)
def test_what_cannot_be_is_told_in_few_and_plain_words(
    port: int, team: Team, what: str, modern: bool, records: Records
) -> None:
    endpoint = Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))
    wrong = []
    for title, name in CASES.items():
        answer = ask(endpoint, what, name, modern=modern)
        body = answer.json
        texts = (
            [body["error"]["message"]]
            if "error" in body
            else [each["text"] for each in body["result"]["content"]]
        )
        failed = "error" in body or body["result"]["isError"]
        if not failed or not all(is_plain(text) and len(text) <= MAX_MESSAGE for text in texts):
            wrong.append((title, answer.status, len(answer.body), ascii(answer.body[:300])))
    assert not wrong, "\n".join(map(str, wrong))
    reasons = [record["reason"] for record in records(team) if record["reason"] is not None]
    assert reasons
    for reason in reasons:
        assert is_plain(reason["message"])
        assert len(reason["message"]) <= MAX_MESSAGE
