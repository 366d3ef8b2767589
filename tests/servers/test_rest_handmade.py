"""Resources and prompts by hand over REST: made, shown, changed and deleted by those who may, in their own team."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from servers.models import DataSource, Prompt, Resource
from servers.services import handmade
from servers.services.sources import create_source
from servers.services.tools import create_tool, delete_tool, list_tools
from tenants.audit.records import decode
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of, make_team
from tests.rest import Rest
from tests.shelf import add_shelf_kind, fill_shelf, shelf_resource, shelf_tool

NOTE = {"uri": "notes://welcome", "title": "Welcome", "mime_type": "text/markdown", "text": "# Hello"}
REVIEW: dict[str, Any] = {
    "name": "review",
    "arguments": [{"name": "tone", "enum": ["kind", "strict"]}],
    "messages": [{"role": "user", "text": "Be ${tone}."}],
}

ORDER = {"tool": "get_order", "arguments": {"order_id": "${id}"}, "pick": "/rows/0"}


def records(team: Team, kind: str) -> list[dict[str, Any]]:
    with tenant_scope(team.tenant_id):
        return [decode(bytes(row.body)) for row in AuditRecord.objects.filter(kind=kind).order_by("seq")]


def test_a_resource_is_made_shown_changed_and_deleted(team: Team, rest: Rest) -> None:
    base = f"/tenants/{team.slug}/resources"
    made = rest.post(base, NOTE)
    assert made.status == 201
    assert (made.body["source"], made.body["brought"], made.body["size"]) == ("handmade", False, 7)
    assert made.body["definition"] == {**NOTE, "name": "welcome", "description": ""}
    listed = rest.get(base).body["results"]
    assert [row["uri"] for row in listed] == ["notes://welcome"]
    assert "definition" not in listed[0]
    url = f"{base}/{made.body['id']}"
    changed = rest.patch(url, {"text": "# Bye", "enabled": False})
    assert changed.status == 200
    assert (changed.body["definition"]["text"], changed.body["enabled"]) == ("# Bye", False)
    assert changed.body["title"] == "Welcome"
    blob = base64.b64encode(b"\x00\x01").decode()
    assert rest.patch(url, {"blob": blob, "mime_type": "image/png"}).body["definition"]["blob"] == blob
    assert "text" not in rest.get(url).body["definition"]
    assert rest.delete(url).status == 204
    assert rest.get(url).status == 404
    kinds = [len(records(team, f"resource.{what}")) for what in ("created", "changed", "disabled", "deleted")]
    assert kinds == [1, 2, 1, 1]
    assert "# Hello" not in str(records(team, "resource.created"))


def test_a_prompt_is_made_shown_changed_and_deleted(team: Team, rest: Rest) -> None:
    base = f"/tenants/{team.slug}/prompts"
    made = rest.post(base, REVIEW)
    assert made.status == 201
    assert made.body["arguments"] == [{"name": "tone", "required": False}]
    assert made.body["definition"]["messages"] == REVIEW["messages"]
    url = f"{base}/{made.body['id']}"
    assert rest.patch(url, {"messages": [{"role": "user", "text": "${topic}"}]}).paths == {"messages.0.text"}
    changed = rest.patch(url, {"name": "check", "title": "Check"})
    assert (changed.body["name"], changed.body["definition"]["messages"]) == ("check", REVIEW["messages"])
    assert rest.patch(url, {}).status == 200
    assert rest.delete(url).status == 204
    kinds = [len(records(team, f"prompt.{what}")) for what in ("created", "changed", "deleted")]
    assert kinds == [1, 1, 1]


def with_orders(team: Team) -> None:
    """Give the team the tools that the guide's examples name."""
    create_source("shop", "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    for name, parameter, type_ in (
        ("get_order", "order_id", "integer"),
        ("find_orders", "prefix", "string"),
        ("find_topics", "prefix", "string"),
    ):
        sql = f"SELECT id, name FROM orders WHERE id::text = :{parameter}::text"
        definition = {"sql": sql, "parameters": {parameter: {"type": type_}}}
        create_tool(name, "shop", "sql", definition, caller=team.owner)


def test_what_a_tool_gives_takes_the_place_of_a_text_and_back(team: Team, rest: Rest) -> None:
    with_orders(team)
    base = f"/tenants/{team.slug}/resources"
    made = rest.post(base, {"uri": "orders://{id}", "text": "${id}"})
    url = f"{base}/{made.body['id']}"
    changed = rest.patch(url, {"result": ORDER, "mime_type": "application/json"}).body
    assert (changed["definition"]["result"], changed["size"]) == (ORDER, None)
    assert "text" not in changed["definition"]
    assert "result" not in rest.patch(url, {"text": "x"}).body["definition"]
    both = rest.patch(url, {"result": ORDER, "blob": "eA=="})
    assert (both.status, both.paths) == (400, {"result"})
    variables = {
        "id": {"complete": {"tool": "find_orders", "arguments": {"prefix": "${id}"}, "pick": "/rows"}}
    }
    assert rest.patch(url, {"variables": variables}).paths == {"variables.id.complete.member"}


def test_a_tool_that_went_is_told_with_its_place(team: Team, rest: Rest) -> None:
    with_orders(team)
    resource = rest.post(f"/tenants/{team.slug}/resources", {"uri": "orders://{id}", "result": ORDER}).body
    prompt = rest.post(
        f"/tenants/{team.slug}/prompts",
        {
            "name": "explain",
            "arguments": [{"name": "id", "required": True}],
            "results": {"order": ORDER},
            "messages": [{"text": "Explain ${order}."}],
        },
    ).body
    assert (resource["faults"], prompt["faults"]) == ([], [])
    assert prompt["definition"]["results"] == {"order": ORDER}
    tool = next(tool for tool in list_tools(caller=team.owner) if tool.name == "get_order")
    delete_tool(tool.pk, caller=team.owner)
    message = "there is no tool called get_order in this team."
    shown = rest.get(f"/tenants/{team.slug}/resources/{resource['id']}").body
    assert shown["faults"] == [{"path": "result.tool", "message": message}]
    shown = rest.get(f"/tenants/{team.slug}/prompts/{prompt['id']}").body
    assert shown["faults"] == [{"path": "results.order.tool", "message": message}]
    # Another team's tool of that name is none of this one's.
    with_orders(make_team())
    refused = rest.post(f"/tenants/{team.slug}/resources", {"uri": "others://{id}", "result": ORDER})
    assert refused.paths == {"result.tool"}


def test_all_of_a_team_stands_on_one_source_of_its_own(team: Team, rest: Rest) -> None:
    create_source("handmade", "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    for place in range(2):
        assert rest.post(f"/tenants/{team.slug}/resources", {**NOTE, "uri": f"notes://{place}"}).status == 201
    assert rest.post(f"/tenants/{team.slug}/prompts", REVIEW).status == 201
    with tenant_scope(team.tenant_id):
        source = DataSource.objects.get(kind="handmade")
        assert source.name == "handmade-2"
        assert Resource.objects.filter(source=source).count() == 2
    # What was made by hand survives a refresh of its source, and keeps it from being deleted.
    refreshed = rest.post(f"/tenants/{team.slug}/data-sources/{source.id}/refresh")
    assert refreshed.body["removed"] == {"tools": [], "resources": [], "prompts": []}
    kept = rest.delete(f"/tenants/{team.slug}/data-sources/{source.id}")
    assert (kept.status, kept.body["code"]) == (409, "source_in_use")
    assert "notes://0, notes://1, review" in kept.body["detail"]


def test_a_source_may_be_named_so_that_a_server_can_choose_it(team: Team, rest: Rest) -> None:
    create_source("sales-words", "handmade", {}, caller=team.owner)
    create_source("support-words", "handmade", {}, caller=team.owner)
    made = rest.post(f"/tenants/{team.slug}/prompts", {**REVIEW, "source": "support-words"})
    assert made.body["source"] == "support-words"
    assert rest.post(f"/tenants/{team.slug}/prompts", {**REVIEW, "source": "nowhere"}).paths == {"source"}


def test_other_kinds_take_none(team: Team, rest: Rest) -> None:
    create_source("sums", "toolkit", {}, caller=team.owner)
    refused = rest.post(f"/tenants/{team.slug}/resources", {**NOTE, "source": "sums"})
    assert refused.status == 400
    assert "takes no resources" in refused.body["detail"]
    assert rest.post(f"/tenants/{team.slug}/prompts", {**REVIEW, "source": "sums"}).status == 400


def test_taken_names_and_uris_are_conflicts(team: Team, rest: Rest) -> None:
    for base, body, other in (
        (f"/tenants/{team.slug}/resources", NOTE, {"uri": "notes://other"}),
        (f"/tenants/{team.slug}/prompts", REVIEW, {"name": "other"}),
    ):
        assert rest.post(base, body).status == 201
        assert rest.post(base, body).status == 409
        second = rest.post(base, {**body, **other})
        taken = {name: body[name] for name in other}
        assert rest.patch(f"{base}/{second.body['id']}", taken).status == 409


def test_what_came_with_a_source_is_its_sources(team: Team, rest: Rest) -> None:
    add_shelf_kind()
    fill_shelf("rest-handmade", resources=["shelf://readme"], prompts=["brought"])
    create_source("books", "shelf", {"shelf": "rest-handmade"}, caller=team.owner)
    for what, change in (("resources", {"text": "x"}), ("prompts", {"title": "x"})):
        base = f"/tenants/{team.slug}/{what}"
        row = rest.get(base).body["results"][0]
        url = f"{base}/{row['id']}"
        assert row["brought"]
        assert rest.get(url).body["definition"] == {}
        assert (rest.patch(url, change).body["code"], rest.delete(url).body["code"]) == ("brought", "brought")
        assert rest.patch(url, {"enabled": False}).body["enabled"] is False


@pytest.mark.parametrize(
    ("what", "body", "path"),
    [
        ("resources", {}, "uri"),
        ("resources", {"uri": "notes://a"}, "text"),
        ("resources", {"uri": "notes://a", "text": 5, "blob": []}, "blob"),
        ("resources", {"uri": "notes://\u202ea", "text": "x"}, "uri"),
        ("resources", {"uri": "notes://a", "text": "x", "title": "\u202e"}, "title"),
        ("resources", {"uri": "notes://a", "text": "x", "colour": "red"}, "colour"),
        ("resources", {"uri": "notes://{a}", "text": "${b}"}, "text"),
        ("prompts", {}, "messages"),
        ("prompts", {**REVIEW, "name": "my prompt"}, "name"),
        ("prompts", {**REVIEW, "messages": []}, "messages"),
        ("prompts", {**REVIEW, "messages": [{"text": "${nobody}"}]}, "messages.0.text"),
        ("prompts", {**REVIEW, "messages": ["x"]}, "messages.0"),
    ],
)
def test_bad_input_is_refused_with_the_place(
    team: Team, rest: Rest, what: str, body: dict[str, Any], path: str
) -> None:
    refused = rest.post(f"/tenants/{team.slug}/{what}", body)
    assert refused.status == 400
    assert any(each.endswith(path) for each in refused.paths), refused.body
    with tenant_scope(team.tenant_id):
        assert not Resource.objects.exists()
        assert not Prompt.objects.exists()
        assert not DataSource.objects.exists()


def test_there_is_an_end_to_how_much(team: Team, rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handmade, "MAX_OWN", 1)
    monkeypatch.setattr(handmade, "MAX_BYTES", 10)
    base = f"/tenants/{team.slug}/resources"
    first = rest.post(base, NOTE)
    assert rest.post(base, {**NOTE, "uri": "notes://b"}).body["code"] == "too_many"
    assert rest.patch(f"{base}/{first.body['id']}", {"text": "x" * 11}).body["code"] == "too_large"
    assert rest.patch(f"{base}/{first.body['id']}", {"text": "x" * 10}).status == 200
    rest.post(f"/tenants/{team.slug}/prompts", REVIEW)
    assert rest.post(f"/tenants/{team.slug}/prompts", {**REVIEW, "name": "b"}).body["code"] == "too_many"


def test_who_may_not_change_tools_makes_nothing(team: Team) -> None:
    viewer = team.member(Role.VIEWER)
    rest = Rest(email=email_of(viewer))
    assert rest.post(f"/tenants/{team.slug}/resources", NOTE).status == 403
    assert rest.post(f"/tenants/{team.slug}/prompts", REVIEW).status == 403
    editor = Rest(email=email_of(team.member(Role.EDITOR)))
    assert editor.post(f"/tenants/{team.slug}/prompts", REVIEW).status == 201
    made = editor.get(f"/tenants/{team.slug}/prompts").body["results"][0]
    assert rest.delete(f"/tenants/{team.slug}/prompts/{made['id']}").status == 403


def examples() -> list[tuple[str, dict[str, Any]]]:
    """What the guide's page posts where."""
    page = Path(__file__).resolve().parents[2] / "docs" / "resources-and-prompts.md"
    posted = re.findall(r"/tenants/demo/(resources|prompts) -d '(\{.*?\})'\n```", page.read_text(), re.DOTALL)
    return [(what, orjson.loads(body)) for what, body in posted]


@pytest.mark.parametrize(("what", "body"), examples())
def test_the_guides_examples_are_made(team: Team, rest: Rest, what: str, body: dict[str, Any]) -> None:
    with_orders(team)
    made = rest.post(f"/tenants/{team.slug}/{what}", body)
    assert made.status == 201, made.body
    shown = made.body["definition"]
    if what == "resources":
        assert {name: shown[name] for name in body} == body
    else:
        assert shown.get("results") == body.get("results")
        for part, name in (("arguments", "name"), ("messages", "role")):
            assert [each[name] for each in shown[part]] == [each[name] for each in body[part]]


def test_the_guides_refresh_answers_as_it_says(team: Team, rest: Rest) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "resources-and-prompts.md").read_text()
    [(method, said)] = re.findall(
        r"api -X (\w+) \$MARINA/api/v1/tenants/demo/data-sources/\$SOURCE/refresh\n```\n```json\n(.*?)```",
        page,
        re.DOTALL,
    )
    add_shelf_kind()
    fill_shelf(team.slug, tools=["add"], resources=["library://readme"], prompts=["review"])
    body = {"name": "library", "kind": "shelf", "settings": {"shelf": team.slug}}
    source = rest.post(f"/tenants/{team.slug}/data-sources", body).body["id"]
    of_add = {"x": {"type": "integer"}, "digits": {"type": "integer"}}
    fill_shelf(
        team.slug,
        tools=[shelf_tool("add", input_schema={"type": "object", "properties": of_add}), "subtract"],
        resources=[shelf_resource("library://readme", title="Read me")],
    )
    assert method == "POST"
    path = f"/tenants/{team.slug}/data-sources/{source}/refresh"
    told = orjson.loads(said)
    preview = rest.post(path, {"preview": True}).body
    nothing: dict[str, list[str]] = {"tools": [], "resources": [], "prompts": []}
    assert preview == {**preview, "added": nothing, "changed": nothing, "removed": nothing}
    done = rest.post(path).body
    assert {**done, "fingerprint": f"{done['fingerprint'][:4]}…"} == told
    assert preview == {**preview, "differences": done["differences"], "fingerprint": done["fingerprint"]}


def test_another_team_sees_and_changes_nothing(team: Team, rest: Rest) -> None:
    other = make_team()
    outsider = Rest.admin(other)
    for what, body, change in (("resources", NOTE, {"text": "x"}), ("prompts", REVIEW, {"title": "x"})):
        made = rest.post(f"/tenants/{team.slug}/{what}", body).body["id"]
        url = f"/tenants/{other.slug}/{what}/{made}"
        assert (outsider.get(url).status, outsider.delete(url).status) == (404, 404)
        assert outsider.patch(url, change).status == 404
        # The same name or URI is free in another team.
        assert outsider.post(f"/tenants/{other.slug}/{what}", body).status == 201
