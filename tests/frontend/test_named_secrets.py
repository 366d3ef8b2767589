"""Secrets in the dashboard: named, chosen in the settings of a data source, replaced; no page shows a value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client

from config.envparts import SecretPlaces
from servers.services.named_secrets import create_secret, list_secrets
from servers.services.sources import create_source, execution_source, list_sources
from tenants.roles import Role
from tests.factories import Team, make_database
from tests.farside import FarSide, far_side, reply
from tests.frontend.visitor import client_of

VALUE, OTHER = "value-of-the-secret", "other-value-of-the-secret"


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        side.serve("/", reply(b"ok"))
        yield side


def url(team: Team, rest: str = "") -> str:
    return f"/app/{team.slug}/secrets/{rest}"


def text(response: Any) -> str:
    content: bytes = response.content
    return content.decode()


def name_one(team: Team, client: Client, name: str = "stripe-key", value: str = VALUE, **more: str) -> str:
    given = {"name": name, "origin": '"stored"', "value": value, **more}
    return text(client.post(url(team, "new"), given, follow=True))


def fields(api: FarSide, **more: str) -> dict[str, str]:
    return {
        "kind": "http",
        "name": "shop",
        "setting-base_url": api.origin,
        "setting-auth": '"bearer"',
        "named-token": "stripe-key",
        **more,
    }


def test_a_secret_is_named_chosen_in_a_data_source_and_replaced(
    team: Team, client: Client, api: FarSide
) -> None:
    assert "No secret yet" in text(client.get(url(team)))
    made = name_one(team, client)
    assert "stripe-key is kept" in made
    [row] = list_secrets(caller=team.owner)
    form = text(client.get(f"/app/{team.slug}/data-sources/new?kind=http"))
    assert form.count('<option value="stripe-key">') == 3
    source = text(client.post(f"/app/{team.slug}/data-sources/new", fields(api), follow=True))
    assert "the secret stripe-key" in source
    assert '<option value="stripe-key" selected>' in source
    [stored] = list_sources(caller=team.owner)
    assert execution_source(stored).settings["token"] == VALUE
    listed = text(client.get(url(team)))
    used = text(client.get(url(team, f"{row.pk}/")))
    assert f"/data-sources/{stored.pk}/" in listed
    assert f"/data-sources/{stored.pk}/" in used
    again = client.post(url(team, f"{row.pk}/"), {"origin": '"stored"', "value": OTHER}, follow=True)
    assert "Every process opens shop anew" in text(again)
    [stored] = list_sources(caller=team.owner)
    assert execution_source(stored).settings["token"] == OTHER
    refused = client.post(url(team, f"{row.pk}/delete"), {"typed_name": "stripe-key"}, follow=True)
    for shown in (made, source, listed, used, text(again), text(refused), form):
        assert VALUE not in shown
        assert OTHER not in shown


def test_other_settings_change_without_the_secret_being_entered_again(
    team: Team, client: Client, api: FarSide
) -> None:
    create_secret("stripe-key", value=VALUE, caller=team.owner)
    client.post(f"/app/{team.slug}/data-sources/new", fields(api))
    [row] = list_sources(caller=team.owner)
    page = f"/app/{team.slug}/data-sources/{row.pk}/"
    changed = client.post(page, fields(api, **{"setting-timeout": "7"}), follow=True)
    assert "shop answers." in text(changed)
    [row] = list_sources(caller=team.owner)
    assert row.settings["timeout"] == 7
    assert execution_source(row).settings["token"] == VALUE
    both = client.post(page, fields(api, **{"setting-token": OTHER}))
    assert (both.status_code, "A value was entered as well" in text(both)) == (400, True)
    bare = fields(api, **{"named-token": "", "setting-token": OTHER})
    client.post(page, bare)
    [row] = list_sources(caller=team.owner)
    assert execution_source(row).settings["token"] == OTHER
    assert row.settings.get("token") is None


def test_a_database_is_connected_by_a_named_connection_string(team: Team, client: Client) -> None:
    dsn = make_database("CREATE TABLE airport (iata text)")
    create_secret("warehouse", value=dsn, caller=team.owner)
    base = f"/app/{team.slug}/data-sources"
    limits = {"row_limit": "1000", "statement_timeout": "10"}
    neither = client.post(f"{base}/new", {"kind": "postgres", "name": "air", "dsn": "", **limits})
    assert "Enter it, or choose a named secret below" in text(neither)
    given = {"kind": "postgres", "name": "air", "dsn": "", "dsn_secret": "warehouse", **limits}
    made = text(client.post(f"{base}/new", given, follow=True))
    assert "air answers." in made or "air is degraded" in made
    [row] = list_sources(caller=team.owner)
    changed = client.post(f"{base}/{row.pk}/", {**given, "row_limit": "5"}, follow=True)
    [row] = list_sources(caller=team.owner)
    assert (row.settings["row_limit"], row.settings["dsn"]) == (5, {"secret": "warehouse"})
    assert 'the secret <span class="mono">warehouse</span>' in text(changed)
    assert (urlsplit(dsn).password or "?") not in made + text(changed)


def test_secrets_that_matter_only_for_another_way_of_signing_in_are_not_told_of(
    team: Team, client: Client, api: FarSide
) -> None:
    create_source("open", "http", {"base_url": api.origin}, caller=team.owner)
    create_source(
        "shut", "http", {"base_url": api.origin, "auth": "bearer", "token": VALUE}, caller=team.owner
    )
    shown = {}
    for row in list_sources(caller=team.owner):
        page = client.get(f"/app/{team.slug}/data-sources/{row.pk}/")
        shown[row.name] = dict(page.context["facts"])
    secrets = ("Token or API key", "Password", "Client secret")
    assert not {*secrets} & shown["open"].keys()
    assert shown["shut"]["Token or API key"] == "encrypted, never shown"
    assert not {*secrets[1:]} & shown["shut"].keys()


def test_who_may_not_change_secrets_sees_where_they_are_used_and_gets_no_choice(
    team: Team, client: Client, api: FarSide
) -> None:
    row = create_secret("stripe-key", value=VALUE, caller=team.owner)
    client.post(f"/app/{team.slug}/data-sources/new", fields(api))
    editor = client_of(team, Role.EDITOR)
    page = text(editor.get(url(team, f"{row.pk}/")))
    assert "shop" in page
    assert "Replace" not in page
    assert "named-token" not in text(editor.get(f"/app/{team.slug}/data-sources/new?kind=http"))
    sent = fields(api, name="mine")
    assert editor.post(f"/app/{team.slug}/data-sources/new", sent).status_code == 400
    for path in ("new", f"{row.pk}/", f"{row.pk}/read", f"{row.pk}/delete"):
        assert editor.post(url(team, path), {"value": OTHER, "origin": '"stored"'}).status_code == 403
    assert client_of(team, Role.VIEWER).get(url(team)).status_code == 403


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "a.b"}, "Must be 1 to 64 lower-case letters"),
        ({"value": ""}, "Is empty"),
        ({"value": "x" * 70_000}, "at most 65536"),
        ({"origin": '"vault"'}, "Select a valid choice"),
        ({"origin": "nonsense"}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    team: Team, client: Client, given: dict[str, str], words: str
) -> None:
    sent = {"name": "stripe-key", "origin": '"stored"', "value": VALUE, **given}
    answer = client.post(url(team, "new"), sent)
    assert (answer.status_code, words in text(answer)) == (400, True), text(answer)


def test_a_secret_of_a_file_says_where_it_lies_and_is_read_again(
    team: Team, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = SecretPlaces(folder=tmp_path, prefix="TEAM_")
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, secrets=places))
    form = text(client.get(url(team, "new")))
    assert f"{team.slug}/&lt;name&gt; in MARINA_SECRETS_DIR" in form
    assert 'value="&quot;environment&quot;"' in form
    missing = name_one(team, client, origin='"file"')
    assert f"There is no file {team.slug}/stripe-key" in missing
    (tmp_path / team.slug).mkdir()
    file = tmp_path / team.slug / "stripe-key"
    file.write_text(VALUE)
    assert "is kept" in name_one(team, client, origin='"file"')
    [row] = list_secrets(caller=team.owner)
    assert "stripe-key is read." in text(client.post(url(team, f"{row.pk}/read"), follow=True))
    file.unlink()
    gone = text(client.post(url(team, f"{row.pk}/read"), follow=True))
    assert "stripe-key is unavailable. There is no file" in gone
    assert "none now" in gone
    assert json.dumps(VALUE) not in gone
