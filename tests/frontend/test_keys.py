"""The pages of keys: what a key can do now, where it may be used from, rolling it, and test keys."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client

from tenants.access import Caller, caller_for_key
from tenants.models import ApiKey
from tenants.roles import Role
from tenants.services.keys import get_key, issue_key, list_keys, roll_key
from tests.factories import Team
from tests.frontend.visitor import client_of

FIELDS = {"name": "laptop", "scopes": ["tools:read"], "expiry": "90"}


def issue(team: Team, *scopes: str, caller: Caller | None = None) -> ApiKey:
    return issue_key("laptop", list(scopes) or ["tools:read"], caller=caller or team.owner).row


def url_of(team: Team, key: ApiKey, part: str = "") -> str:
    return f"/app/{team.slug}/keys/{key.pk}/{part}"


def text_of(answer: Any) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def test_the_page_says_what_is_void_and_why(client: Client, team: Team) -> None:
    maker = team.member(Role.OWNER)
    key = issue(team, "audit:read", "tools:read", caller=maker)
    whole = issue(team, "admin", caller=maker)
    team.give_role(maker, Role.VIEWER)
    words = text_of(client.get(url_of(team, key)))
    assert "The key's maker is now a viewer, and a key may do no more than its maker." in words.replace(
        "&#x27;", "'"
    )
    assert re.search(r"audit:read .{0,80} void", words)
    assert not re.search(r"tools:read [^.]*\. void", words)
    assert "in part" in text_of(client.get(url_of(team, whole)))
    assert text_of(client.get(f"/app/{team.slug}/keys/")).count("reduced") == 2


def test_the_page_of_a_key_with_all_its_rights_has_no_such_notice(client: Client, team: Team) -> None:
    assert "no more than its maker" not in text_of(client.get(url_of(team, issue(team))))


def test_a_test_key_is_marked_in_the_list_on_its_page_and_in_the_log(client: Client, team: Team) -> None:
    answer = client.post(f"/app/{team.slug}/keys/new", {**FIELDS, "mode": "test"})
    assert re.search(r'id="new-key">mcp_test_\w+<', answer.content.decode())
    (key,) = list_keys(caller=team.owner)
    for page in (f"/app/{team.slug}/keys/", url_of(team, key)):
        assert re.search(r'badge-accent">test<', client.get(page).content.decode())


def test_a_list_without_the_persons_own_address_is_asked_about_once_more(client: Client, team: Team) -> None:
    given = {**FIELDS, "networks": "10.0.0.0/8\n2001:DB8::1"}
    asked = client.post(f"/app/{team.slug}/keys/new", given)
    assert asked.status_code == 400
    assert "Your own address, 127.0.0.1, is not among these" in text_of(asked)
    assert 'name="anyway"' in asked.content.decode()
    assert list_keys(caller=team.owner) == []
    assert client.post(f"/app/{team.slug}/keys/new", {**given, "anyway": "on"}).status_code == 200
    assert list_keys(caller=team.owner)[0].networks == ["10.0.0.0/8", "2001:db8::1"]


def test_a_list_with_the_persons_own_address_is_taken(client: Client, team: Team) -> None:
    given = {**FIELDS, "networks": "127.0.0.0/8, 10.0.0.0/8"}
    assert client.post(f"/app/{team.slug}/keys/new", given).status_code == 200
    assert list_keys(caller=team.owner)[0].networks == ["127.0.0.0/8", "10.0.0.0/8"]


def test_what_is_no_network_is_told_beside_the_field(client: Client, team: Team) -> None:
    key = issue(team)
    answer = client.post(url_of(team, key, "networks"), {"networks": "127.0.0.1\nhere\n10.1.2.3/8"})
    assert answer.status_code == 400
    words = text_of(answer)
    assert "Entry 2 is not an IP address" in words
    assert "Entry 3 has bits set beyond its network" in words
    assert get_key(key.pk, caller=team.owner).networks == []


def test_where_a_key_may_be_used_from_is_changed_on_its_page(client: Client, team: Team) -> None:
    key = issue(team)
    client.post(url_of(team, key, "networks"), {"networks": "127.0.0.1"})
    assert get_key(key.pk, caller=team.owner).networks == ["127.0.0.1"]
    assert re.search(r">\s*127\.0\.0\.1</textarea>", client.get(url_of(team, key)).content.decode())
    client.post(url_of(team, key, "networks"), {"networks": ""})
    assert get_key(key.pk, caller=team.owner).networks == []


def test_rolling_shows_the_new_key_once_and_links_both(client: Client, team: Team) -> None:
    key = issue(team)
    answer = client.post(url_of(team, key, "roll"), {"overlap": "1"})
    assert "no-store" in answer["Cache-Control"]
    found = re.search(r'id="new-key">(mcp_live_\w+)<', answer.content.decode())
    assert found is not None
    new = caller_for_key(found[1]).credential_id
    assert new is not None
    assert f"/keys/{new}/" in client.get(url_of(team, key)).content.decode()
    assert f"/keys/{key.pk}/" in client.get(f"/app/{team.slug}/keys/{new}/").content.decode()
    assert "rolled" in text_of(client.get(f"/app/{team.slug}/keys/"))
    again = client.post(url_of(team, key, "roll"), {"overlap": "0"})
    assert again.status_code == 400
    assert "This key was rolled already" in text_of(again)
    assert len(list_keys(caller=team.owner)) == 2


def test_an_admin_who_rolls_an_owners_key_is_told_why_not(team: Team) -> None:
    key = issue(team, "admin")
    answer = client_of(team, Role.ADMIN).post(url_of(team, key, "roll"), {"overlap": "24"})
    assert answer.status_code == 400
    assert "cannot do more than who issues it" in text_of(answer)


def test_who_may_only_read_keys_is_offered_no_change(team: Team) -> None:
    key = issue(team)
    auditor = client_of(team, Role.AUDITOR)
    body = auditor.get(url_of(team, key)).content.decode()
    assert "<form" not in body.partition("<main")[2]
    for part in ("roll", "networks"):
        assert auditor.post(url_of(team, key, part), {"overlap": "0"}).status_code == 403


def test_an_ended_key_is_offered_nothing_but_its_facts(client: Client, team: Team) -> None:
    key = issue(team)
    roll_key(key.pk, 0, caller=team.owner)
    words = text_of(client.get(url_of(team, key)))
    assert "Roll this key" not in words
    assert "Replaced by" in words
