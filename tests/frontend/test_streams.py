"""The pages of streams: made, with the secret shown once, tested, paused, delivered again, rolled, deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tenants.roles import Role
from tenants.services.streams import create_stream, list_deliveries, list_streams
from tests.factories import Team, make_team
from tests.farside import FarSide, far_side, reply
from tests.frontend.visitor import client_of
from tests.tenants.streams.flows import turn

FILTERS = {f"filter_{name}": "" for name in ("tool", "outcome", "kind", "credential_id", "text")}


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


def fields(url: str, **changes: str) -> dict[str, str]:
    return {"name": "siem", "url": url, "headers": "", "begin": "", **FILTERS, **changes}


def test_a_webhook_is_made_and_its_secret_is_seen_once(team: Team, far: FarSide) -> None:
    client, base = client_of(team), f"/app/{team.slug}/streams/"
    assert "No stream yet" in client.get(base).content.decode()
    for kind in ("webhook", "syslog", "otlp", "pigeon"):
        assert client.get(f"{base}new?to={kind}").status_code == 200
    url = far.serve("/in", reply())
    given = fields(url, headers="X-Key: topsecret\nX-Other: b:c", begin="1", filter_outcome="ok")
    made = client.post(f"{base}new?to=webhook", given)
    found = re.search(r'id="new-secret">(whsec_[A-Za-z0-9+/=]+)<', made.content.decode())
    assert found is not None
    assert "no-store" in made["Cache-Control"]
    (standing,) = list_streams(caller=team.owner)
    assert standing.row.settings["headers"] == ["x-key", "x-other"]
    assert standing.row.filters == {"outcome": "ok"}
    page = client.get(f"{base}{standing.row.pk}/").content.decode()
    listed = client.get(base).content.decode()
    for secret in (found[1], "topsecret"):
        assert secret not in page + listed
    assert "x-key, x-other" in page
    assert url in listed


def test_it_is_tested_delivered_again_paused_and_resumed(team: Team, far: FarSide) -> None:
    url = far.serve("/in", reply())
    row = create_stream("webhook", {"name": "siem", "url": url}, begin=1, caller=team.owner).standing.row
    client, page = client_of(team), f"/app/{team.slug}/streams/{row.pk}/"
    assert "The test: taken." in client.post(f"{page}test", follow=True).content.decode()
    turn(team.owner, row.pk)
    (delivery, _) = list_deliveries(row.pk, caller=team.owner).deliveries
    shown = client.post(f"{page}deliveries/{delivery.pk}/again", follow=True).content.decode()
    assert f"Records 1 to {delivery.last}: taken." in shown
    assert "again, by hand" in shown
    assert far.asked[1].body == far.asked[2].body
    assert "is paused" in client.post(f"{page}pause", follow=True).content.decode()
    part = client.get(f"{page}part").content.decode()
    assert "paused" in part
    assert "<html" not in part
    assert "goes on with record" in client.post(f"{page}resume", follow=True).content.decode()


def test_a_stream_that_is_retrying_says_since_when_why_and_until_when(team: Team, far: FarSide) -> None:
    url = far.serve("/in", reply(b"<b>foreign words</b>", status=500))
    row = create_stream("webhook", {"name": "siem", "url": url}, begin=1, caller=team.owner).standing.row
    turn(team.owner, row.pk)
    client = client_of(team, Role.AUDITOR)
    for address in ("", f"{row.pk}/"):
        shown = client.get(f"/app/{team.slug}/streams/{address}").content.decode()
        assert "Retrying since" in shown
        assert "It answered with status 500. The next try is at" in shown
        assert "foreign words" not in shown


def test_it_is_changed_rolled_and_deleted_by_its_typed_name(team: Team, far: FarSide) -> None:
    url = far.serve("/in", reply())
    given = {"name": "siem", "url": f"{url}?sig=topsecret", "headers": {"a": "b"}}
    row = create_stream("webhook", given, caller=team.owner).standing.row
    client, page = client_of(team), f"/app/{team.slug}/streams/{row.pk}/"
    shown = client.get(page).content.decode()
    assert f"{url}?…" in shown
    assert "topsecret" not in shown
    assert client.post(page, fields(f"{url}?…", name="other")).status_code == 302
    assert client.post(page, fields("ftp://x")).status_code == 400
    rolled = client.post(f"{page}roll", {"overlap_hours": "24"}).content.decode()
    assert "whsec_" in rolled
    client.post(f"{page}delete", {"confirm": "siem"})
    (standing,) = list_streams(caller=team.owner)
    assert standing.row.name == "other"
    assert standing.row.settings["has_query"]
    client.post(f"{page}delete", {"confirm": "other"})
    assert list_streams(caller=team.owner) == []


def test_what_is_wrong_stands_beside_its_field(team: Team) -> None:
    client, new = client_of(team), f"/app/{team.slug}/streams/new?to="
    answer = client.post(f"{new}webhook", fields("ftp://x", headers="host: x"))
    assert answer.status_code == 400
    assert set(answer.context["form"].errors) == {"url", "headers"}
    syslog = {
        "name": "s",
        "host": "10.0.0.1",
        "port": "6514",
        "sd_id": "a b",
        "ends": "connection",
        **FILTERS,
    }
    answer = client.post(f"{new}syslog", {**syslog, "filter_credential_id": "x"})
    assert set(answer.context["form"].errors) == {"sd_id", "filter_credential_id"}
    answer = client.post(f"{new}syslog", {**syslog, "sd_id": "audit@4711"})
    assert set(answer.context["form"].errors) == {"host"}
    assert "does not connect to" in answer.content.decode()
    assert list_streams(caller=team.owner) == []


def test_an_auditor_reads_and_an_editor_and_an_outsider_see_nothing(team: Team, far: FarSide) -> None:
    url = far.serve("/in", reply())
    row = create_stream("webhook", {"name": "siem", "url": url}, caller=team.owner).standing.row
    page = f"/app/{team.slug}/streams/{row.pk}/"
    auditor = client_of(team, Role.AUDITOR)
    shown = auditor.get(page).content.decode()
    assert "Where it stands" in shown
    assert "Save" not in shown
    assert "Deliver again" not in shown
    for path in ("", "test", "pause", "resume", "roll", "delete"):
        assert auditor.post(page + path, fields(url)).status_code == 403
    assert client_of(team, Role.EDITOR).get(page).status_code == 403
    assert client_of(make_team()).get(page).status_code == 404
