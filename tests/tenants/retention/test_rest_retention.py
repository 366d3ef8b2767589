"""How the log is kept, over REST and on its page: read by auditors, changed by owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from core.notetargets import FolderTarget
from tenants.roles import Role
from tenants.services.log import search_records
from tenants.services.retention import read_keeping
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.rest import Rest
from tests.tenants.retention.aging import published_in


@pytest.fixture(autouse=True)
def target(tmp_path: Path) -> Iterator[FolderTarget]:
    with published_in(tmp_path / "notes") as there:
        yield there


@pytest.fixture
def team() -> Team:
    return make_team()


def test_a_policy_is_set_and_read(team: Team) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/audit/retention"
    read = rest.get(path).body
    assert (read["days"], read["removed"], read["waits"]) == (None, 0, "")
    assert rest.patch(path, {"days": 90}).body["days"] == 90
    assert rest.patch(path, {"days": 29}).status == 400
    assert rest.patch(path, {}).status == 400
    assert rest.patch(path, {"days": None}).body["days"] is None
    newest, oldest = search_records(caller=team.owner, kind="retention.changed").records
    assert newest.arguments == {"before": {"days": 90}, "after": {"days": None}}
    assert oldest.arguments == {"before": {"days": None}, "after": {"days": 90}}


def test_holds_are_placed_listed_and_lifted(team: Team) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/audit/holds"
    made = rest.post(path, {"reason": "Matter 1", "to": "2026-04-01T00:00:00Z"})
    assert (made.status, made.body["from"], made.body["lifted_at"]) == (201, None, None)
    assert rest.post(path, {"reason": " "}).status == 400
    swapped = {"reason": "x", "from": "2026-04-02T00:00:00Z", "to": "2026-04-01T00:00:00Z"}
    assert rest.post(path, swapped).status == 400
    lifted = rest.post(f"{path}/{made.body['id']}/lift")
    assert lifted.status == 200
    assert lifted.body["lifted_at"] is not None
    assert rest.post(f"{path}/{made.body['id']}/lift").status == 409
    assert [each["reason"] for each in rest.get(path).body["results"]] == ["Matter 1"]
    assert rest.get(f"/tenants/{team.slug}/audit/tombstones").body == {"results": [], "next": None}


def test_outsiders_find_nothing_and_auditors_only_read(team: Team) -> None:
    rest, other = Rest.admin(team), make_team()
    hold = rest.post(f"/tenants/{team.slug}/audit/holds", {"reason": "Matter 2"}).body["id"]
    theirs = Rest.admin(other)
    assert theirs.post(f"/tenants/{other.slug}/audit/holds/{hold}/lift").status == 404
    assert theirs.post(f"/tenants/{other.slug}/audit/holds/{uuid4()}/lift").status == 404
    assert theirs.get(f"/tenants/{other.slug}/audit/holds").body["results"] == []
    for path in ("retention", "holds", "tombstones"):
        assert theirs.get(f"/tenants/{team.slug}/audit/{path}").status in (401, 404)
    reader = Rest(team.key("audit:read"))
    assert reader.get(f"/tenants/{team.slug}/audit/retention").status == 200
    assert reader.patch(f"/tenants/{team.slug}/audit/retention", {"days": 90}).status == 403
    assert reader.post(f"/tenants/{team.slug}/audit/holds", {"reason": "x"}).status == 403


def test_the_page_has_forms_for_owners_and_words_for_auditors(team: Team) -> None:
    path = f"/app/{team.slug}/log/keeping"
    owner = client_of(team)
    assert "Records are kept for ever" in owner.get(path).content.decode()
    assert owner.post(path, {"days": "90"}).status_code == 200, "the name was not typed"
    assert read_keeping(caller=team.owner).days is None
    assert owner.post(path, {"days": "90", "confirm": team.slug}).status_code == 302
    assert owner.post(path, {"days": "3", "confirm": team.slug}).status_code == 400
    assert "Records are kept for 90 days" in owner.get(path).content.decode()
    place = f"/app/{team.slug}/log/holds"
    assert owner.post(place, {"reason": "Matter 3", "from_at": "2026-01-01T00:00"}).status_code == 302
    assert owner.post(place, {"reason": ""}).status_code == 400
    (hold,) = read_keeping(caller=team.owner).standing
    assert hold.from_at is not None
    assert hold.from_at.isoformat() == "2026-01-01T00:00:00+00:00"
    auditor = client_of(team, Role.AUDITOR)
    page = auditor.get(path).content.decode()
    assert "Matter 3" in page
    assert "Lift the hold" not in page
    assert auditor.post(path, {"days": "", "confirm": team.slug}).status_code == 403
    lift = f"{place}/{hold.id}/lift"
    assert auditor.post(lift, {"confirm": team.slug}).status_code == 403
    owner.post(lift, {"confirm": "another"})
    assert read_keeping(caller=team.owner).standing
    owner.post(lift, {"confirm": team.slug})
    assert read_keeping(caller=team.owner).standing == ()
    outsider = client_of(make_team())
    assert outsider.get(path).status_code == 404
    assert Client().get(path).status_code in (302, 404)


def test_the_logs_page_filters_by_member_and_says_how_far_it_looked(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = client_of(team)
    path = f"/app/{team.slug}/log/"
    assert (
        "member.added"
        not in page.get(f"{path}?member=nobody@example.com").content.decode().split("</form>")[-1]
    )
    assert "tenant.created" in page.get(f"{path}?member={team.owner_email}").content.decode()
    monkeypatch.setattr("tenants.audit.searching.FIRST_STRETCH", 1)
    monkeypatch.setattr("tenants.services.log.FIRST_SECONDS", 0.0)
    shown = page.get(f"{path}?q=no-such-text").content.decode()
    assert "Nothing found so far" in shown
    assert "Search further back" in shown
    found = Rest.admin(team).get(f"/tenants/{team.slug}/audit/records?text=no-such-text").body
    assert found["results"] == []
    assert found["searched_back_to"]["seq"] >= 1
    assert found["next"] is not None


def test_the_operator_places_and_lifts_a_hold(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("legal_hold", team.slug, place="Matter 4", who="ada@example.com")
    (hold,) = read_keeping(caller=team.owner).standing
    assert str(hold.id) in capsys.readouterr().out
    call_command("legal_hold", team.slug)
    assert f"{hold.id} operator:ada@example.com: Matter 4" in capsys.readouterr().out
    call_command("legal_hold", team.slug, lift=hold.id)
    assert read_keeping(caller=team.owner).standing == ()
    with pytest.raises(CommandError):
        call_command("legal_hold", team.slug, lift=hold.id)
    with pytest.raises(CommandError):
        call_command("legal_hold", "no-such-team")
    kinds = [record.kind for record in search_records(caller=team.owner, text="Matter 4").records]
    assert kinds == ["hold.lifted", "hold.placed"]
