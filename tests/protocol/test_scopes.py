"""What a key may do: scopes that give, scopes that narrow, and refusals that name what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.factories import Team, add_server
from tests.protocol.conftest import Records
from tests.protocol.probe import ProbeBackend
from tests.protocol.requirements import requirement
from tests.protocol.wireclient import Endpoint


@requirement("auth:403")
@pytest.mark.parametrize(
    ("scopes", "method", "params", "needed"),
    [
        (["tools:read"], "tools/call", {"name": "echo", "arguments": {"text": "x"}}, "tools:execute"),
        (["tools:execute"], "tools/list", {}, "tools:read"),
        (
            ["tools:execute", "tool:fail"],
            "tools/call",
            {"name": "echo", "arguments": {"text": "x"}},
            "tool:echo",
        ),
        (["tools:execute", "tool:fail"], "tools/call", {"name": "nonsense"}, "tool:nonsense"),
        (["tools:read", "server:other"], "tools/list", {}, "server:default"),
    ],
)
def test_missing_scope_gets_403_that_names_it_and_is_recorded(
    team: Team,
    endpoint: Endpoint,
    records: Records,
    probe: ProbeBackend,
    scopes: Any,
    method: str,
    params: Any,
    needed: str,
) -> None:
    before = probe.executed
    answer = endpoint.with_key(team.key(*scopes)).modern(method, params)
    assert answer.status == 403
    assert answer.error["data"]["needed_scopes"] == [needed]
    assert answer.error["data"]["rule"] == f"scope:{needed}"
    assert needed in answer.error["message"]
    challenge = answer.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert f'scope="{needed}"' in challenge
    (record,) = records(team)
    assert (record["outcome"], record["reason"]["rule"]) == ("refused", f"scope:{needed}")
    assert record["request_id"] == answer.headers["X-Request-ID"]
    assert probe.executed == before


def test_narrowed_key_sees_and_calls_its_tools_only(team: Team, endpoint: Endpoint) -> None:
    narrowed = endpoint.with_key(team.key("tools:read", "tools:execute", "tool:echo", "tool:fail"))
    assert [tool["name"] for tool in narrowed.modern("tools/list").result["tools"]] == ["echo", "fail"]
    assert narrowed.call("echo", {"text": "x"}).status == 200
    assert narrowed.call("wait").status == 403


def test_key_narrowed_to_a_server_learns_nothing_of_others(team: Team, endpoint: Endpoint) -> None:
    add_server(team, "second")
    add_server(team, "third")
    narrowed = endpoint.with_key(team.key("tools:read", "server:second"))
    assert narrowed.at(f"{endpoint.path}/second").modern("tools/list").status == 200
    assert narrowed.at(f"{endpoint.path}/third").modern("tools/list").status == 403
    assert narrowed.at(f"{endpoint.path}/none").modern("tools/list").status == 403


def test_admin_key_may_list_and_call(team: Team, endpoint: Endpoint) -> None:
    admin = endpoint.with_key(team.key("admin"))
    assert len(admin.modern("tools/list").result["tools"]) == 5
    assert admin.call("echo", {"text": "x"}).status == 200


@pytest.mark.parametrize("name", ["x" * 100_000, "x" * 65, "a b", 'a"b', "a\\b", "a,b", "\u00e9", ""])
@pytest.mark.parametrize("scopes", [["tools:execute", "tool:fail"], ["tools:read", "tool:fail"]])
def test_name_that_no_tool_can_have_is_in_no_challenge(
    team: Team, endpoint: Endpoint, records: Records, scopes: list[str], name: str
) -> None:
    narrowed = endpoint.with_key(team.key(*scopes))
    answer = narrowed.legacy("tools/call", {"name": name, "arguments": {}})
    assert (answer.status, answer.error["data"]["code"]) == (403, "insufficient_scope")
    lacks = [scope for scope in ("tools:execute",) if scope not in scopes]
    assert answer.error["data"].get("needed_scopes", []) == lacks
    assert sum(len(line) for pair in answer.headers.items() for line in pair) < 1_500
    assert len(answer.body) < 2_000
    if lacks:
        assert 'scope="tools:execute"' in answer.headers["WWW-Authenticate"]
    else:
        assert "WWW-Authenticate" not in answer.headers
    (record,) = records(team)
    assert record["outcome"] == "refused"


def test_challenge_stays_short_where_a_key_names_many_tools(team: Team, endpoint: Endpoint) -> None:
    many = [f"tool:{'x' * 60}{number}" for number in range(60)]
    answer = endpoint.with_key(team.key("tools:execute", *many)).call("echo", {"text": "x"})
    assert answer.status == 403
    assert len(answer.headers["WWW-Authenticate"]) < 1_000
    assert answer.headers["WWW-Authenticate"].endswith('scope="tool:echo"')


def test_key_sent_as_the_name_of_a_tool_is_not_in_the_log(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    secret = team.key()
    answer = endpoint.with_key(team.key("tools:execute", "tool:fail")).call(secret)
    assert answer.status == 403
    (record,) = records(team)
    assert secret not in str(record)
    assert record["reason"]["rule"].startswith("scope:tool:")
