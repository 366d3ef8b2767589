"""The editor of tools made of other tools: a sample, each fault with its place, the steps as a list."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from servers.services.sources import create_source
from servers.services.tools import create_tool, list_tools
from tenants.roles import Role
from tests.factories import Team, make_database, make_team
from tests.frontend.visitor import client_of

HTMX = {"HX-Request": "true"}


@pytest.fixture
def flows(team: Team) -> Team:
    create_source("base", "postgres", {"dsn": make_database("SELECT 1")}, caller=team.owner)
    create_source("flows", "flows", {}, caller=team.owner)
    return team


def form(definition: Any, **fields: str) -> dict[str, str]:
    text = definition if isinstance(definition, str) else json.dumps(definition)
    return {"kind": "pipeline", "name": "look", "source": "flows", "definition": text, **fields}


def test_the_editors_stand_beside_each_other(client: Client, flows: Team) -> None:
    page = client.get(f"/app/{flows.slug}/tools/new").content.decode()
    for kind in ("pipeline", "workflow", "sql"):
        assert f"tools/new?kind={kind}" in page
    workflow = client.get(f"/app/{flows.slug}/tools/new?kind=workflow")
    assert "&quot;type&quot;: &quot;loop&quot;" in workflow.content.decode()
    assert client.get(f"/app/{flows.slug}/tools/new?kind=nothing").status_code == 404


def test_the_samples_can_be_saved_as_they_are(client: Client, flows: Team) -> None:
    for kind in ("pipeline", "workflow"):
        sample = client.get(f"/app/{flows.slug}/tools/new?kind={kind}").context["form"].initial["definition"]
        saved = client.post(f"/app/{flows.slug}/tools/new", form(sample, kind=kind, name=f"a_{kind}"))
        assert saved.status_code == 302, saved.content.decode()


def test_without_such_a_source_the_page_says_how_to_get_one(client: Client, team: Team) -> None:
    page = client.get(f"/app/{team.slug}/tools/new?kind=pipeline").content.decode()
    assert "Such tools need a data source" in page
    assert "sources/new?kind=flows" in page


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("{", "It is not JSON"),
        ("[]", "It must be a JSON object"),
        ({"steps": [{"tool": "nothing"}]}, "steps[0].tool: There is no tool called nothing in this team."),
    ],
)
def test_a_fault_stands_beside_the_definition(
    client: Client, flows: Team, definition: Any, words: str
) -> None:
    answer = client.post(f"/app/{flows.slug}/tools/new", form(definition))
    assert answer.status_code == 400
    assert any(words in each for each in answer.context["form"].errors["definition"])


def test_while_it_is_written_the_steps_are_shown_or_each_fault(client: Client, flows: Team) -> None:
    url = f"/app/{flows.slug}/tools/preview"
    sound = {"steps": [{"tool": "list_tables", "args": {"schema": "public"}, "output": "all"}]}
    shown = client.post(url, form(sound), headers=HTMX).content.decode()
    assert "list_tables" in shown
    assert "→ <code>all</code>" in shown
    faulty = {"steps": [{"tool": "list_tables", "args": {"colour": 1}}, {"tool": "x"}]}
    told = client.post(url, form(faulty), headers=HTMX).content.decode()
    assert "<code>steps[0].args.colour</code>" in told
    assert "<code>steps[1].tool</code>" in told
    assert "It is not JSON" in client.post(url, form("{"), headers=HTMX).content.decode()


def test_a_tool_is_shown_by_its_steps_and_edited(client: Client, flows: Team) -> None:
    definition = {
        "steps": [
            {"type": "loop", "over": [1, 2], "as": "n", "steps": [{"tool": "list_tables", "name": "Look"}]},
            {
                "type": "condition",
                "if": {"left": 1, "operator": "eq", "right": 1},
                "then": [{"tool": "list_tables", "continue_on_failure": True}],
                "else": [{"tool": "list_tables"}],
            },
            {"type": "parallel", "branches": [[{"tool": "list_tables"}], [{"tool": "list_tables"}]]},
        ]
    }
    tool = create_tool("look", "flows", "workflow", definition, caller=flows.owner)
    page = client.get(f"/app/{flows.slug}/tools/{tool.id}/").content.decode()
    for words in (
        "For each <code>n</code> of",
        "If <code>{",
        "Otherwise",
        "At the same time",
        "may fail",
        "Look",
    ):
        assert words in page
    edit = f"/app/{flows.slug}/tools/{tool.id}/edit"
    assert "&quot;branches&quot;" in client.get(edit).content.decode()
    changed = {"definition": json.dumps({"steps": [{"tool": "list_tables"}]}), "based_on": "1"}
    assert client.post(edit, changed).status_code == 302
    assert client.post(edit, {**changed, "definition": '{"steps": [{"tool": "look"}]}'}).status_code == 400
    (now,) = [each for each in list_tools(caller=flows.owner) if each.name == "look"]
    assert now.current is not None
    assert now.current.number == 2


def test_code_is_written_by_itself_and_checked(client: Client, flows: Team) -> None:
    create_source("snippets", "code", {}, caller=flows.owner)
    url = f"/app/{flows.slug}/tools/new"
    sample = client.get(f"{url}?kind=python").context["form"].initial
    fields = {"kind": "python", "name": "words", "source": "snippets", "definition": sample["definition"]}
    faulty = client.post(url, {**fields, "code": "x = (\n"})
    assert any("line 1" in each for each in faulty.context["form"].errors["code"])
    told = client.post(f"/app/{flows.slug}/tools/preview", {**fields, "code": "y"}, headers=HTMX)
    assert "nothing is called y" in told.content.decode()
    saved = client.post(url, {**fields, "code": sample["code"].replace("\n", "\r\n")})
    assert saved.status_code == 302
    (tool,) = [each for each in list_tools(caller=flows.owner) if each.name == "words"]
    assert tool.current is not None
    assert tool.current.definition["code"] == sample["code"]
    assert "re.findall" in client.get(f"/app/{flows.slug}/tools/{tool.id}/").content.decode()


def test_what_came_with_a_source_is_not_edited(client: Client, flows: Team) -> None:
    brought = next(each for each in list_tools(caller=flows.owner) if each.name == "create_pipeline")
    assert (
        "came with its data source"
        in client.get(f"/app/{flows.slug}/tools/{brought.id}/edit").content.decode()
    )
    assert "built in" in client.get(f"/app/{flows.slug}/tools/{brought.id}/").content.decode()


def test_the_list_of_steps_is_told_what_each_tool_takes_and_gives(client: Client, flows: Team) -> None:
    url = f"/app/{flows.slug}/tools/arguments"
    answer = client.get(url, {"tool": ["describe_table", "nothing", "a\0b"]}).json()["tools"]
    assert list(answer) == ["describe_table"]
    told = answer["describe_table"]
    fields = {field["name"]: field for field in told["arguments"]}
    assert fields["table_name"]["required"] is True
    assert fields["schema"]["type"] == "string"
    assert told["open"] is False
    assert {".columns", ".columns[0].name"} <= set(told["gives"])
    assert client.get(url).json() == {"tools": {}}
    assert len(client.get(url, {"tool": ["list_tables"] * 3}).json()["tools"]) == 1
    assert client.post(url).status_code == 405


def test_only_who_may_change_tools_is_told_of_them(client: Client, flows: Team) -> None:
    url = f"/app/{flows.slug}/tools/arguments"
    assert client_of(flows, Role.VIEWER).get(url, {"tool": "list_tables"}).status_code == 403
    other = make_team()
    assert client.get(f"/app/{other.slug}/tools/arguments", {"tool": "list_tables"}).status_code == 404


def test_a_step_may_call_any_tool_that_is_published_but_its_own(client: Client, flows: Team) -> None:
    steps = {"steps": [{"tool": "list_tables"}]}
    tool = create_tool("look", "flows", "pipeline", steps, caller=flows.owner)
    create_tool("unfinished", "flows", "pipeline", steps, caller=flows.owner, draft=True)
    edited = client.get(f"/app/{flows.slug}/tools/{tool.id}/edit").context["callable"]
    assert "query_database" in dict(edited)
    assert not {"look", "unfinished"} & set(dict(edited))
    assert "look" in dict(client.get(f"/app/{flows.slug}/tools/new?kind=workflow").context["callable"])
    assert "data-steps-editor" not in client.get(f"/app/{flows.slug}/tools/new?kind=python").content.decode()
