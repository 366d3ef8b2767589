"""Refusals on every transport are in the team's log before the answer, few enough, and none holds a key."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from servers.services.refusals import MAX_A_WINDOW
from tenants.audit.records import decode
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.plugins.live_marina import LiveMarina
from tests.protocol.fuzz.conftest import SCOPES
from tests.protocol.fuzz.judge import Secrets, check
from tests.protocol.fuzz.test_fuzz_transports import EventStream, asking, connect_to
from tests.protocol.fuzz.wire import SECONDS, Answer, Request, Target

BAD = b'{"jsonrpc":"2.0","id":1,"method":"nonsense"}'
DOUBLED = b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"ping"}'


@pytest.fixture
def own(web: LiveMarina, own_team: Team) -> Target:
    return Target(web.port, own_team.slug, own_team.key(*SCOPES))


def post(target: Target, request: Request) -> Answer:
    with target.connect() as connection:
        answer = connection.post(target, request)
    check(request, answer, Secrets(target.key))
    return answer


def reasons(team: Team) -> Counter[str]:
    return Counter(record["reason"]["code"] for record in records(team) if record.get("reason"))


def records(team: Team) -> list[dict[str, Any]]:
    with tenant_scope(team.tenant_id):
        return [decode(bytes(row.body)) for row in AuditRecord.objects.order_by("seq")]


def test_each_transport_records_what_it_refused(own: Target, own_team: Team) -> None:
    begun = own.begun()
    post(own, Request(BAD, own.basic()))
    post(begun, replace(begun.legacy("ping"), body=DOUBLED))
    for method in ("GET", "DELETE"):
        request = replace(own, session="x" * 32).legacy("ping").but(accept="text/event-stream")
        post(own, replace(request, method=method))
    post(own, Request(BAD, own.basic(), path=f"{own.path}/messages?session_id=x"))
    assert reasons(own_team) == {"method_unknown": 1, "json_invalid": 1, "session_unknown": 3}


def test_messages_of_streams_and_sockets_are_recorded_too(own: Target, own_team: Team) -> None:
    stream = EventStream(own, f"{own.path}/sse", asking(own))
    path = stream.event()["data"]
    post_raw(own, Request(BAD, own.basic(), path=path))
    assert stream.message()["error"]["code"] == -32601
    stream.close()
    with connect_to(own) as connection:
        for frame in (BAD.decode(), DOUBLED.decode(), "{}"):
            connection.send(frame)
            assert json.loads(connection.recv(timeout=SECONDS))["error"]
    assert reasons(own_team) == {"method_unknown": 2, "json_invalid": 1, "message_malformed": 1}


def post_raw(target: Target, request: Request) -> None:
    with target.connect() as connection:
        assert connection.post(target, request).status == 202


def test_flood_of_bad_requests_is_counted_not_recorded_one_by_one(own: Target, own_team: Team) -> None:
    with own.connect() as connection:
        for number in range(3 * MAX_A_WINDOW):
            body = BAD if number % 2 else DOUBLED
            assert connection.post(own, Request(body, own.basic())).json["error"]
    with connect_to(own) as socket:
        for _ in range(MAX_A_WINDOW):
            socket.send(DOUBLED.decode())
            socket.recv(timeout=SECONDS)
    assert sum(reasons(own_team).values()) == MAX_A_WINDOW


def test_key_in_the_wrong_place_is_in_no_record(own: Target, own_team: Team) -> None:
    key = own.key or ""
    secret = key.rpartition("_")[2]
    for method, params in (
        (key, {}),
        ("tools/call", {"name": key, "arguments": {key: key}}),
        ("tools/call", {"name": "test_simple_text", "arguments": {"a": f"Bearer {key}", "b": [key]}}),
        ("resources/read", {"uri": f"test://{key}"}),
        ("prompts/get", {"name": key, "arguments": {"arg1": key}}),
        ("prompts/get", {"name": "test_prompt_with_arguments", "arguments": {"arg1": key}}),
        ("tools/list", {"cursor": key}),
        ("logging/setLevel", {"level": key}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": key}, "argument": {"name": key, "value": key}},
        ),
    ):
        with own.connect() as connection:
            connection.post(own, own.legacy(method, params).but(user_agent=f"client {key}"))
            connection.post(own, own.modern(method, params, **client(key)))
    with own.connect() as connection:
        connection.post(own, own.legacy("ping").but(authorization=f"Bearer {key}x", user_agent=key))
        connection.post(own, own.legacy("ping").but(authorization=key))
        connection.post(own, own.legacy("ping").but(mcp_session_id=key))
    for record in records(own_team):
        assert secret not in json.dumps(record, default=str), record


def client(name: str) -> dict[str, Any]:
    return {"io.modelcontextprotocol/clientInfo": {"name": name, "version": name}}
