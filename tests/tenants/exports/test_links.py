"""Links that download an export until they end, and files that are kept for their time."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from frontend.views import exports as pages
from tenants.exportfiles import files_of, folder_of
from tenants.exports.expiring import expire_files
from tenants.exports.making import make_export
from tenants.models import AuditExport
from tenants.scoping import tenant_scope
from tenants.services import exports as service
from tenants.services.exports import (
    cancel_export,
    describe_export,
    download_export,
    get_export,
    make_link,
    start_export,
)
from tenants.services.log import search_records
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.rest import API, Rest


@pytest.fixture
def team() -> Team:
    return make_team()


def done_export(team: Team) -> AuditExport:
    export = start_export(caller=team.owner)
    assert make_export(team.tenant_id, export.id)
    return get_export(export.id, caller=team.owner)


def age(team: Team, export: AuditExport, days: int) -> None:
    with tenant_scope(team.tenant_id):
        AuditExport.objects.filter(id=export.id).update(finished_at=timezone.now() - timedelta(days=days))


def path_of(url: str) -> str:
    return url.partition(API)[2]


def test_a_link_downloads_without_a_key_and_each_use_is_recorded(team: Team) -> None:
    export = done_export(team)
    made = Rest.admin(team).post(
        f"/tenants/{team.slug}/audit/exports/{export.id}/links", {"expires_in_minutes": 5}
    )
    assert (made.status, made.headers["Cache-Control"]) == (201, "no-store")
    # Nothing of who made it, of the team or of the export stands in it.
    for text in (team.slug, str(export.id), team.owner_email):
        assert text not in made.body["url"]
    answer = Client().get(f"{API}{path_of(made.body['url'])}")
    assert answer.status_code == 200
    assert answer["X-Content-SHA256"] == export.sha256
    manifest = Client().get(f"{API}{path_of(made.body['manifest_url'])}")
    assert (manifest.status_code, manifest["Content-Type"]) == (200, "application/json")
    downloaded, linked = search_records(caller=team.owner, text=made.body["id"]).records
    assert (linked.kind, downloaded.kind) == ("export.linked", "export.downloaded")
    assert downloaded.actor == "anonymous (127.0.0.1)"
    assert downloaded.arguments == {
        "after": {"id": str(export.id), "sha256": export.sha256, "link": made.body["id"]}
    }
    assert made.body["url"].rpartition("/")[2] not in str(linked.arguments)


def test_a_link_that_ended_says_so(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    link = make_link(done_export(team).id, 1, caller=team.owner)
    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    answer = Rest().get(f"/exports/{link.token}")
    assert (answer.status, answer.body["code"]) == (410, "link_expired")
    assert "Ask who gave it to you" in answer.body["detail"]


def test_what_is_no_link_is_not_found(team: Team) -> None:
    link = make_link(done_export(team).id, caller=team.owner)
    changed = bytearray(base64.urlsafe_b64decode(link.token + "=" * (-len(link.token) % 4)))
    changed[-1] ^= 1
    tokens = ["x", link.token[:-1], "a" * 180, base64.urlsafe_b64encode(changed).decode(), "b" * 5_000]
    for token in tokens:
        for path in (f"/exports/{token}", f"/exports/{token}/manifest"):
            answer = Rest().get(path)
            assert (answer.status, answer.body["code"]) == (404, "link_not_found")


def test_a_link_opens_the_export_it_was_made_for_alone(team: Team) -> None:
    other = make_team()
    mine, theirs = done_export(team), done_export(other)
    link = make_link(mine.id, caller=team.owner)
    opened = service.open_link(link.token, address="192.0.2.1")
    assert (opened.export.id, opened.tenant_slug) == (mine.id, team.slug)
    refused = Rest.admin(other).post(f"/tenants/{other.slug}/audit/exports/{mine.id}/links", {})
    assert (refused.status, refused.body["code"]) == (404, "export_not_found")
    assert theirs.id != mine.id


@pytest.mark.parametrize("minutes", [0, 10_081, "x"])
def test_a_link_lasts_from_a_minute_to_seven_days(team: Team, minutes: object) -> None:
    export = done_export(team)
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/audit/exports/{export.id}/links", {"expires_in_minutes": minutes}
    )
    assert (answer.status, answer.paths) == (400, {"expires_in_minutes"})


def test_there_is_no_link_to_what_is_not_done(team: Team) -> None:
    export = start_export(caller=team.owner)
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/audit/exports/{export.id}/links", {})
    assert (answer.status, answer.body["code"]) == (409, "export_not_done")


def test_a_file_is_deleted_when_its_time_is_over_and_not_before(team: Team) -> None:
    old, young = done_export(team), done_export(team)
    link = make_link(old.id, caller=team.owner)
    age(team, old, settings.ENV.exports_days + 1)
    age(team, young, settings.ENV.exports_days - 1)
    rest = Rest.admin(team)
    # Also before the sweep comes by.
    answer = rest.get(f"/tenants/{team.slug}/audit/exports/{old.id}/download")
    assert (answer.status, answer.body["code"]) == (410, "export_expired")
    assert expire_files(team.tenant_id) == 1
    assert files_of(team.tenant_id, old.id) == []
    assert download_export(young.id, caller=team.owner).path.is_file()
    for path in (
        f"/tenants/{team.slug}/audit/exports/{old.id}/download",
        f"/tenants/{team.slug}/audit/exports/{old.id}/manifest",
        f"/exports/{link.token}",
    ):
        answer = rest.get(path)
        assert (answer.status, answer.body["code"]) == (410, "export_expired")
    told = rest.get(f"/tenants/{team.slug}/audit/exports/{old.id}").body
    assert (told["status"], told["expires_at"], told["download_url"]) == ("expired", None, None)
    assert "is deleted" in describe_export(get_export(old.id, caller=team.owner))


def test_how_long_files_are_kept_is_the_operators_to_say(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    export = done_export(team)
    age(team, export, 3)
    assert expire_files(team.tenant_id) == 0
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, exports_days=2))
    assert expire_files(team.tenant_id) == 1


def test_what_was_on_its_way_to_a_bucket_for_too_long_is_given_up_and_recorded(team: Team) -> None:
    export = done_export(team)
    age(team, export, settings.ENV.exports_days + 1)
    with tenant_scope(team.tenant_id):
        AuditExport.objects.filter(id=export.id).update(delivery="waiting", deliver_at=timezone.now())
    assert expire_files(team.tenant_id) == 1
    over = get_export(export.id, caller=team.owner)
    assert (over.status, over.delivery, over.deliver_at) == ("expired", "failed", None)
    assert "Run the export again" in over.delivery_error
    [record] = search_records(caller=team.owner, kind="export.undelivered").records
    assert record.actor == "marina"
    expire_files(team.tenant_id)
    assert len(search_records(caller=team.owner, kind="export.undelivered").records) == 1


def test_a_download_names_the_digest_of_the_file_that_is_sent(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = done_export(team)

    def look_earlier(*_: object, **__: object) -> AuditExport:
        return AuditExport(id=export.id, format="jsonl", sha256="00" * 32)

    # The row as it was a moment ago, before the file was made anew.
    monkeypatch.setattr(service, "get_export", look_earlier)
    monkeypatch.setattr(pages, "get_export", look_earlier)
    client = client_of(team)
    rest = client.get(f"{API}/tenants/{team.slug}/audit/exports/{export.id}/download")
    page = client.get(f"/app/{team.slug}/exports/{export.id}/download")
    assert [answer["X-Content-SHA256"] for answer in (rest, page)] == [export.sha256] * 2


def test_what_a_cancelled_export_left_behind_is_deleted(team: Team) -> None:
    export, other = start_export(caller=team.owner), done_export(team)
    cancel_export(export.id, caller=team.owner)
    left = folder_of(team.tenant_id) / f"{export.id}.1.spool"
    left.write_bytes(b"left behind")
    stray = folder_of(team.tenant_id) / f"{UUID(int=1)}.1.spool"
    stray.write_bytes(b"nobody's")
    expire_files(team.tenant_id)
    assert not left.exists()
    assert download_export(other.id, caller=team.owner).path.is_file()
