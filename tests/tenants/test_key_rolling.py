"""Rolling a key, its mode, and the networks that it may be used from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.errors import Conflict, Forbidden, InvalidInput, Unauthenticated
from tenants.access import caller_for_key
from tenants.services.keys import get_key, issue_key, list_keys, restrict_key, revoke_key, roll_key
from tenants.services.log import search_records
from tenants.services.networks import all_within, clean_networks
from tests.factories import Team, make_team
from tests.rest import Rest


@pytest.fixture
def team() -> Team:
    return make_team()


def test_a_rolled_key_goes_on_for_the_overlap_beside_its_successor(team: Team) -> None:
    given: dict[str, Any] = {"mode": "test", "networks": ["10.0.0.0/8"]}
    old = issue_key("k", ["tools:read", "server:default"], 30, **given, caller=team.owner)
    new = roll_key(old.row.pk, 2, caller=team.owner)
    assert new.key != old.key
    for name in ("name", "scopes", "mode", "networks"):
        assert getattr(new.row, name) == getattr(old.row, name)
    assert caller_for_key(old.key).credential_id == old.row.pk
    assert caller_for_key(new.key).credential_id == new.row.pk
    row = get_key(old.row.pk, caller=team.owner)
    assert row.expires_at is not None
    assert timedelta(hours=1) < row.expires_at - timezone.now() <= timedelta(hours=2)
    assert new.row.expires_at is not None
    assert timedelta(days=29) < new.row.expires_at - timezone.now() <= timedelta(days=30)
    assert new.row.predecessor_id == row.pk
    assert row.successor.pk == new.row.pk


def test_an_overlap_makes_no_key_live_longer(team: Team) -> None:
    old = issue_key("k", ["tools:read"], 1, caller=team.owner).row
    roll_key(old.pk, 720, caller=team.owner)
    assert get_key(old.pk, caller=team.owner).expires_at == old.expires_at


def test_without_an_overlap_the_old_key_ends_at_once_and_says_that_it_was_replaced(team: Team) -> None:
    old = issue_key("k", ["tools:read"], caller=team.owner)
    roll_key(old.row.pk, 0, caller=team.owner)
    with pytest.raises(Unauthenticated, match="replaced by a newer one") as refused:
        caller_for_key(old.key)
    assert refused.value.code == "key_revoked"


def test_a_key_is_rolled_once_and_only_while_it_lives(team: Team) -> None:
    old, ended = (issue_key("k", ["tools:read"], caller=team.owner).row for _ in range(2))
    roll_key(old.pk, caller=team.owner)
    with pytest.raises(Conflict, match="rolled already"):
        roll_key(old.pk, caller=team.owner)
    revoke_key(ended.pk, caller=team.owner)
    with pytest.raises(Conflict, match="was revoked"):
        roll_key(ended.pk, caller=team.owner)


def test_the_log_links_both_keys_and_holds_neither(team: Team) -> None:
    old = issue_key("k", ["tools:read"], caller=team.owner)
    new = roll_key(old.row.pk, caller=team.owner)
    (record,) = search_records(kind="key.rolled", caller=team.owner).records
    assert record.arguments is not None
    assert record.arguments["after"]["old"]["id"] == str(old.row.pk)
    assert record.arguments["after"]["new"]["id"] == str(new.row.pk)
    assert record.arguments["after"]["new"]["predecessor"] == str(old.row.pk)
    assert old.key not in str(record)
    assert new.key not in str(record)


def test_rest_rolls_a_key(team: Team) -> None:
    rest = Rest.admin(team)
    path = f"/tenants/{team.slug}/api-keys"
    old = rest.post(path, {"name": "k", "scopes": ["tools:read"]}).body
    new = rest.post(f"{path}/{old['id']}/roll", {"overlap_hours": 1})
    assert (new.status, new.headers["Cache-Control"]) == (201, "no-store")
    assert new.body["predecessor"] == old["id"]
    shown = rest.get(f"{path}/{old['id']}").body
    assert (shown["successor"], shown["status"]) == (new.body["id"], "live")
    assert shown["replaced_at"] is not None
    assert rest.post(f"{path}/{old['id']}/roll").body["code"] == "key_replaced"
    assert rest.post(f"{path}/{new.body['id']}/roll", {"overlap_hours": 721}).paths == {"overlap_hours"}
    assert rest.post(f"{path}/{new.body['id']}/roll", {"overlap_hours": -1}).paths == {"overlap_hours"}


def test_another_teams_key_cannot_be_rolled(team: Team) -> None:
    foreign = issue_key("k", ["tools:read"], caller=make_team().owner).row
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/api-keys/{foreign.pk}/roll")
    assert (answer.status, answer.body["code"]) == (404, "key_not_found")


def test_a_test_key_shows_what_it_is_and_may_do_the_same(team: Team) -> None:
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["audit:read"], "mode": "test"}
    )
    key = answer.body["key"]
    assert key.startswith("mcp_test_")
    assert answer.body["mode"] == "test"
    assert Rest(key).get(f"/tenants/{team.slug}/audit/records").status == 200
    assert caller_for_key(key).actor == f"key:k ({answer.body['prefix']})"
    with pytest.raises(Unauthenticated):
        caller_for_key(key.replace("mcp_test_", "mcp_live_"))


def test_a_mode_that_is_none_is_refused(team: Team) -> None:
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/api-keys", {"name": "k", "scopes": ["tools:read"], "mode": "prod"}
    )
    assert (answer.status, answer.paths) == (400, {"mode"})


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7/32 ", "203.0.113.7"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_networks_have_one_form(given: str, stored: str) -> None:
    assert clean_networks([given, given], "networks") == [stored]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "1.2.3",
        "01.2.3.4",
        "fe80::1%eth0",
        "10.0.0.0/8 ,",
        7,
        None,
        "1" * 99,
    ],
)
def test_what_is_no_network_is_refused_at_its_place(given: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        clean_networks(["10.0.0.0/8", given], "networks")
    assert [fault["path"] for fault in refused.value.errors] == ["networks.1"]


def test_a_network_with_bits_beyond_it_is_told_in_both_ways_it_could_be_meant() -> None:
    with pytest.raises(InvalidInput, match=r"write 10\.0\.0\.0/8, or 10\.1\.2\.3 for one address"):
        clean_networks(["10.1.2.3/8"], "networks")


def test_networks_within_others_are_told_by_family() -> None:
    assert all_within(["10.1.0.0/16", "2001:db8::1"], ["10.0.0.0/8", "2001:db8::/32"])
    assert not all_within(["10.1.0.0/16", "11.0.0.0/8"], ["10.0.0.0/8"])
    assert not all_within(["10.0.0.0/7"], ["10.0.0.0/8"])
    assert not all_within(["10.0.0.1"], ["::/0"])


def test_a_key_of_some_addresses_makes_none_for_others(team: Team) -> None:
    confined = caller_for_key(issue_key("k", ["admin"], networks=["10.0.0.0/8"], caller=team.owner).key)
    assert confined.credential_id is not None
    made = issue_key("heir", ["tools:read"], caller=confined)
    assert made.row.networks == ["10.0.0.0/8"]
    free = issue_key("free", ["tools:read"], caller=team.owner).row
    for attempt in (
        lambda: issue_key("wide", ["tools:read"], networks=["0.0.0.0/0"], caller=confined),
        lambda: restrict_key(confined.credential_id, [], caller=confined),
        lambda: roll_key(free.pk, caller=confined),
    ):
        with pytest.raises(Forbidden) as refused:
            attempt()
        assert (refused.value.rule, refused.value.code) == ("key:networks", "networks_exceed_rights")
    assert restrict_key(confined.credential_id, ["10.1.0.0/16"], caller=confined).networks == ["10.1.0.0/16"]


def test_a_change_of_networks_is_recorded_with_before_and_after(team: Team) -> None:
    key = issue_key("k", ["tools:read"], caller=team.owner).row
    answer = Rest.admin(team).patch(f"/tenants/{team.slug}/api-keys/{key.pk}", {"networks": ["::1"]})
    assert (answer.status, answer.body["networks"]) == (200, ["::1"])
    (record,) = search_records(kind="key.changed", caller=team.owner).records
    assert record.arguments is not None
    states = record.arguments
    assert (states["before"]["networks"], states["after"]["networks"]) == ([], ["::1"])


def test_rest_judges_the_clients_address_and_records_the_refusal(team: Team) -> None:
    key = issue_key("k", ["admin"], networks=["203.0.113.0/24"], caller=team.owner)
    path = f"/tenants/{team.slug}/tools"
    refused = Rest(key.key).get(path)
    assert (refused.status, refused.body["code"]) == (403, "address_not_allowed")
    assert refused.body["data"]["rule"] == "key:networks"
    assert "127.0.0.1" in refused.body["detail"]
    assert "203.0.113" not in str(refused.body)
    (record,) = search_records(kind="auth", caller=team.owner).records
    assert (record.outcome, record.credential_id) == ("refused", key.row.pk)
    assert record.reason is not None
    assert record.reason["rule"] == "key:networks"
    # Nobody trusted said so.
    assert Rest(key.key).call("get", path, **{"X-Forwarded-For": "203.0.113.7"}).status == 403
    restrict_key(key.row.pk, ["127.0.0.0/8"], caller=team.owner)
    assert Rest(key.key).get(path).status == 200
    assert Rest(key.key).get("/tenants").status == 200


def test_lists_tell_all_of_a_key(team: Team) -> None:
    issue_key("k", ["tools:read"], networks=["::1"], mode="test", caller=team.owner)
    (listed,) = [
        row
        for row in Rest.admin(team).get(f"/tenants/{team.slug}/api-keys").body["results"]
        if row["name"] == "k"
    ]
    assert (listed["mode"], listed["networks"], listed["made_with"]) == ("test", ["::1"], None)
    assert len(list_keys(caller=team.owner)) == 2
