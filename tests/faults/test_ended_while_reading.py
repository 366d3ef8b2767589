"""The web process ends while a request is still being received: its client hears so, and the log has it."""

from __future__ import annotations

import http.client
import json
import socket

import pytest

from tenants.services.log import search_records
from tests.factories import make_team
from tests.faults.web import KillableWeb


@pytest.mark.timeout(120)
@pytest.mark.parametrize("environment", [{"MARINA_DRAIN_SECONDS": "1"}])
def test_a_request_whose_body_was_not_there_yet_gets_503_and_a_record(
    web: KillableWeb, database: None
) -> None:
    team = make_team()
    head = (
        f"POST /mcp/{team.slug} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {team.key()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as client:
        client.sendall(head.encode())
        # Said when the body is waited for.
        assert client.recv(1_000).startswith(b"HTTP/1.1 100 ")
        web.close()
        answer = http.client.HTTPResponse(client)
        answer.begin()
        told = json.loads(answer.read())
    assert answer.status == 503
    assert told["error"]["data"] == {"code": "process_ended", "rule": "process:ended", "retryable": True}
    (record,) = search_records(caller=team.owner, kind="request").records
    assert record.outcome == "refused"
    assert record.reason is not None
    assert (record.reason["code"], record.reason["rule"]) == ("process_ended", "process:ended")
