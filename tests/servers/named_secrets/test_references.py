"""Secrets by name: sealed, never shown, and put into data sources by reference."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError

from core.sealing import sealer
from servers.models import DataSource, Secret, SecretUse
from servers.services.named_secrets import MAX_SECRETS
from servers.services.secret_places import MAX_VALUE_BYTES
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of, make_database, make_team
from tests.farside import FarSide
from tests.plugins.live_marina import LiveMarina
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint
from tests.rest import Rest
from tests.servers.named_secrets.desk import (
    OTHER,
    VALUE,
    connect,
    connected,
    log_of,
    made,
    make,
    secrets_url,
    stored,
    value_of,
    who,
)


def test_a_secret_is_sealed_in_its_row_and_shown_nowhere(team: Team, rest: Rest) -> None:
    body = made(team, rest)
    assert (body["name"], body["origin"], body["state"], body["version"]) == (
        "stripe-key",
        "stored",
        "ready",
        1,
    )
    row = stored(team)
    assert VALUE.encode() not in bytes(row.sealed or b"")
    assert value_of(team) == VALUE
    seen = [
        rest.get(secrets_url(team)).body,
        rest.get(secrets_url(team, body["id"])).body,
        body,
        log_of(team),
    ]
    assert VALUE not in str(seen)
    assert "secret.created" in str(rest.get(f"/tenants/{team.slug}/audit/records").body)


def test_a_data_source_has_a_secret_by_reference_and_keeps_no_copy(
    team: Team, rest: Rest, api: FarSide
) -> None:
    made(team, rest)
    source = connected(team, rest, api)
    assert source["settings"]["token"] == {"secret": "stripe-key"}
    assert "first" in who(team, rest)
    with tenant_scope(team.tenant_id):
        row = DataSource.objects.get()
        assert VALUE not in sealer().open(bytes(row.sealed), context=row.seal_context).decode()
    [use] = rest.get(secrets_url(team)).body["results"][0]["uses"]
    assert use == {"data_source": "shop", "data_source_id": source["id"], "setting": "token"}
    assert VALUE not in str(source) + log_of(team)


def test_replacing_a_secret_opens_its_sources_anew_on_every_process(
    team: Team, rest: Rest, api: FarSide, live_marina: LiveMarina
) -> None:
    secret = made(team, rest)
    connected(team, rest, api)
    door = Endpoint(live_marina.port, f"/mcp/{team.slug}", team.key())

    def said() -> str:
        call = door.modern("tools/call", {"name": "api_get", "arguments": {"endpoint": "/who"}})
        return call.body.decode()

    assert "first" in said()
    assert rest.patch(secrets_url(team, secret["id"]), {"value": OTHER}).body["version"] == 2
    wait_for(lambda: "second" in said(), seconds=30)
    assert "second" in who(team, rest)
    log = log_of(team)
    assert VALUE not in log
    assert OTHER not in log
    assert "secret.replaced" in str(rest.get(f"/tenants/{team.slug}/audit/records").body)


def test_a_used_secret_is_not_deleted_and_its_users_are_named(team: Team, rest: Rest, api: FarSide) -> None:
    secret = made(team, rest)
    source = connected(team, rest, api)
    refused = rest.delete(secrets_url(team, secret["id"]))
    assert (refused.status, refused.body["code"]) == (409, "secret_in_use")
    assert refused.body["data"]["data_sources"] == ["shop"]
    assert rest.delete(f"/tenants/{team.slug}/data-sources/{source['id']}").status == 204
    assert rest.delete(secrets_url(team, secret["id"])).status == 204
    assert rest.get(secrets_url(team, secret["id"])).status == 404


def test_a_source_gives_a_secret_back(team: Team, rest: Rest, api: FarSide) -> None:
    secret = made(team, rest)
    source = connected(team, rest, api)
    url = f"/tenants/{team.slug}/data-sources/{source['id']}"
    lost = rest.patch(url, {"settings": {"base_url": api.origin, "timeout": 5}})
    assert (lost.status, lost.paths) == (400, {"settings.token"})
    kept = {"base_url": api.origin, "auth": "bearer", "timeout": 5, "token": {"secret": "stripe-key"}}
    assert rest.patch(url, {"settings": kept}).body["settings"]["token"] == {"secret": "stripe-key"}
    assert rest.patch(url, {"name": "store"}).status == 200
    assert rest.get(secrets_url(team, secret["id"])).body["uses"][0]["data_source"] == "store"
    changed = rest.patch(url, {"settings": {**kept, "token": OTHER}})
    assert "token" not in changed.body["settings"]
    assert rest.get(secrets_url(team, secret["id"])).body["uses"] == []
    assert "second" in who(team, rest)


def test_a_value_that_a_source_does_not_take_changes_nothing(team: Team, rest: Rest, api: FarSide) -> None:
    secret = made(team, rest)
    connected(team, rest, api)
    refused = rest.patch(secrets_url(team, secret["id"]), {"value": "two words of poetry"})
    assert (refused.status, refused.paths) == (400, {"value"})
    assert "shop does not take it" in refused.body["detail"]
    assert "poetry" not in str(refused.body)
    assert (value_of(team), stored(team).version) == (VALUE, 1)
    assert "first" in who(team, rest)


def test_a_connection_string_is_a_secret_too_and_what_may_be_shown_of_it_follows(
    team: Team, rest: Rest
) -> None:
    first, second = make_database("SELECT 1"), make_database("SELECT 1")
    secret = made(team, rest, "warehouse", value=first)
    body = {"name": "warehouse", "kind": "postgres", "settings": {"dsn": {"secret": "warehouse"}}}
    source = rest.post(f"/tenants/{team.slug}/data-sources", body).body
    url = f"/tenants/{team.slug}/data-sources/{source['id']}"
    assert rest.post(f"{url}/test").body["state"] in {"healthy", "degraded"}
    assert rest.patch(secrets_url(team, secret["id"]), {"value": second}).status == 200
    now = rest.get(url).body
    assert now["settings"]["database"] == second.rpartition("/")[2]
    assert (now["settings"]["dsn"], now["version"]) == ({"secret": "warehouse"}, 2)
    assert rest.post(f"{url}/test").body["state"] in {"healthy", "degraded"}
    spaced = rest.patch(secrets_url(team, secret["id"]), {"value": f" {first}\n"})
    assert (spaced.status, "white space" in spaced.body["detail"]) == (400, True)
    assert first.rpartition(":")[2].partition("@")[0] not in str(rest.get(url).body) + log_of(team)


def test_who_may_not_change_secrets_cannot_have_one_sent_anywhere(
    team: Team, rest: Rest, api: FarSide
) -> None:
    secret = made(team, rest)
    source = connected(team, rest, api)
    editor = Rest(email=email_of(team.member(Role.EDITOR)))
    assert [each["name"] for each in editor.get(secrets_url(team)).body["results"]] == ["stripe-key"]
    url = f"/tenants/{team.slug}/data-sources"
    sent = {"base_url": api.origin, "auth": "bearer", "token": {"secret": "stripe-key"}}
    for refused in (
        connect(team, editor, api, {"secret": "stripe-key"}, "mine"),
        editor.post(f"{url}/test", {"kind": "http", "settings": sent}),
        editor.patch(f"{url}/{source['id']}", {"settings": sent}),
        make(team, editor, "own"),
        editor.patch(secrets_url(team, secret["id"]), {"value": OTHER}),
        editor.post(secrets_url(team, secret["id"], "read")),
        editor.delete(secrets_url(team, secret["id"])),
    ):
        assert (refused.status, refused.body["data"]["rule"]) == (403, "role:secrets.change")
    assert not [asked for asked in api.asked if asked.path != "/who"]
    assert editor.patch(f"{url}/{source['id']}", {"name": "store"}).status == 200
    for role in (Role.VIEWER, Role.AUDITOR):
        assert Rest(email=email_of(team.member(role))).get(secrets_url(team)).status == 403


def test_a_secret_of_another_team_is_as_unknown_as_none(team: Team, rest: Rest, api: FarSide) -> None:
    other = make_team()
    theirs = made(other, Rest.admin(other), value=OTHER)
    for secret in (theirs["id"], str(uuid4())):
        for answer in (
            rest.get(secrets_url(team, secret)),
            rest.patch(secrets_url(team, secret), {"value": VALUE}),
            rest.post(secrets_url(team, secret, "read")),
            rest.delete(secrets_url(team, secret)),
        ):
            assert (answer.status, answer.body["code"]) == (404, "secret_not_found")
        assert Rest.admin(team).get(secrets_url(other, secret)).status in {401, 404}
    refused = connect(team, rest, api, {"secret": "stripe-key"})
    assert (refused.status, refused.paths) == (400, {"settings.token"})
    assert refused.body == {**connect(team, rest, api, {"secret": "stripe-kez"}).body, **_same(refused.body)}
    row, use = stored(other), None
    connected(team, rest, api, VALUE)
    with pytest.raises(IntegrityError, match="same_tenant"), tenant_scope(team.tenant_id):
        use = SecretUse.objects.create(source=DataSource.objects.get(), setting="token", secret_id=row.pk)
    assert use is not None


def _same(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("request_id", "instance") if name in body}


@pytest.mark.parametrize(
    "token",
    [
        {"secret": "not-there"},
        {"secret": ""},
        {"secret": None},
        {"secret": ["stripe-key"]},
        {"secret": {"secret": "stripe-key"}},
        {"secret": "stripe-key", "more": 1},
        {"value": VALUE},
        {},
        {"secret": "../stripe-key"},
        {"secret": "stripe.key"},
        {"secret": "Stripe-Key"},
        {"secret": "stripe\u2010key"},
        {"secret": "\u017ftripe-key"},
        {"secret": "x" * 10_000},
        {"secret": "stripe--key"},
        ["stripe-key"],
        7,
    ],
)
def test_what_names_no_secret_is_refused_at_its_place(
    team: Team, rest: Rest, api: FarSide, token: Any
) -> None:
    made(team, rest)
    refused = connect(team, rest, api, token)
    assert (refused.status, refused.paths) == (400, {"settings.token"}), refused.body
    assert len(str(refused.body)) < 1_000
    assert api.asked == []


def test_a_setting_that_is_no_secret_takes_no_reference(team: Team, rest: Rest, api: FarSide) -> None:
    made(team, rest, value=api.origin)
    sent = {"base_url": {"secret": "stripe-key"}}
    body = {"name": "shop", "kind": "http", "settings": sent}
    assert rest.post(f"/tenants/{team.slug}/data-sources", body).paths == {"settings.base_url"}
    headers = {"base_url": api.origin, "headers": {"secret": "stripe-key"}}
    plain = rest.post(f"/tenants/{team.slug}/data-sources", {**body, "settings": headers})
    assert plain.paths == {"settings.headers.secret"}
    assert rest.get(secrets_url(team)).body["results"][0]["uses"] == []


def test_a_value_is_a_value_and_names_no_other_secret(team: Team, rest: Rest, api: FarSide) -> None:
    made(team, rest, "one", value='{"secret":"two"}')
    made(team, rest, "two", value='{"secret":"one"}')
    connected(team, rest, api, {"secret": "one"})
    who(team, rest)
    assert api.asked[-1].headers["authorization"] == 'Bearer {"secret":"two"}'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "blank"),
        ("   ", "is empty"),
        ("x" * (MAX_VALUE_BYTES + 1), str(MAX_VALUE_BYTES)),
        ("x" * 1_000_000, str(MAX_VALUE_BYTES)),
        (None, ""),
        ({"secret": "other"}, ""),
        (7.5, None),
    ],
)
def test_a_value_that_is_none_is_refused_without_being_shown(
    team: Team, rest: Rest, value: Any, words: str | None
) -> None:
    answer = make(team, rest, value=value)
    if words is None:  # a number is read as its text
        assert answer.status in {201, 400}
        return
    assert (answer.status, answer.paths) == (400, {"value"}), answer.body
    assert words in str(answer.body)
    assert "xxxxx" not in str(answer.body)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a.b",
        "a/b",
        "../a",
        "A",
        "a_b",
        "-a",
        "a-",
        "a--b",
        "ä",
        "\u0430",
        "a b",
        "a" * 65,
        "a\u202eb",
        "a\u200d",
    ],
)
def test_a_name_that_would_be_another_somewhere_is_refused(team: Team, rest: Rest, name: str) -> None:
    answer = make(team, rest, name)
    assert (answer.status, answer.paths) == (400, {"name"}), answer.body


def test_a_name_is_taken_once_and_a_team_has_so_many(team: Team, rest: Rest) -> None:
    made(team, rest, "a" * 64)
    assert make(team, rest, "a" * 64).body["code"] == "name_taken"
    with tenant_scope(team.tenant_id):
        Secret.objects.bulk_create(
            Secret(tenant_id=team.tenant_id, name=f"s{n}", origin="stored", sealed=b"x")
            for n in range(MAX_SECRETS - 1)
        )
    assert make(team, rest, "one-more").body["code"] == "too_many"


def test_places_that_the_operator_did_not_set_up_are_not_offered(team: Team, rest: Rest) -> None:
    for origin in ("environment", "file", "vault"):
        refused = make(team, rest, origin=origin)
        assert (refused.status, refused.paths) == (400, {"origin"})
        assert "Choose one of: stored" in refused.body["detail"]
