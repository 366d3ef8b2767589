"""Lists of MCP servers, as clients keep them, become data sources; what cannot is told with what to do instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import InvalidInput
from core.hostedcommands import parse_commands
from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.importing import apply_configuration, plan_configuration
from servers.services.configuration.mcp_lists import McpList, convert_list, is_mcp_list
from servers.services.configuration.reading import read_text
from servers.services.configuration.rendering import render_plan
from servers.services.sources import list_sources
from servers.services.tools import list_tools
from tests.factories import Team, make_team
from tests.servers.execution.mcp.shipyard import open_shipyard

URL = "https://mcp.example.com/mcp"


def converted(servers: dict[str, Any], shape: str = "mcpServers", **more: Any) -> McpList:
    value: dict[str, Any] = {shape: servers}
    if shape == "mcp":
        value = {"mcp": {"servers": servers}}
    found = read_text(json.dumps({"inputs": [], **value}))
    assert is_mcp_list(found)
    return convert_list(found, **{"taken": [], "kinds": ["mcp"], **more})


def settings_of(entry: dict[str, Any]) -> Any:
    made = converted({"one": entry})
    assert made.notes == ()
    return made.file.entries("sources")["one"]["settings"]


def reason_of(entry: Any, name: str = "one", **more: Any) -> str:
    made = converted({name: entry}, **more)
    assert not made.file.entries("sources")
    return made.notes[0]


@pytest.mark.parametrize("shape", ["mcpServers", "servers", "mcp"])
def test_the_shapes_of_all_clients_are_known(shape: str) -> None:
    made = converted({"one": {"type": "http", "url": URL}, "two": {"serverUrl": f"{URL}2"}}, shape)
    assert made.file.value == {
        "marina": 1,
        "sources": {
            "one": {"kind": "mcp", "settings": {"url": URL}},
            "two": {"kind": "mcp", "settings": {"url": f"{URL}2"}},
        },
    }


def test_a_command_that_the_operator_allows_becomes_a_data_source() -> None:
    allowed = parse_commands(
        {
            "files": {"run": ["/usr/bin/npx", "-y", "@x/files"], "arguments": True},
            "npx": {"run": ["/usr/bin/npx", "-y"], "arguments": True},
            "time": {"run": ["/opt/time"]},
        }
    )
    made = converted(
        {
            "one": {"command": "npx", "args": ["-y", "@x/files", "/data"], "env": {"KEY": "abc"}},
            "two": {"command": "/opt/time", "env": {"ZONE": "${ZONE}"}},
            "three": {"command": "time", "args": ["--all"]},
            "four": {"command": "npx", "args": ["@x/files"]},
        },
        commands=allowed,
    )
    assert {name: entry["settings"] for name, entry in made.file.entries("sources").items()} == {
        "one": {"command": "files", "args": ["/data"], "env": {"KEY": "abc"}},
        "two": {"command": "time", "env": {"kept": True}},
    }
    assert [note.split(" (")[0] for note in made.notes] == ["three", "four"]


def test_headers_become_what_signs_in() -> None:
    assert settings_of({"url": URL, "type": "sse"}) == {"url": URL, "transport": "sse"}
    assert settings_of({"url": URL, "headers": {"authorization": "Bearer abc"}}) == {
        "url": URL, "auth": "bearer", "token": "abc",
    }  # fmt: skip
    assert settings_of({"url": URL, "headers": {"Authorization": "Bearer abc", "X-Team": "a"}}) == {
        "url": URL, "auth": "bearer", "token": "abc", "headers": {"X-Team": "a"},
    }  # fmt: skip
    assert settings_of({"url": URL, "headers": {"Authorization": "Basic abc"}}) == {
        "url": URL, "auth": "headers", "headers": {"Authorization": "Basic abc"},
    }  # fmt: skip


def test_what_a_client_would_fill_in_has_to_be_given() -> None:
    for text in ("Bearer ${input:api-key}", "Bearer ${env:KEY}", "Bearer $KEY"):
        assert settings_of({"url": URL, "headers": {"Authorization": text}})["token"] == {"kept": True}
    assert settings_of({"url": URL, "headers": {"X-Key": "${KEY}", "X-Team": "a"}})["headers"] == {
        "kept": True
    }


def test_a_bridge_is_the_address_behind_it() -> None:
    arguments = ["-y", "mcp-remote@latest", URL, "--header", "Authorization: Bearer abc"]
    assert settings_of({"command": "npx", "args": arguments}) == {
        "url": URL, "auth": "bearer", "token": "abc",
    }  # fmt: skip
    assert settings_of({"command": "/opt/marina-stdio", "args": [URL]}) == {"url": URL}


LEFT_OUT = {
    "the operator allows none like it here": {
        "command": "npx",
        "args": ["-y", "@x/files"],
        "env": {"K": "v"},
    },
    "it is switched off in the list": {"url": URL, "disabled": True},
    "it is reached by ws": {"url": URL, "type": "ws"},
    "its address has a placeholder": {"url": "https://${HOST}/mcp"},
    "it has no url": {"url": 7},
    "its headers are no object of texts": {"url": URL, "headers": {"X": 1}},
}


@pytest.mark.parametrize("says", LEFT_OUT)
def test_what_cannot_be_a_data_source_is_told_with_its_line(says: str) -> None:
    told = reason_of(LEFT_OUT[says])
    assert told.startswith("one (line 1) is left out: ")
    assert says in told


def test_names_are_fitted_and_those_that_are_taken_stay() -> None:
    made = converted({"My Server!": {"url": URL}, "x\x1b[31m/y": {"url": URL}})
    assert set(made.file.entries("sources")) == {"My-Server", "x-31m-y"}
    assert made.notes == (
        "My Server! (line 1) is called My-Server here.",
        "x\\x1b[31m/y (line 1) is called x-31m-y here.",
    )
    assert "called one already" in reason_of({"url": URL}, taken=["one"])
    assert "has no name that" in reason_of({"url": URL}, name="!!")
    assert "no kind of data source here yet" in reason_of({"url": URL}, kinds=["http"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"mcpServers": {}}', "mcpServers: the list is empty"),
        ('{"mcpServers": {"a": []}}', "mcpServers.a: must be an object"),
        (
            '{"servers": {"a": {"url": "x", // mine\n"headers": {}}}}',
            "Comments that begin with // are not read",
        ),
        ("{servers: {a: {url: x, // mine, type: http}}}", "comments that begin with //"),
        ('{"mcpServers": {"a": {}, "a": {}}}', "stands here twice"),
        (json.dumps({"mcpServers": {str(n): {} for n in range(101)}}), "at most 100 are taken"),
        ('{"mcpServers": [1]}', "this is no configuration"),
    ],
)
def test_what_is_no_list_is_refused(text: str, says: str, database: None) -> None:
    with pytest.raises(InvalidInput, match=says):
        plan_configuration(text, caller=make_team().owner)


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def test_a_list_that_comes_to_nothing_says_why_and_deletes_nothing(team: Team) -> None:
    text = json.dumps({"mcpServers": {"files": {"command": "npx", "args": ["--key", "sekrit-1"]}}}, indent=1)
    plan = plan_configuration(text, caller=team.owner)
    assert plan.changes == []
    shown = render_plan(plan)
    assert shown.startswith("files (line 3) is left out: it starts a command")
    assert "sekrit" not in shown
    assert apply_configuration(text, caller=team.owner).notes == plan.notes
    with pytest.raises(InvalidInput, match="Leave prune out"):
        plan_configuration(text, prune=True, caller=team.owner)


HEADERS = {"Authorization": "Bearer sekrit-1"}, {"X-Key": "sekrit-1"}, {"secret": "sekrit-1"}


@pytest.mark.parametrize("headers", HEADERS)
def test_a_server_that_does_not_answer_is_told_without_its_secret(
    team: Team, headers: dict[str, str]
) -> None:
    text = json.dumps({"servers": {"far": {"url": "http://127.0.0.1:9/mcp", "headers": headers}}})
    with pytest.raises(InvalidInput) as caught:
        plan_configuration(text, caller=team.owner)
    (fault,) = caught.value.errors
    assert fault["path"].startswith("sources.far")
    assert "must be" not in fault["message"]
    assert "sekrit" not in f"{caught.value.message} {fault}"
    assert not list_sources(caller=team.owner)


def test_a_list_is_planned_with_its_tools_applied_and_exported(team: Team) -> None:
    with open_shipyard("modern") as yard:
        entry = {"url": yard.url, "headers": {"X-Key": "sekrit-1", "secret": "sekrit-2"}}
        text = json.dumps({"mcpServers": {"yard": entry, "local": {"command": "npx"}}})
        plan = plan_configuration(text, caller=team.owner)
        (change,) = plan.changes
        assert (change.action, change.what, change.name) == ("create", "source", "yard")
        assert any(note.startswith("Brings ") for note in change.notes)
        assert plan.notes[0].startswith("local (line 1) is left out")
        apply_configuration(text, fingerprint=plan.fingerprint, caller=team.owner)
        file = export_configuration(caller=team.owner)
        for shown in (file, render_plan(plan)):
            assert "sekrit" not in shown
        assert not plan_configuration(file, caller=team.owner).changes
        other = make_team()
        given = {"yard": {"headers": entry["headers"]}}
        apply_configuration(file, secrets=given, caller=other.owner)
        assert export_configuration(caller=other.owner) == file
        names = [[tool.name for tool in list_tools(caller=each.owner)] for each in (team, other)]
        assert names[0] == names[1] != []
    again = plan_configuration(text, caller=team.owner)
    assert again.changes == []
    assert "there is a data source called yard already" in again.notes[0]
