"""Resources and prompts in the dashboard, and data sources of any kind: made, changed and refreshed by form."""

from __future__ import annotations

import re
import secrets

import pytest
from django.forms import ChoiceField
from django.test import Client
from django.utils.html import escape

from core.errors import InvalidInput
from frontend.forms.settings import SettingsForm, describe_facts, summarise_facts
from servers.execution.broken import BrokenBackend
from servers.execution.engine import Engine
from servers.models import DataSource
from servers.services.connection import check_connection
from servers.services.kinds import Kind, list_kinds
from servers.services.prompts import list_prompts
from servers.services.resources import list_resources
from servers.services.runtime import get_runtime
from servers.services.served_versions import serve_version
from servers.services.servers import count_offered, create_server, list_servers
from servers.services.sources import create_source, execution_source, list_sources
from servers.services.tools import list_tools
from tenants.roles import Role
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of, confirming
from tests.plainkind import engine_with
from tests.shelf import KIND, add_shelf_kind, fill_shelf

HTMX = {"HX-Request": "true"}


@pytest.fixture
def team() -> Team:
    add_shelf_kind()
    return make_team()


@pytest.fixture
def shelf() -> str:
    name = f"shelf-{secrets.token_hex(4)}"
    fill_shelf(
        name,
        tools=["add"],
        resources=["shelf://readme", "shelf://books/{id}"],
        prompts=["review", "summary"],
    )
    return name


def made(team: Team, shelf: str) -> DataSource:
    return create_source("books", KIND, {"shelf": shelf, "token": "t0psecret"}, caller=team.owner)


def stored(team: Team) -> dict[str, object]:
    return dict(execution_source(list_sources(caller=team.owner)[0]).settings)


def test_every_kind_is_offered_by_its_title_with_a_sentence_on_it(client: Client, team: Team) -> None:
    body = client.get(f"/app/{team.slug}/data-sources/new").content.decode()
    kinds = list_kinds()
    assert re.findall(r'data-sources/new\?kind=(\w+)">([^<]+)<', body) == [
        (kind.name, kind.title) for kind in kinds
    ]
    assert '?kind=shelf">Shelf<' in body
    assert 'name="dsn"' not in body
    engine = Engine()
    for kind in engine.kinds:
        summary = engine.backend(kind).summary
        assert summary, f"{kind}: say in a sentence (summary) what it is for"
        assert escape(summary) in body
    body = client.get(f"/app/{team.slug}/data-sources/new?kind=shelf").content.decode()
    assert '<span class="badge">Shelf</span>' in body
    assert 'name="dsn"' not in body


def test_every_installed_kind_has_a_form(client: Client, team: Team) -> None:
    for kind in list_kinds():
        answer = client.get(f"/app/{team.slug}/data-sources/new", {"kind": kind.name})
        assert answer.status_code == 200, kind.name
        assert f'name="kind" value="{kind.name}"' in answer.content.decode()


def test_a_kind_that_is_not_installed_is_not_found(client: Client, team: Team) -> None:
    answer = client.get(f"/app/{team.slug}/data-sources/new?kind=oracle")
    assert answer.status_code == 404


def test_a_source_of_any_kind_is_made_by_the_form_of_its_schema(
    client: Client, team: Team, shelf: str
) -> None:
    url = f"/app/{team.slug}/data-sources/new"
    body = client.get(f"{url}?kind=shelf").content.decode()
    assert 'type="password" name="setting-token"' in body
    assert 'type="number" name="setting-depth" value="3" min="1" max="9"' in body
    assert 'type="checkbox" name="setting-locked"' in body
    fields = {
        "kind": "shelf",
        "name": "books",
        "setting-shelf": shelf,
        "setting-token": " t0psecret ",
        "setting-depth": "4",
        "setting-width": "2.5",
        "setting-colour": '"red"',
        "setting-labels": "one\n\n two \n",
    }
    answer = client.post(url, fields, follow=True)
    assert "books answers." in answer.content.decode()
    assert stored(team) == {
        "shelf": shelf,
        "token": " t0psecret ",
        "depth": 4,
        "width": 2.5,
        "locked": False,
        "colour": "red",
        "labels": ["one", "two"],
    }
    assert "t0psecret" not in answer.content.decode()


def test_what_does_not_fit_is_refused_beside_its_field(client: Client, team: Team) -> None:
    fields = {"kind": "shelf", "name": "books", "setting-depth": "10", "setting-colour": '"blue"'}
    answer = client.post(f"/app/{team.slug}/data-sources/new", fields)
    assert answer.status_code == 400
    assert set(answer.context["form"].errors) == {"setting-shelf", "setting-depth", "setting-colour"}


def test_a_kinds_own_refusal_stands_beside_its_field_whatever_the_field_is_called() -> None:
    kind = Kind("x", "X", {"properties": {"name": {"type": "string"}}}, frozenset())
    form = SettingsForm({"name": "n", "setting-name": "m"}, kind=kind)
    assert form.is_valid()
    faults = [{"path": "settings.name", "message": "is no good."}, {"path": "name", "message": "is taken."}]
    form.refuse(InvalidInput("No.", errors=faults))
    assert form.errors == {"setting-name": ["Is no good."], "name": ["Is taken."]}


def test_testing_a_form_of_any_kind_shows_what_it_brings_and_saves_nothing(
    client: Client, team: Team, shelf: str
) -> None:
    fields = {"kind": "shelf", "setting-shelf": shelf, "setting-colour": '"green"'}
    body = client.post(f"/app/{team.slug}/data-sources/try", fields, headers=HTMX).content.decode()
    assert "It answers" in body
    for brought in ("add", "shelf://books/{id}", "review"):
        assert f">{brought}</code>" in body
    assert list_sources(caller=team.owner) == []


def test_a_taken_uri_is_told_before_saving(client: Client, team: Team, shelf: str) -> None:
    made(team, shelf)
    fields = {"kind": "shelf", "name": "more", "setting-shelf": shelf, "setting-colour": '"green"'}
    body = client.post(f"/app/{team.slug}/data-sources/try", fields, headers=HTMX).content.decode()
    assert "The URI shelf://" in body
    answer = client.post(f"/app/{team.slug}/data-sources/new", fields)
    assert answer.status_code == 400
    assert len(list_sources(caller=team.owner)) == 1


def edit(client: Client, team: Team, **changed: str) -> None:
    source = list_sources(caller=team.owner)[0]
    shown = source.settings
    fields = {"name": source.name, "setting-shelf": shown["shelf"], "setting-colour": '"green"', **changed}
    answer = client.post(f"/app/{team.slug}/data-sources/{source.id}/", fields)
    assert answer.status_code == 302, answer.context["form"].errors


def test_renaming_keeps_the_settings_secrets_included(client: Client, team: Team, shelf: str) -> None:
    made(team, shelf)
    edit(client, team, name="library")
    assert list_sources(caller=team.owner)[0].name == "library"
    assert stored(team) == {"shelf": shelf, "token": "t0psecret"}


def test_a_change_replaces_the_settings_whole_so_no_secret_moves_to_another_place(
    client: Client, team: Team, shelf: str
) -> None:
    made(team, shelf)
    edit(client, team, **{"setting-shelf": "elsewhere", "removed-token": "on"})
    assert stored(team) == {"shelf": "elsewhere", "colour": "green", "locked": False}


def test_an_optional_secret_is_not_lost_by_changing_another_setting(
    client: Client, team: Team, shelf: str
) -> None:
    source = made(team, shelf)
    url = f"/app/{team.slug}/data-sources/{source.id}/"
    assert 'type="checkbox" name="removed-token"' in client.get(url).content.decode()
    fields = {"name": "books", "setting-shelf": shelf, "setting-depth": "4", "setting-colour": '"green"'}
    answer = client.post(url, fields)
    assert answer.status_code == 400
    assert "One is stored" in answer.context["form"].errors["setting-token"][0]
    assert stored(team) == {"shelf": shelf, "token": "t0psecret"}
    edit(client, team, **{"setting-depth": "4", "setting-token": "an0ther"})
    assert stored(team) == {
        "shelf": shelf,
        "token": "an0ther",
        "depth": 4,
        "colour": "green",
        "locked": False,
    }
    edit(client, team, **{"setting-depth": "4", "removed-token": "on"})
    edit(client, team, **{"setting-depth": "5"})
    assert stored(team) == {"shelf": shelf, "depth": 5, "colour": "green", "locked": False}


def test_the_sources_page_shows_what_it_brought_and_no_secret(client: Client, team: Team, shelf: str) -> None:
    source = made(team, shelf)
    body = client.get(f"/app/{team.slug}/data-sources/{source.id}/").content.decode()
    for shown in ("shelf://readme", "shelf://books/{id}", "review", "add", "encrypted, never shown", "Shelf"):
        assert shown in body
    assert "t0psecret" not in body
    assert shelf in client.get(f"/app/{team.slug}/data-sources/").content.decode()


def test_a_plugin_that_is_not_usable_keeps_nobody_from_the_sources(
    client: Client, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = BrokenBackend("lost", "The plugin lost could not be loaded.")
    monkeypatch.setattr(get_runtime(), "engine", engine_with(lost))
    answer = client.get(f"/app/{team.slug}/data-sources/")
    assert answer.status_code == 200
    body = client.get(f"/app/{team.slug}/data-sources/new").content.decode()
    assert "lost (not usable)" in body


def test_refreshing_says_what_changed(client: Client, team: Team, shelf: str) -> None:
    source = made(team, shelf)
    fill_shelf(shelf, tools=["add", "subtract"], prompts=["review", "summary"])
    url = f"/app/{team.slug}/data-sources/{source.id}/refresh"
    words = [str(each) for each in client.post(url, follow=True).context["messages"]]
    assert words == ["books is refreshed: added subtract; removed shelf://books/{id}, shelf://readme."]
    again = [str(each) for each in client.post(url, follow=True).context["messages"]]
    assert again == ["books brings nothing new."]


def test_a_refresh_that_cannot_be_says_why(client: Client, team: Team, shelf: str) -> None:
    source = made(team, shelf)
    fill_shelf(f"{shelf}-2", tools=["subtract"])
    create_source("more", KIND, {"shelf": f"{shelf}-2"}, caller=team.owner)
    fill_shelf(shelf, tools=["subtract"])
    answer = client.post(f"/app/{team.slug}/data-sources/{source.id}/refresh", follow=True)
    [words] = [str(each) for each in answer.context["messages"]]
    assert words.startswith("Nothing was changed. A tool called subtract exists already.")


@pytest.mark.parametrize(("what", "key"), [("resources", "shelf://readme"), ("prompts", "review")])
def test_a_list_shows_each_and_switches_it(
    client: Client, team: Team, shelf: str, what: str, key: str
) -> None:
    made(team, shelf)
    body = client.get(f"/app/{team.slug}/{what}/").content.decode()
    assert key in body
    listed = list_resources(caller=team.owner) if what == "resources" else list_prompts(caller=team.owner)
    row = next(row for row in listed if str(row) == key)
    url = f"/app/{team.slug}/{what}/{row.pk}/"
    assert "Turn off" in client.get(url).content.decode()
    back = client.post(f"{url}enabled", {"enabled": "false", "back": "list"})
    assert back["Location"] == f"/app/{team.slug}/{what}/"
    body = client.get(url).content.decode()
    assert "Turn on" in body
    assert "nobody: it is off" in body
    assert client.post(f"{url}enabled", {"enabled": "true"})["Location"] == url


@pytest.mark.parametrize(
    ("what", "words", "seen", "unseen"),
    [
        ("resources", "README", "shelf://readme", "shelf://books/{id}"),
        ("prompts", "review", ">review<", ">summary<"),
        ("tools", "add", ">add<", ">take<"),
    ],
)
def test_a_list_is_filtered_by_words(
    client: Client, team: Team, shelf: str, what: str, words: str, seen: str, unseen: str
) -> None:
    made(team, shelf)
    body = client.get(f"/app/{team.slug}/{what}/", {"q": words}).content.decode()
    assert seen in body
    assert unseen not in body
    assert "Nothing matches" in client.get(f"/app/{team.slug}/{what}/", {"q": "zzz"}).content.decode()


def test_an_empty_team_is_told_where_they_come_from(client: Client, team: Team) -> None:
    for what in ("resources", "prompts"):
        assert "Write one yourself" in client.get(f"/app/{team.slug}/{what}/").content.decode()


def test_a_viewer_reads_but_finds_no_switch(team: Team, shelf: str) -> None:
    made(team, shelf)
    viewer = client_of(team, Role.VIEWER)
    resource = list_resources(caller=team.owner)[0]
    url = f"/app/{team.slug}/resources/{resource.pk}/"
    for page in (url, f"/app/{team.slug}/resources/"):
        body = viewer.get(page).content.decode()
        assert resource.uri in body
        assert "Turn off" not in body
    assert viewer.post(f"{url}enabled", {"enabled": "false"}).status_code == 403


def test_a_servers_page_counts_what_it_offers(client: Client, team: Team, shelf: str) -> None:
    made(team, shelf)
    server = create_server("some", "Some", "private", ["books"], caller=team.owner)
    body = client.get(f"/app/{team.slug}/servers/{server.id}/").content.decode()
    assert "1 tool, 1 resource, 1 resource template, 2 prompts." in body
    empty = create_server("none", "None", "private", [], caller=team.owner)
    counts = count_offered(empty.id, caller=team.owner)
    assert (counts.tools, counts.resources, counts.templates, counts.prompts) == (0, 0, 0, 0)
    assert len(list_tools(caller=team.owner)) == 1


def test_references_and_optional_types_of_a_schema_become_plain_fields() -> None:
    schema = {
        "$defs": {"Size": {"enum": ["small", "large"], "type": "string"}},
        "required": ["size"],
        "properties": {
            "size": {"$ref": "#/$defs/Size"},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "Limit"},
            "headers": {"type": "object"},
        },
    }
    kind = Kind("x", "X", schema, frozenset())
    data = {"name": "n", "setting-size": '"large"', "setting-limit": "5", "setting-headers": '{"a": 1}'}
    form = SettingsForm(data, kind=kind)
    assert form.is_valid(), form.errors
    assert form.settings() == {"size": "large", "limit": 5, "headers": {"a": 1}}
    assert describe_facts({"size": "large"}, kind, None) == [
        ("size", "large"),
        ("Limit", "not set"),
        ("headers", "not set"),
    ]


def test_what_matters_for_other_choices_is_told_of_only_where_it_is_set() -> None:
    schema = {
        "properties": {
            "auth": {"enum": ["none", "bearer"], "default": "none"},
            "token": {"type": "string", "x-matters-for": {"auth": ["bearer"]}},
            "header": {"type": "string", "x-matters-for": {"auth": ["bearer"]}},
        }
    }
    kind = Kind("x", "X", schema, frozenset({"token"}))
    nothing: frozenset[str] = frozenset()
    assert describe_facts({}, kind, nothing) == [("auth", "none")]
    kept = describe_facts({"header": "X-Key"}, kind, frozenset({"token"}))
    assert kept == [("auth", "none"), ("token", "encrypted, never shown"), ("header", "X-Key")]
    chosen = describe_facts({"auth": "bearer"}, kind, nothing)
    assert chosen == [("auth", "bearer"), ("token", "not set"), ("header", "not set")]
    # What nobody chose is shown as the schema has it, and is no change.
    field = SettingsForm(kind=kind).fields["setting-auth"]
    assert isinstance(field, ChoiceField)
    assert field.initial == '"none"'
    # The stubs know groups of choices, too.
    assert dict(field.choices) == {'"none"': "none", '"bearer"': "bearer"}  # type: ignore[arg-type]


def test_settings_are_told_in_words_and_secrets_are_not() -> None:
    schema = {
        "properties": {
            "token": {"type": "string", "title": "Token", "description": "Of the harbour"},
            "strict": {"type": "boolean", "title": "Strict"},
            "watched": {"type": "array", "items": {"type": "string"}, "description": "Whom to watch."},
            "depth": {"type": "integer"},
        }
    }
    kind = Kind("x", "X", schema, frozenset({"token"}))
    words = [field.help_text for field in SettingsForm(kind=kind).setting_fields]
    assert words[0] == "Of the harbour. It is encrypted, and never shown again."
    assert words[2] == "Whom to watch. One a line."
    shown = {"watched": ["Ada", "Emmy"], "strict": False}
    assert dict(describe_facts(shown, kind, None)) == {
        "Token": "encrypted, never shown",
        "Strict": "no",
        "watched": "Ada, Emmy",
        "depth": "not set",
    }
    assert summarise_facts(shown, kind) == "Strict: no, watched: Ada, Emmy"


def test_a_server_that_offers_prompts_alone_is_no_problem_and_one_of_nothing_is(
    team: Team, shelf: str
) -> None:
    fill_shelf(shelf, prompts=["review"])
    made(team, shelf)
    create_server("prompts", "Prompts", "private", ["books"], caller=team.owner)
    create_server("none", "None", "private", [], caller=team.owner)
    assert check_connection("prompts", caller=team.owner).problems == ()
    assert "offers nothing" in check_connection("none", caller=team.owner).problems[0]


def test_what_servers_had_set_for_a_tool_that_goes_is_shown_before_it_ends(
    client: Client, team: Team, shelf: str
) -> None:
    source = made(team, shelf)
    server = list_servers(caller=team.owner)[0]
    serve_version(server.pk, "add", 1, "pin", caller=team.owner)
    fill_shelf(shelf, tools=["subtract"])
    url = f"/app/{team.slug}/data-sources/{source.pk}/refresh"
    shown = client.post(url)
    body = shown.content.decode()
    assert "The server default has version 1 pinned: that ends." in body
    assert [each.name for each in list_tools(caller=team.owner)] == ["add"]
    done = client.post(url, confirming(shown), follow=True).content.decode()
    assert "ended versions of add on default" in done
    assert [each.name for each in list_tools(caller=team.owner)] == ["subtract"]
