"""The auditors' pages: their start, records with hidden data, revealing, confirming, and who sees what."""

from __future__ import annotations

import pytest
from django.test import Client

from tenants.audit.append import append_entry
from tenants.audit.records import Entry
from tenants.models import Membership, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services import looks
from tenants.services.exports import list_exports
from tenants.services.log import search_records
from tenants.services.members import get_own_membership
from tenants.services.originals import open_marks
from tenants.services.teams import get_tenant
from tests.factories import Team, email_of, make_team
from tests.frontend.visitor import client_of, signed_in

ORIGINAL = {"city": "Frankfurt", "token": "s3cret-of-theirs"}


@pytest.fixture
def seq(team: Team) -> int:
    """The number of a call's record."""
    with tenant_scope(team.tenant_id):
        marks = open_marks()
        assert marks is not None
        entry = Entry(
            "tools/call",
            "ok",
            "key:a",
            tool="airport",
            arguments={"city": "Frankfurt", "token": "[masked]"},
            hmac=marks.of(ORIGINAL),
            preview="FRA, Frankfurt am Main",
        )
        return append_entry(entry, tenant_id=team.tenant_id)


@pytest.fixture
def auditor(team: Team) -> Client:
    return client_of(team, Role.AUDITOR)


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer
    return " ".join(answer.content.decode().split())


def count_of(team: Team, kind: str) -> int:
    return len(search_records(caller=team.owner, kind=kind).records)


def test_an_auditor_is_told_what_they_see_and_how_to_verify(team: Team, auditor: Client, seq: int) -> None:
    page = text_of(auditor, f"/app/{team.slug}/audit/")
    assert "Your access" in page
    assert "no end is set" in page
    assert "What calls were given and gave you see where you give a reason" in page
    assert f"--checkpoints {team.slug}.notes --keys keys.json --metadata" in page
    assert "Results in the log" not in page
    assert f"?kind={looks.OPENED}" in page


def test_an_owner_sets_how_much_of_results_is_kept(team: Team, client: Client, auditor: Client) -> None:
    page = text_of(client, f"/app/{team.slug}/audit/")
    assert "Your access" not in page
    assert "the first 500 characters of each, secrets masked" in page
    assert client.post(f"/app/{team.slug}/audit/keeping", {"preview_characters": "0"}).status_code == 302
    assert get_tenant(caller=team.owner).preview_characters == 0
    assert "are not kept" in text_of(client, f"/app/{team.slug}/audit/")
    client.post(f"/app/{team.slug}/audit/keeping", {"preview_characters": "1"})
    page = text_of(client, f"/app/{team.slug}/audit/")
    assert "From now on the log keeps the first 1 character of each result." in page
    assert "the first 1 character of each, secrets masked" in page
    wrong = client.post(f"/app/{team.slug}/audit/keeping", {"preview_characters": "2001"})
    assert wrong.status_code == 400
    refused = auditor.post(f"/app/{team.slug}/audit/keeping", {"preview_characters": "9"})
    assert refused.status_code == 403


def test_data_is_hidden_until_it_is_revealed(team: Team, auditor: Client, client: Client, seq: int) -> None:
    path = f"/app/{team.slug}/log/{seq}"
    page = text_of(auditor, path)
    assert "Arguments and result are hidden" in page
    assert "Frankfurt" not in page
    assert "<dt>Mark</dt>" not in page
    assert auditor.post(f"{path}/reveal", {"reason": ""}).status_code == 400
    assert count_of(team, "record.revealed") == 0
    shown = auditor.post(f"{path}/reveal", {"reason": "Complaint 17"})
    assert shown.status_code == 200
    assert "FRA, Frankfurt am Main" in shown.content.decode()
    assert "Revealed to you" in shown.content.decode()
    assert "<dt>Mark</dt>" in shown.content.decode()
    assert count_of(team, "record.revealed") == 1
    assert "Frankfurt" not in text_of(auditor, path)
    whole = text_of(client, path)
    assert "FRA, Frankfurt am Main" in whole
    assert "are hidden" not in whole
    assert client.post(f"{path}/reveal", {"reason": "why"}).status_code == 200
    assert count_of(team, "record.revealed") == 1, "nothing was hidden"


def test_a_part_for_the_drawer_is_revealed_in_the_drawer(team: Team, auditor: Client, seq: int) -> None:
    path = f"/app/{team.slug}/log/{seq}/reveal"
    part = auditor.post(path, {"reason": ""}, headers={"HX-Request": "true"})
    assert (part.status_code, "This field is required" in part.content.decode()) == (200, True)
    part = auditor.post(path, {"reason": "why"}, headers={"HX-Request": "true"})
    assert "FRA, Frankfurt am Main" in part.content.decode()
    assert "<html" not in part.content.decode()


def test_an_original_is_confirmed_on_the_records_page(team: Team, auditor: Client, seq: int) -> None:
    path = f"/app/{team.slug}/log/{seq}/confirm"
    said = auditor.post(path, {"arguments": '{"token": "s3cret-of-theirs", "city": "Frankfurt"}'})
    assert "These are the arguments that the call was given." in said.content.decode()
    said = auditor.post(path, {"arguments": '{"city": "Frankfurt"}'})
    assert "The call was given other arguments." in said.content.decode()
    assert auditor.post(path, {"arguments": "[1]"}).status_code == 400
    assert count_of(team, "record.confirmed") == 2
    assert client_of(make_team()).post(path, {"arguments": "{}"}).status_code == 404


def test_the_hint_of_new_records_is_no_look_unless_it_asks_for_something_else(
    team: Team, auditor: Client, seq: int
) -> None:
    auditor.get(f"/app/{team.slug}/log/?tool=airport")
    assert count_of(team, looks.SEARCHED) == 1
    auditor.get(f"/app/{team.slug}/log/news?tool=airport&after=1")
    assert count_of(team, looks.SEARCHED) == 1
    auditor.get(f"/app/{team.slug}/log/news?tool=other&after=1")
    assert count_of(team, looks.SEARCHED) == 2


def test_an_admin_shows_data_and_hides_it_on_the_members_page(team: Team, client: Client) -> None:
    member = team.member(Role.AUDITOR)
    pk = get_own_membership(caller=member).pk
    assert "sees no arguments and results" in text_of(client, f"/app/{team.slug}/members/")
    client.post(f"/app/{team.slug}/members/{pk}/payloads", {"payloads": "on"})
    assert "sees arguments and results" in text_of(client, f"/app/{team.slug}/members/")
    theirs = signed_in(User.objects.get(email=email_of(member)))
    assert "whole records, with what calls were given and gave" in text_of(theirs, f"/app/{team.slug}/audit/")
    client.post(f"/app/{team.slug}/members/{pk}/payloads", {})
    with tenant_scope(team.tenant_id):
        assert Membership.objects.get(pk=pk).payloads is False
    assert client_of(team, Role.VIEWER).post(f"/app/{team.slug}/members/{pk}/payloads").status_code == 403
    assert client_of(make_team()).post(f"/app/{team.slug}/members/{pk}/payloads").status_code == 404


def test_exports_are_made_without_data_by_choice_or_by_right(
    team: Team, client: Client, auditor: Client
) -> None:
    assert "Without arguments and results" in text_of(client, f"/app/{team.slug}/exports/")
    client.post(f"/app/{team.slug}/exports/", {"format": "jsonl", "contents": "metadata"})
    client.post(f"/app/{team.slug}/exports/", {"format": "jsonl"})
    auditor.post(f"/app/{team.slug}/exports/", {"format": "jsonl"})
    rows = list_exports(caller=team.owner)
    assert [row.payloads for row in rows] == [False, True, False]
    page = text_of(auditor, f"/app/{team.slug}/exports/")
    assert "What calls were given and gave is left out" in page
    assert "holds arguments and results" in page
    whole = f"/app/{team.slug}/exports/{rows[1].id}/"
    assert "This file holds what calls were given and gave, which you do not see" in text_of(auditor, whole)
    assert auditor.get(f"{whole}download").status_code == 403


def test_who_was_here_for_a_time_is_told_so(team: Team) -> None:
    member = team.member(Role.AUDITOR)
    theirs = signed_in(User.objects.get(email=email_of(member)))
    assert theirs.get(f"/app/{team.slug}/audit/").status_code == 200
    with tenant_scope(team.tenant_id):
        row = Membership.objects.get(user_id=member.user_id or 0)
        row.ends_at = row.created_at
        row.save()
    answer = theirs.get(f"/app/{team.slug}/audit/")
    assert answer.status_code == 404
    assert "was for a time, and ended on" in answer.content.decode()
    home = text_of(theirs, "/app/")
    assert "Your access to <strong>Team</strong> was for a time, and ended on" in home
    assert f'href="/app/{team.slug}/"' not in home
    assert "was for a time" not in text_of(client_of(team), f"/app/{team.slug}/")
