"""Files as a team has them: by REST and by the form, recorded with each use, and none of another team's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from core.sealing import sealer
from servers.models import DataSource
from servers.services.sealed import seal_settings
from servers.services.sources import execution_source
from tenants.scoping import tenant_scope
from tests.factories import PASSWORD, Team, make_team
from tests.rest import Rest

ROOT = {"name": "shelf", "kind": "files", "settings": {"root": "."}}


def folder_of(team: Team) -> Path:
    """The team's own folder, where its operator would put files for it."""
    folder: Path = settings.ENV.files_roots[0] / str(team.tenant_id)
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def team() -> Team:
    made = make_team()
    (folder_of(made) / "notes.txt").write_text("the harbour master's notes\n")
    return made


def call(rest: Rest, team: Team, name: str, **arguments: Any) -> Any:
    tools = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    tool = next(tool["id"] for tool in tools if tool["name"] == name)
    answer = rest.post(
        f"/tenants/{team.slug}/tools/{tool}/call", {"arguments": arguments, "server": "default"}
    )
    assert answer.status == 200, answer.body
    return answer.body


def test_a_source_of_files_is_made_tested_and_used_and_each_use_is_recorded(team: Team) -> None:
    rest = Rest.admin(team)
    made = rest.post(f"/tenants/{team.slug}/data-sources", ROOT)
    assert made.status == 201
    health = rest.post(f"/tenants/{team.slug}/data-sources/{made.body['id']}/test", {})
    assert health.body["state"] == "healthy"
    read = call(rest, team, "read_file", path="notes.txt")
    assert read["outcome"] == "ok"
    assert read["structured"]["content"] == "the harbour master's notes\n"
    missing = call(rest, team, "read_file", path="nothing.txt")
    assert missing["outcome"] == "error"
    refused = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    assert {tool["name"] for tool in refused} >= {"list_directory", "search_files", "search_content"}
    records = rest.get(f"/tenants/{team.slug}/audit/records?tool=read_file").body["results"]
    seen = [(record["outcome"], record["arguments"]) for record in records if record["kind"] == "tools/call"]
    assert sorted(seen, key=str) == [("error", {"path": "nothing.txt"}), ("ok", {"path": "notes.txt"})]


def test_a_team_reads_nothing_of_another_teams_folder(team: Team) -> None:
    outsider = make_team()
    rest = Rest.admin(outsider)
    own = folder_of(outsider)
    (own / "own.txt").write_text("own\n")
    (own / "linked").symlink_to(folder_of(team))
    (own / "hard.txt").hardlink_to(folder_of(team) / "notes.txt")
    for root in (str(folder_of(team)), f"{own}/../{team.tenant_id}", "..", "/", str(own.parent)):
        body = {"name": "theirs", "kind": "files", "settings": {"root": root}}
        tried = rest.post(f"/tenants/{outsider.slug}/data-sources/test", body)
        assert tried.status == 400 or tried.body["state"] == "unhealthy", root
        assert "harbour" not in str(tried.body)
    rest.post(f"/tenants/{outsider.slug}/data-sources", ROOT)
    assert call(rest, outsider, "read_file", path="own.txt")["outcome"] == "ok"
    for path in ("linked/notes.txt", "hard.txt"):
        assert call(rest, outsider, "read_file", path=path)["outcome"] == "error"
    found = call(rest, outsider, "search_content", content_pattern="harbour")
    assert found["structured"]["matches"] == []


def test_faults_of_settings_are_told_with_their_places(team: Team) -> None:
    rest = Rest.admin(team)
    wrong = {"root": "../x", "max_size": 0, "more": 1}
    answer = rest.post(f"/tenants/{team.slug}/data-sources", {**ROOT, "settings": wrong})
    assert (answer.status, answer.paths) == (400, {"settings.root", "settings.max_size", "settings.more"})
    answer = rest.post(f"/tenants/{team.slug}/data-sources", {**ROOT, "settings": {}})
    assert (answer.status, answer.paths) == (400, {"settings.root"})


def test_a_buckets_secret_is_nowhere_shown_and_not_moved_elsewhere(team: Team) -> None:
    rest = Rest.admin(team)
    secret = "wJalrXUtnFEMI/K7MDENG"
    bucket = {
        "bucket": "archive",
        "endpoint": "http://127.0.0.1:1",
        "access_key": "AKID",
        "secret_key": secret,
    }
    made = rest.post(f"/tenants/{team.slug}/data-sources", {**ROOT, "settings": bucket})
    assert made.status == 201
    place = f"/tenants/{team.slug}/data-sources/{made.body['id']}"
    moved = {**bucket, "endpoint": "http://127.0.0.2:1"}
    del moved["secret_key"]
    assert rest.patch(place, {"settings": moved}).status == 400
    shown = str([made.body, rest.get(place).body, rest.get(f"/tenants/{team.slug}/audit/records").body])
    assert "archive" in shown
    assert secret not in shown


def test_a_source_of_files_is_made_by_the_form(team: Team) -> None:
    client = Client()
    assert client.login(username=team.owner_email, password=PASSWORD)
    url = f"/app/{team.slug}/data-sources/new"
    body = client.get(f"{url}?kind=files").content.decode()
    assert 'type="password" name="setting-secret_key"' in body
    assert 'type="checkbox" name="setting-allow_writes"' in body
    fields = {"kind": "files", "name": "shelf", "setting-root": ".", "setting-region": "us-east-1"}
    fields["setting-blocked_extensions"] = ".exe\n.sh"
    answer = client.post(url, fields, follow=True)
    assert "shelf answers." in answer.content.decode()
    refused = client.post(url, {**fields, "name": "second", "setting-root": "", "setting-max_size": "1"})
    assert refused.status_code == 400
    assert set(refused.context["form"].errors) == {"setting-root"}


def test_a_source_stored_with_writes_by_their_former_name_is_shown_and_saved_by_the_new_one(
    team: Team,
) -> None:
    rest = Rest.admin(team)
    made = rest.post(
        f"/tenants/{team.slug}/data-sources", {**ROOT, "settings": {"root": ".", "writable": True}}
    )
    assert made.body["settings"]["allow_writes"] is True
    with tenant_scope(team.tenant_id):
        row = DataSource.objects.get()
        stored = dict(execution_source(row).settings)
        stored["writable"] = stored.pop("allow_writes")
        row.settings = stored
        row.sealed = seal_settings(row, stored, sealer())
        row.save()
    assert call(rest, team, "write_file", path="new.txt", content="x")["outcome"] == "ok"
    client = Client()
    assert client.login(username=team.owner_email, password=PASSWORD)
    page = f"/app/{team.slug}/data-sources/{row.id}/"
    form = client.get(page).context["form"]
    assert form["setting-allow_writes"].value() is True
    fields = {field.html_name: field.value() for field in form if field.value() is not None}
    answer = client.post(page, {**fields, "setting-max_size": "1000"}, follow=True)
    assert answer.status_code == 200
    with tenant_scope(team.tenant_id):
        row = DataSource.objects.get()
        for settings_of in (row.settings, execution_source(row).settings):
            assert (settings_of["allow_writes"], settings_of["max_size"]) == (True, 1_000)
            assert "writable" not in settings_of
