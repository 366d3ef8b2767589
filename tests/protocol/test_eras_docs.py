"""The examples of docs/eras.md, as they stand there, with a server of each era."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.protocol.conftest import ALL_SCOPES
from tests.protocol.wireclient import Answer, Endpoint
from tests.servers.execution.mcp.shipyard import Era, open_shipyard

PAGE = (Path(__file__).parents[2] / "docs" / "eras.md").read_text(encoding="utf-8")
CALL, QUESTION, AGAIN = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
RESULT = "named Argo"


@pytest.fixture(scope="module", params=["legacy", "modern"])
def access(port: int, request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    era: Era = request.param
    team = make_team()
    with open_shipyard(era) as yard:
        create_source("yard", "mcp", {"url": yard.url}, caller=team.owner)
        yield Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


def send(access: Endpoint, message: dict[str, Any]) -> Answer:
    name, version = message["params"]["name"], "2026-07-28"
    named = {"MCP-Protocol-Version": version, "Mcp-Method": message["method"], "Mcp-Name": name}
    return access.send(json.dumps(message).encode(), named)


def test_what_is_done_by_hand(access: Endpoint) -> None:
    asked = send(access, CALL).result
    (shown,) = QUESTION["result"]["inputRequests"].values()
    ((key, question),) = asked["inputRequests"].items()
    assert asked["resultType"] == QUESTION["result"]["resultType"]
    assert question["method"] == shown["method"]
    assert shown["params"].items() <= question["params"].items()
    (answer,) = AGAIN["params"]["inputResponses"].values()
    # What is another with each call: the key, and the state.
    given = {"inputResponses": {key: answer}, "requestState": asked["requestState"]}
    done = send(access, {**AGAIN, "params": {**AGAIN["params"], **given}}).result
    assert [block["text"] for block in done["content"]] == [RESULT]
    assert f"`{RESULT}`" in PAGE


def test_what_the_sdk_does(access: Endpoint) -> None:
    program = PROGRAM.replace("http://127.0.0.1:8000/mcp/your-team", access.url)
    assert access.key is not None
    program = program.replace("mcp_live_…", access.key)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-"],
        input=program,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["What is she called?", RESULT] * 2, done.stderr
