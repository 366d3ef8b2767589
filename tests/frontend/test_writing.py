"""Resources and prompts of a team's own in the dashboard: written, changed and deleted by form."""

from __future__ import annotations

import base64
import html
import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from servers.models import Prompt, Resource
from servers.services.handmade import create_prompt, create_resource, prompt_definition, resource_definition
from servers.services.prompts import get_prompt, list_prompts
from servers.services.resources import get_resource, list_resources
from servers.services.sources import create_source
from servers.services.tools import create_tool, delete_tool, list_tools
from tenants.roles import Role
from tenants.services.log import search_records
from tests.factories import Team, make_database, make_team
from tests.frontend.visitor import client_of
from tests.shelf import add_shelf_kind, fill_shelf

BLOB = base64.b64encode(b"\x89PNG").decode()
ORDER = {"tool": "get_order", "arguments": {"order_id": "${id}"}, "pick": "/rows/0"}
FIND = {"tool": "find_orders", "arguments": {"prefix": "${id}"}, "pick": "/rows", "member": "id"}
ROWS: dict[str, Any] = {
    "name": "review",
    "argument-name": ["topic", "", "tone"],
    "argument-description": ["What about", "", ""],
    "argument-need": ["required", "optional", "optional"],
    "argument-choices": ["", "", "kind, strict"],
    "argument-default": ["", "", "kind"],
    "message-role": ["user", "assistant", "user"],
    "message-text": ["Review ${topic}.\r\nBe ${tone}.", "", "Short sentences."],
    "message-uri": ["", "", "notes://rules"],
    "message-mime_type": ["", "", "text/markdown"],
    "message-kept": ["", "", ""],
}


@pytest.fixture
def browser(team: Team) -> Client:
    return client_of(team)


def resource(team: Team) -> Resource:
    return min(list_resources(caller=team.owner), key=lambda row: row.brought)


def with_orders(team: Team) -> None:
    """Give the team the tools get_order and find_orders."""
    create_source("shop", "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    for name, parameter, type_ in (("get_order", "order_id", "integer"), ("find_orders", "prefix", "string")):
        sql = f"SELECT id, name FROM orders WHERE id::text = :{parameter}::text"
        definition = {"sql": sql, "parameters": {parameter: {"type": type_}}}
        create_tool(name, "shop", "sql", definition, caller=team.owner)


def prompt(team: Team) -> Prompt:
    return list_prompts(caller=team.owner)[0]


def test_a_text_is_written_and_changed(team: Team, browser: Client) -> None:
    base = f"/app/{team.slug}/resources/"
    assert "New resource" in browser.get(base).content.decode()
    data = {"uri": "notes://welcome", "mime_type": "text/markdown", "text": "# Hello\r\n<b>"}
    made = browser.post(f"{base}new", data, follow=True)
    assert "# Hello\n&lt;b&gt;" in made.content.decode()
    row = resource(team)
    assert resource_definition(row)["text"] == "# Hello\n<b>"
    shown = browser.get(f"{base}{row.id}/edit").content.decode()
    assert "# Hello\n&lt;b&gt;" in shown
    assert browser.post(f"{base}{row.id}/edit", {**data, "text": "Bye", "title": "T"}).status_code == 302
    changed = resource_definition(get_resource(row.id, caller=team.owner))
    assert (changed["text"], changed["title"], changed["name"]) == ("Bye", "T", "welcome")


def test_a_file_is_kept_until_another_content_takes_its_place(team: Team, browser: Client) -> None:
    base = f"/app/{team.slug}/resources/"
    file = SimpleUploadedFile("logo.png", b"\x89PNG", content_type="image/png")
    assert browser.post(f"{base}new", {"uri": "notes://logo", "file": file}).status_code == 302
    row = resource(team)
    assert (row.mime_type, resource_definition(row)["blob"]) == ("image/png", BLOB)
    kept = {"uri": "notes://logo", "mime_type": "image/png", "title": "Logo"}
    assert "They stay unless" in browser.get(f"{base}{row.id}/edit").content.decode()
    browser.post(f"{base}{row.id}/edit", kept)
    assert resource_definition(get_resource(row.id, caller=team.owner))["blob"] == BLOB
    browser.post(f"{base}{row.id}/edit", {**kept, "mime_type": "", "text": "none"})
    assert resource_definition(get_resource(row.id, caller=team.owner))["text"] == "none"


def test_a_template_is_written_with_choices(team: Team, browser: Client) -> None:
    data = {"uri": "hello://{lang}", "text": "In ${lang}", "choices": "lang: de, en"}
    assert browser.post(f"/app/{team.slug}/resources/new", data).status_code == 302
    row = resource(team)
    assert resource_definition(row)["variables"] == {"lang": {"enum": ["de", "en"]}}
    shown = browser.get(f"/app/{team.slug}/resources/{row.id}/edit").content.decode()
    assert "lang: de, en" in shown


def test_a_template_is_filled_and_completed_by_tools(team: Team, browser: Client) -> None:
    with_orders(team)
    base = f"/app/{team.slug}/resources/"
    data = {
        "uri": "orders://{id}/{lang}",
        "result": json.dumps(ORDER),
        "completions": json.dumps({"id": FIND}),
        "choices": "lang: de, en",
    }
    assert browser.post(f"{base}new", data).status_code == 302
    row = resource(team)
    definition = resource_definition(row)
    assert definition["result"] == ORDER
    assert definition["variables"] == {"lang": {"enum": ["de", "en"]}, "id": {"complete": FIND}}
    page = browser.get(f"{base}{row.id}/").content.decode()
    assert "Filled by a tool" in page
    assert "It does not work now" not in page
    # What the form shows is what it would save again.
    form = browser.get(f"{base}{row.id}/edit").context["form"]
    shown = {name: form[name].value() or "" for name in form.fields}
    assert json.loads(form["result"].field.prepare_value(shown["result"])) == ORDER
    again = {**data, "title": "Order", "mime_type": shown["mime_type"]}
    assert browser.post(f"{base}{row.id}/edit", again).status_code == 302
    assert resource_definition(get_resource(row.id, caller=team.owner)) == {**definition, "title": "Order"}
    tool = next(tool for tool in list_tools(caller=team.owner) if tool.name == "get_order")
    delete_tool(tool.pk, caller=team.owner)
    page = browser.get(f"{base}{row.id}/").content.decode()
    assert "It does not work now" in page
    assert "there is no tool called get_order in this team." in page
    refused = browser.post(f"{base}{row.id}/edit", {**again, "title": "T"})
    assert list(refused.context["form"].errors) == ["result"]
    assert browser.post(f"{base}{row.id}/edit", {**data, "result": "", "text": "x"}).status_code == 302
    assert resource_definition(get_resource(row.id, caller=team.owner))["text"] == "x"


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"result": "{"}, "result", "It is not JSON"),
        ({"result": "[]"}, "result", "It must be a JSON object"),
        ({"text": "x"}, "result", "one of text, blob and result"),
        ({"result": json.dumps({**ORDER, "arguments": {}})}, "result", "arguments.order_id: is required"),
        ({"completions": json.dumps({"id": {**FIND, "tool": "x"}})}, "completions", "id.tool: there is no"),
        ({"completions": json.dumps({"id": 5})}, "completions", "id: must be an object"),
    ],
)
def test_what_a_tool_cannot_fill_is_refused_beside_its_field(
    team: Team, browser: Client, changed: dict[str, Any], field: str, words: str
) -> None:
    with_orders(team)
    data = {"uri": "orders://{id}", "result": json.dumps(ORDER), **changed}
    answer = browser.post(f"/app/{team.slug}/resources/new", data)
    assert answer.status_code == 400
    errors = answer.context["form"].errors
    assert list(errors) == [field]
    assert words in str(errors[field].as_data())


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"uri": "nowhere"}, "uri"),
        ({"uri": ""}, "uri"),
        ({"uri": "a://{b}", "text": "${c}"}, "text"),
        ({"uri": "a://{b}", "choices": "c: x"}, "choices"),
        ({"mime_type": "png"}, "mime_type"),
        ({"file": SimpleUploadedFile("large", bytes(100_000))}, "file"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(
    team: Team, browser: Client, changed: dict[str, Any], field: str
) -> None:
    answer = browser.post(
        f"/app/{team.slug}/resources/new",
        {"uri": "notes://a", "text": "x" if "file" not in changed else "", **changed},
    )
    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [field]
    assert list_resources(caller=team.owner) == []


def test_a_taken_uri_is_told(team: Team, browser: Client) -> None:
    create_resource({"uri": "notes://a", "text": "x"}, caller=team.owner)
    answer = browser.post(f"/app/{team.slug}/resources/new", {"uri": "notes://a", "text": "y"})
    assert answer.status_code == 400
    assert "is taken" in answer.content.decode()


def test_a_prompt_is_written_in_rows(team: Team, browser: Client) -> None:
    made = browser.post(f"/app/{team.slug}/prompts/new", ROWS, follow=True)
    assert "Review ${topic}." in made.content.decode()
    row = prompt(team)
    definition = prompt_definition(row)
    assert definition["arguments"] == [
        {"name": "topic", "description": "What about", "required": True},
        {"name": "tone", "required": False, "enum": ["kind", "strict"], "default": "kind"},
    ]
    assert definition["messages"] == [
        {"role": "user", "text": "Review ${topic}.\nBe ${tone}."},
        {
            "role": "user",
            "resource": {"uri": "notes://rules", "mime_type": "text/markdown", "text": "Short sentences."},
        },
    ]
    # What the form shows is what it would save again.
    shown = browser.get(f"/app/{team.slug}/prompts/{row.id}/edit")
    form = shown.context["form"]
    assert [each.name for each in form.argument_rows] == ["topic", "tone", "", ""]
    assert [each.uri for each in form.message_rows] == ["", "notes://rules", "", ""]
    browser.post(f"/app/{team.slug}/prompts/{row.id}/edit", {**ROWS, "title": "Review"})
    changed = get_prompt(row.id, caller=team.owner)
    assert (changed.title, prompt_definition(changed)["messages"]) == ("Review", definition["messages"])


def test_a_prompt_holds_results_and_completes_its_arguments(team: Team, browser: Client) -> None:
    with_orders(team)
    base = f"/app/{team.slug}/prompts/"
    data = {
        "name": "explain",
        "results": json.dumps({"order": ORDER}),
        "completions": json.dumps({"id": FIND}),
        "argument-name": ["id"],
        "argument-description": [""],
        "argument-need": ["required"],
        "argument-choices": [""],
        "argument-default": [""],
        "message-role": ["user"],
        "message-text": ["Explain ${order}."],
        "message-uri": [""],
        "message-mime_type": [""],
        "message-kept": [""],
    }
    assert browser.post(f"{base}new", data).status_code == 302
    row = prompt(team)
    definition = prompt_definition(row)
    assert definition["results"] == {"order": ORDER}
    assert definition["arguments"] == [{"name": "id", "required": True, "complete": FIND}]
    assert "Results of tools" in browser.get(f"{base}{row.id}/").content.decode()
    form = browser.get(f"{base}{row.id}/edit").context["form"]
    assert (form["results"].value(), form["completions"].value()) != ("", "")
    for changed, field, words in (
        ({"completions": json.dumps({"number": FIND})}, "completions", "no argument called number"),
        ({"completions": json.dumps({"id": {**FIND, "member": 5}})}, "completions", "id.member: must be"),
        ({"results": json.dumps({"order": {**ORDER, "pick": "x"}})}, "results", "order.pick: is not a JSON"),
    ):
        refused = browser.post(f"{base}{row.id}/edit", {**data, **changed})
        assert words in str(refused.context["form"].errors[field].as_data())
    bare = {**data, "results": "", "completions": "", "message-text": ["Explain it."]}
    assert browser.post(f"{base}{row.id}/edit", bare).status_code == 302
    changed_now = prompt_definition(get_prompt(row.id, caller=team.owner))
    assert "results" not in changed_now
    assert changed_now["arguments"] == [{"name": "id", "required": True}]


def test_bytes_in_a_message_stay_when_the_rest_is_changed(team: Team, browser: Client) -> None:
    message = {"role": "user", "resource": {"uri": "notes://logo", "mime_type": "image/png", "blob": BLOB}}
    row = create_prompt({"name": "look", "messages": [message]}, caller=team.owner)
    shown = browser.get(f"/app/{team.slug}/prompts/{row.id}/edit").context["form"].message_rows[0]
    assert (shown.uri, shown.kept) == ("notes://logo", "0")
    data = {
        "name": "look",
        "message-role": ["user", "user"],
        "message-text": ["", "What is it?"],
        "message-uri": ["notes://logo", ""],
        "message-mime_type": ["image/png", ""],
        "message-kept": ["0", ""],
    }
    assert browser.post(f"/app/{team.slug}/prompts/{row.id}/edit", data).status_code == 302
    messages = prompt_definition(get_prompt(row.id, caller=team.owner))["messages"]
    assert messages == [message, {"role": "user", "text": "What is it?"}]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"message-text": ["${nobody}", "", ""]}, "Message 1, text: The slot ${nobody}"),
        ({"argument-name": ["a b", "", "tone"]}, "Argument 1, name:"),
        ({"message-text": [], "message-uri": []}, "messages: must be a list"),
        ({"name": "my prompt"}, "Must be 1 to 64 letters"),
    ],
)
def test_faults_of_a_prompt_name_their_row(
    team: Team, browser: Client, changed: dict[str, Any], words: str
) -> None:
    answer = browser.post(f"/app/{team.slug}/prompts/new", {**ROWS, **changed})
    assert answer.status_code == 400
    assert words in str(answer.context["form"].errors).replace("&#x27;", "'")
    assert list_prompts(caller=team.owner) == []


@pytest.mark.parametrize("what", ["resources", "prompts"])
def test_it_is_deleted_when_its_name_is_typed(team: Team, browser: Client, what: str) -> None:
    rows = {
        "resources": create_resource({"uri": "notes://a", "text": "x"}, caller=team.owner),
        "prompts": create_prompt({"name": "p", "messages": [{"text": "x"}]}, caller=team.owner),
    }
    url = f"/app/{team.slug}/{what}/{rows[what].id}/"
    browser.post(f"{url}delete", {"confirm": "else"})
    assert browser.get(url).status_code == 200
    browser.post(f"{url}delete", {"confirm": {"resources": "notes://a", "prompts": "p"}[what]})
    assert browser.get(url).status_code == 404


@pytest.mark.parametrize("what", ["resources", "prompts"])
def test_what_came_with_a_source_has_no_form(team: Team, browser: Client, what: str) -> None:
    add_shelf_kind()
    fill_shelf("frontend-writing", resources=["shelf://readme"], prompts=["brought"])
    create_source("books", "shelf", {"shelf": "frontend-writing"}, caller=team.owner)
    row = resource(team) if what == "resources" else prompt(team)
    url = f"/app/{team.slug}/{what}/{row.id}/"
    assert "Change</a>" not in browser.get(url).content.decode()
    assert browser.get(f"{url}edit").status_code == 400
    assert browser.post(f"{url}delete", {"confirm": getattr(row, "uri", row.name)}).status_code >= 400


@pytest.mark.parametrize("what", ["resources", "prompts"])
def test_a_viewer_writes_nothing(team: Team, what: str) -> None:
    client = client_of(team, Role.VIEWER)
    assert client.get(f"/app/{team.slug}/{what}/").status_code == 200
    assert client.get(f"/app/{team.slug}/{what}/new").status_code == 403
    assert client.post(f"/app/{team.slug}/{what}/new", ROWS).status_code == 403


def test_a_resource_is_tried_where_it_stands(team: Team, browser: Client) -> None:
    database = make_database(
        "CREATE TABLE orders (id int, item text); INSERT INTO orders VALUES (7, '<b>sail')"
    )
    create_source("shop", "postgres", {"dsn": database}, caller=team.owner)
    sql = "SELECT item FROM orders WHERE id = :order_id"
    definition = {"sql": sql, "parameters": {"order_id": {"type": "integer"}}}
    create_tool("get_order", "shop", "sql", definition, caller=team.owner)
    row = create_resource({"uri": "orders://{id}", "result": ORDER}, caller=team.owner)
    url = f"/app/{team.slug}/resources/{row.id}/"
    assert 'value="orders://{id}"' in browser.get(url).content.decode()

    def tried(uri: str, server: str = "default") -> str:
        return html.unescape(browser.post(f"{url}try", {"uri": uri, "server": server}).content.decode())

    assert '{"item":"<b>sail"}' in tried("orders://7")
    assert "<b>" not in browser.post(f"{url}try", {"uri": "orders://7"}).content.decode()
    assert "There is no such resource. The tool get_order gave nothing at /rows/0" in tried("orders://8")
    assert "id must be a whole number" in tried("orders://seven")
    assert "Unknown resource" in tried("nowhere://")
    assert "There is no such server" in tried("orders://7", "nowhere")
    told = search_records(caller=team.owner, kind="resources/read").records
    outcomes = [each.outcome for each in told if each.outcome != "intent"]
    assert outcomes == ["invalid", "invalid", "invalid", "error", "ok", "ok"]
    assert len(search_records(caller=team.owner, kind="tools/call").records) == 3


def test_a_prompt_is_tried_where_it_stands(team: Team, browser: Client) -> None:
    message = {"role": "assistant", "text": "Hello ${name}"}
    embedded = {"resource": {"uri": "a://logo", "mime_type": "image/png", "blob": BLOB}}
    arguments = [{"name": "name", "required": True}]
    definition = {"name": "greet", "arguments": arguments, "messages": [message, embedded]}
    row = create_prompt(definition, caller=team.owner)
    url = f"/app/{team.slug}/prompts/{row.id}/"
    assert 'name="argument-name"' in browser.get(url).content.decode()
    shown = browser.post(f"{url}try", {"argument-name": "Ada", "else": "x"}).content.decode()
    assert "Hello Ada" in shown
    assert "8 characters of base64" in shown
    assert "arguments_invalid" in browser.post(f"{url}try", {"argument-name": ""}).content.decode()
    assert client_of(make_team()).post(f"{url}try").status_code == 404
