"""Streams as a team keeps them: bounds, secrets, records, roles, REST, and outsiders."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from django.conf import settings

from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from core.sealing import sealer
from tenants.access import Caller
from tenants.audit.records import decode
from tenants.models import AuditRecord, LogStream
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services import streams
from tenants.services.stream_settings import open_secrets
from tenants.services.streams import (
    change_stream,
    create_stream,
    delete_stream,
    get_stream,
    list_deliveries,
    list_streams,
    pause_stream,
    redeliver,
    resume_stream,
    roll_secret,
    send_test,
)
from tests.factories import Team, make_team
from tests.farside import far_side, reply
from tests.rest import Rest
from tests.tenants.streams.flows import make_owner, row_of

URL = "https://127.0.0.1:9/in"
UNKNOWN = "6f1c1d0e-0000-4000-8000-000000000000"


@pytest.fixture
def caller() -> Caller:
    return make_owner()


def webhook(caller: Caller, **given: Any) -> LogStream:
    return create_stream("webhook", {"name": "siem", "url": URL, **given}, caller=caller).standing.row


def log_of(caller: Caller) -> list[dict[str, Any]]:
    with tenant_scope(caller.tenant_id):
        rows = AuditRecord.objects.filter(kind__startswith="stream.").order_by("seq")
        return [decode(bytes(row.body)) for row in rows]


def test_every_change_is_recorded_with_before_and_after_and_without_secrets(caller: Caller) -> None:
    secrets = {"headers": {"Authorization": "Bearer topsecret"}, "url": f"{URL}?sig=topsecret"}
    made = create_stream("webhook", {"name": "siem", **secrets}, caller=caller)
    row = made.standing.row
    change_stream(row.pk, {"name": "other", "filters": {"kind": "tools/call"}}, caller=caller)
    change_stream(row.pk, {"name": "other", "url": f"{URL}?…"}, caller=caller)  # nothing is other than it was
    pause_stream(row.pk, caller=caller)
    pause_stream(row.pk, caller=caller)
    resume_stream(row.pk, caller=caller)
    change_stream(row.pk, {"url": f"{URL}?sig=othersecret", "headers": {"a": "othersecret"}}, caller=caller)
    rolled = roll_secret(row.pk, caller=caller)
    send_test(row.pk, caller=caller)
    delete_stream(row.pk, caller=caller)
    records = log_of(caller)
    assert [record["kind"].removeprefix("stream.") for record in records] == [
        *("created", "changed", "paused", "resumed", "changed", "changed", "tested", "deleted"),
    ]
    changed = records[1]["arguments"]
    assert (changed["before"]["name"], changed["after"]["name"]) == ("siem", "other")
    assert changed["after"]["filters"] == {"kind": "tools/call"}
    assert changed["before"]["url"] == f"{URL}?…"
    assert changed["before"]["headers"] == ["authorization"]
    other = records[4]["arguments"]["after"]
    assert (other["header_values"], other["url_query"]) == ("changed", "changed")
    for secret in ("topsecret", "othersecret", made.secret, rolled.secret):
        assert secret not in str(records)


def test_secrets_are_sealed_and_open_in_their_own_row_alone(caller: Caller) -> None:
    row = webhook(caller, headers={"x-key": "topsecret"}, url=f"{URL}?sig=topsecret")
    stored = row_of(caller, row.pk)
    assert "topsecret" not in str(stored.settings)
    sealed = bytes(stored.sealed or b"")
    assert sealed
    assert b"topsecret" not in sealed
    assert open_secrets(stored)["query"] == "?sig=topsecret"
    other = make_owner()
    copied = webhook(other)
    copied.sealed = stored.sealed
    with pytest.raises(Conflict, match="do not open"):
        open_secrets(copied)
    with tenant_scope(other.tenant_id):
        copied.save()
    tested = send_test(copied.pk, caller=other)
    assert (tested.taken, tested.size) == (False, 0)
    assert "do not open" in tested.words
    assert sealer().is_current(sealed)


def test_secrets_do_not_go_to_another_host_unless_they_are_given_again(caller: Caller) -> None:
    row = webhook(caller, headers={"x-key": "a"}, url=f"{URL}?sig=b")
    elsewhere = "https://127.0.0.2:9/in"
    for change in ({"url": elsewhere}, {"url": f"{elsewhere}?…", "headers": {"x-key": "c"}}):
        with pytest.raises(InvalidInput, match=r"again|with its query"):
            change_stream(row.pk, change, caller=caller)
    change_stream(row.pk, {"url": f"{URL}/deeper?…"}, caller=caller)
    assert open_secrets(row_of(caller, row.pk)) | {"keys": 0} == {
        "headers": {"x-key": "a"},
        "query": "?sig=b",
        "keys": 0,
    }
    change_stream(row.pk, {"url": f"{elsewhere}?sig=d", "headers": {"x-key": "c"}}, caller=caller)
    found = open_secrets(row_of(caller, row.pk))
    assert (found["query"], found["headers"]) == ("?sig=d", {"x-key": "c"})
    change_stream(row.pk, {"url": elsewhere, "headers": {}}, caller=caller)
    assert open_secrets(row_of(caller, row.pk)) | {"keys": 0} == {"headers": {}, "query": "", "keys": 0}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"url": ""}, "url"),
        ({"url": "ftp://127.0.0.1/"}, "url"),
        ({"url": "https://user@127.0.0.1/"}, "url"),
        ({"url": "https://127.0.0.1/#x"}, "url"),
        ({"url": "https://127.0.0.1/../x"}, "url"),
        ({"url": f"https://127.0.0.1/{'x' * 1000}"}, "url"),
        ({"url": f"{URL}?…"}, "url"),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"Webhook-Signature": "x"}}, "headers"),
        ({"headers": {"Content-Type": "x"}}, "headers"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers"),
        ({"headers": {"a b": "x"}}, "headers"),
        ({"headers": {"a": "x\r\ny: z"}}, "headers"),
        ({"headers": {"a": "x" * 2001}}, "headers"),
        ({"headers": {f"h{n}": "x" for n in range(11)}}, "headers"),
        ({"headers": [1]}, "headers"),
        ({"host": "127.0.0.1"}, "host"),
        ({"filters": {"colour": "red"}}, "filters.colour"),
        ({"filters": {"outcome": "unknown"}}, "filters.outcome"),
        ({"filters": {"outcome": "well"}}, "filters.outcome"),
        ({"filters": 3}, "filters"),
    ],
)
def test_what_is_not_sound_is_refused_where_it_stands(
    caller: Caller, given: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        webhook(caller, **given)
    assert [fault["path"] for fault in refused.value.errors] == [path]
    assert list_streams(caller=caller) == []


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": "https://127.0.0.1"}, "host"),
        ({"port": 0}, "port"),
        ({"port": "6514"}, "port"),
        ({"server_name": "a/b"}, "server_name"),
        ({"authorities": "not a certificate"}, "authorities"),
        ({"sd_id": "a b"}, "sd_id"),
        ({"sd_id": 'a"]'}, "sd_id"),
        ({"ends": "reset"}, "ends"),
        ({"url": URL}, "url"),
    ],
)
def test_what_is_not_sound_of_syslog_is_refused_where_it_stands(
    caller: Caller, given: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_stream("syslog", {"name": "siem", "host": "127.0.0.1", **given}, caller=caller)
    assert [fault["path"] for fault in refused.value.errors] == [path]


@pytest.mark.parametrize("begin", [0, -1, 2, 99, True, "1", None])
def test_a_stream_begins_with_a_record_that_there_is_or_the_next_one(caller: Caller, begin: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_stream("webhook", {"name": "siem", "url": URL}, begin=begin, caller=caller)
    assert [fault["path"] for fault in refused.value.errors] == ["begin"]


@pytest.mark.parametrize(
    ("kind", "given", "path"),
    [
        ("webhook", {"url": "https://127.0.0.1/in"}, "url"),
        ("otlp", {"url": "https://[::1]:4318"}, "url"),
        ("webhook", {"url": "https://169.254.169.254/latest"}, "url"),
        ("webhook", {"url": "https://localhost/in"}, "url"),
        ("syslog", {"host": "10.0.0.7"}, "host"),
    ],
)
def test_an_address_inside_is_refused_with_the_reason(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, kind: str, given: dict[str, Any], path: str
) -> None:
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=()))
    with pytest.raises(InvalidInput, match="does not connect to") as refused:
        create_stream(kind, {"name": "siem", **given}, caller=caller)
    assert [fault["path"] for fault in refused.value.errors] == [path]


def test_in_the_clear_only_networks_that_the_operator_named_are_reached(caller: Caller) -> None:
    with pytest.raises(InvalidInput, match="in the clear"):
        webhook(caller, url="http://8.8.8.8:9/in")
    assert webhook(caller, url="http://127.0.0.1:9/in").name == "siem"


def test_a_change_leads_inside_no_more_than_a_new_stream(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = webhook(caller)
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=()))
    with pytest.raises(InvalidInput, match="does not connect to"):
        change_stream(row.pk, {"url": "https://127.0.0.1:8/in"}, caller=caller)


def test_a_team_has_ten_streams_at_most_and_names_are_its_own(caller: Caller) -> None:
    webhook(caller)
    with pytest.raises(Conflict, match="of this name"):
        webhook(caller)
    for number in range(streams.MAX_STREAMS - 1):
        webhook(caller, name=str(number))
    with pytest.raises(Conflict, match="at most 10"):
        webhook(caller, name="eleventh")
    assert webhook(make_owner()).name == "siem"


def test_only_webhooks_are_signed_and_tests_are_not_delivered_again(caller: Caller) -> None:
    row = create_stream("otlp", {"name": "otel", "url": URL}, caller=caller).standing.row
    with pytest.raises(Conflict, match="Only webhooks"):
        roll_secret(row.pk, caller=caller)
    with pytest.raises(Conflict, match="was a test"):
        redeliver(row.pk, send_test(row.pk, caller=caller).pk, caller=caller)


@pytest.mark.parametrize("role", list(Role))
def test_owners_and_admins_change_streams_and_auditors_read_them(role: Role) -> None:
    owner = make_owner()
    row = webhook(owner)
    caller = dataclasses.replace(owner, role=role)
    reads, changes = role in {Role.OWNER, Role.ADMIN, Role.AUDITOR}, role in {Role.OWNER, Role.ADMIN}
    for allowed, act in (
        (reads, lambda: list_streams(caller=caller)),
        (reads, lambda: list_deliveries(row.pk, caller=caller)),
        (changes, lambda: pause_stream(row.pk, caller=caller)),
        (changes, lambda: change_stream(row.pk, {"name": "x"}, caller=caller)),
        (changes, lambda: send_test(row.pk, caller=caller)),
        (changes, lambda: webhook(caller, name="another")),
        (changes, lambda: delete_stream(row.pk, caller=caller)),
    ):
        if allowed:
            act()
        else:
            with pytest.raises(Forbidden):
                act()


def test_another_teams_stream_is_an_unknown_one(caller: Caller) -> None:
    row = webhook(caller)
    delivery = send_test(row.pk, caller=caller)
    outsider = make_owner()
    own = webhook(outsider)
    for act in (
        lambda: get_stream(row.pk, caller=outsider),
        lambda: change_stream(row.pk, {"name": "mine"}, caller=outsider),
        lambda: pause_stream(row.pk, caller=outsider),
        lambda: resume_stream(row.pk, caller=outsider),
        lambda: roll_secret(row.pk, caller=outsider),
        lambda: send_test(row.pk, caller=outsider),
        lambda: list_deliveries(row.pk, caller=outsider),
        lambda: redeliver(own.pk, delivery.pk, caller=outsider),
        lambda: delete_stream(row.pk, caller=outsider),
    ):
        with pytest.raises(NotFound):
            act()
    assert [each.row.pk for each in list_streams(caller=outsider)] == [own.pk]


@pytest.fixture
def team() -> Team:
    return make_team()


def test_rest_makes_reads_changes_and_deletes_streams(team: Team) -> None:
    rest, base = Rest.admin(team), f"/tenants/{team.slug}/audit/streams"
    with far_side() as far:
        given = {"name": "siem", "kind": "webhook", "url": far.serve("/in", reply()), "begin": 1}
        made = rest.post(base, {**given, "headers": {"X-Key": "topsecret"}})
        assert made.status == 201
        assert made.headers["Cache-Control"] == "no-store"
        assert made.body["secret"].startswith("whsec_")
        assert made.body["settings"] == {"url": given["url"], "headers": ["x-key"]}
        one = f"{base}/{made.body['id']}"
        seen = rest.get(one)
        assert (seen.status, seen.body["state"], seen.body["cursor"]) == (200, "healthy", 0)
        assert "secret" not in seen.body
        assert "topsecret" not in str(seen.body)
        assert [each["id"] for each in rest.get(base).body["results"]] == [made.body["id"]]
        assert rest.patch(one, {"name": "other"}).body["name"] == "other"
        assert rest.post(f"{one}/pause").body["state"] == "paused"
        assert rest.post(f"{one}/resume").body["state"] == "healthy"
        tested = rest.post(f"{one}/test")
        assert (tested.status, tested.body["taken"], tested.body["cause"]) == (200, True, "test")
        rolled = rest.post(f"{one}/roll", {"overlap_hours": 1})
        assert rolled.status == 201
        assert rolled.body["secret"] not in {"", made.body["secret"]}
        rest.post(f"{one}/test")
        page = rest.get(f"{one}/deliveries?limit=1")
        assert [each["number"] for each in page.body["results"]] == [2]
        assert page.body["next"].endswith(f"{one}/deliveries?limit=1&before=2")
        refused = rest.post(f"{one}/deliveries/{page.body['results'][0]['id']}/redeliver")
        assert (refused.status, refused.body["code"]) == (409, "was_a_test")
    assert rest.delete(one).status == 204
    assert rest.get(one).status == 404


def test_rest_says_what_is_wrong_where_it_stands(team: Team) -> None:
    rest, base = Rest.admin(team), f"/tenants/{team.slug}/audit/streams"
    assert rest.post(base, {"name": "x", "kind": "pigeon"}).paths == {"kind"}
    wrong = rest.post(base, {"name": "x", "kind": "webhook", "url": "ftp://x", "headers": {"host": "a"}})
    assert wrong.paths == {"url", "headers"}
    assert rest.post(base, {"name": "x", "kind": "webhook", "url": URL, "colour": "red"}).paths == {"colour"}
    made = rest.post(base, {"name": "x", "kind": "otlp", "url": URL}).body
    assert made["secret"] == ""
    assert rest.patch(f"{base}/{made['id']}", {"kind": "webhook"}).paths == {"kind"}
    assert rest.post(f"{base}/{made['id']}/pause", {"a": 1}).status == 400
    assert rest.get(f"{base}/{UNKNOWN}").status == 404


def test_rest_an_auditors_key_reads_and_an_outsider_finds_nothing(team: Team) -> None:
    base = f"/tenants/{team.slug}/audit/streams"
    made = Rest.admin(team).post(base, {"name": "x", "kind": "webhook", "url": URL}).body
    auditor = Rest(team.key("audit:read"))
    assert auditor.get(f"{base}/{made['id']}").status == 200
    assert auditor.get(f"{base}/{made['id']}/deliveries").status == 200
    for path in ("pause", "test", "roll"):
        assert auditor.post(f"{base}/{made['id']}/{path}").status == 403
    outsider = make_team()
    own = f"/tenants/{outsider.slug}/audit/streams/{made['id']}"
    for path in ("", "/deliveries"):
        assert Rest.admin(outsider).get(own + path).status == 404
    assert Rest.admin(outsider).get(f"{base}/{made['id']}").status == 401
