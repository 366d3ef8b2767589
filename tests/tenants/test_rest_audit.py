"""The log and its exports over REST: searched, paged, downloaded by those who may."""

from __future__ import annotations

import base64
import hashlib
import json
from uuid import UUID

import pytest
from django.test import AsyncClient

from core.threads import run_sync
from tenants.audit.append import append_entry
from tenants.audit.records import Entry
from tenants.exports.claiming import claim_export
from tenants.exports.formats import FORMATS
from tenants.exports.making import make_export
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import download_export, start_export
from tests.factories import Team, email_of, make_team
from tests.rest import API, Rest


@pytest.fixture
def team() -> Team:
    return make_team()


def test_records_are_searched_by_what_is_asked(team: Team) -> None:
    rest = Rest.admin(team)
    found = rest.get(f"/tenants/{team.slug}/audit/records?kind=tenant.created").body["results"]
    assert [record["outcome"] for record in found] == ["ok"]
    assert found[0]["actor"] == f"user:{team.owner_email}"
    assert rest.get(f"/tenants/{team.slug}/audit/records?outcome=error").body["results"] == []
    assert rest.get(f"/tenants/{team.slug}/audit/records?tool=&outcome=").body["results"]
    assert rest.get(f"/tenants/{team.slug}/audit/records?to=2020-01-01T00:00:00Z").body["results"] == []
    assert rest.get(f"/tenants/{team.slug}/audit/records?from=2020-01-01T00:00:00+00:00").body["results"]


def test_an_intent_is_shown_with_its_outcome_or_as_unknown(team: Team) -> None:
    with tenant_scope(team.tenant_id):
        lost = append_entry(Entry("tools/call", "intent", "key:a", tool="lost"), tenant_id=team.tenant_id)
        begun = append_entry(Entry("tools/call", "intent", "key:a", tool="done"), tenant_id=team.tenant_id)
        ended = append_entry(
            Entry("tools/call", "ok", "key:a", tool="done", intent=begun), tenant_id=team.tenant_id
        )
    rest = Rest.admin(team)
    records = rest.get(f"/tenants/{team.slug}/audit/records?kind=tools/call").body["results"]
    assert [
        (record["seq"], record["outcome_unknown"], record["outcome_seq"], record["intent_seq"])
        for record in records
    ] == [(ended, False, None, begun), (begun, False, ended, None), (lost, True, None, None)]
    unknown = rest.get(f"/tenants/{team.slug}/audit/records?outcome=unknown").body["results"]
    assert [record["tool"] for record in unknown] == ["lost"]
    assert rest.get(f"/tenants/{team.slug}/audit/records/{lost}").body["outcome_unknown"] is True
    assert rest.get(f"/tenants/{team.slug}/audit/records?outcome=input_required").body["results"] == []


def test_an_export_of_what_is_unknown_holds_it_alone(team: Team) -> None:
    with tenant_scope(team.tenant_id):
        append_entry(Entry("tools/call", "intent", "key:a", tool="lost"), tenant_id=team.tenant_id)
        begun = append_entry(Entry("tools/call", "intent", "key:a", tool="done"), tenant_id=team.tenant_id)
        append_entry(Entry("tools/call", "ok", "key:a", tool="done", intent=begun), tenant_id=team.tenant_id)
    for filters, said in (
        ({"outcome": "unknown"}, [("lost", None)]),
        ({"outcome": "ok", "tool": "done"}, [("done", begun)]),
    ):
        export = start_export(filters=filters, caller=team.owner)
        assert make_export(team.tenant_id, export.id)
        lines = download_export(export.id, caller=team.owner).path.read_text().splitlines()
        records = [json.loads(line)["record"] for line in lines]
        assert [(record["tool"], record.get("intent")) for record in records] == said


def test_pages_follow_each_other_without_a_gap(team: Team) -> None:
    rest = Rest.admin(team)
    for number in range(5):
        rest.patch(f"/tenants/{team.slug}", {"name": f"Name {number}"})
    seen, url = [], f"/tenants/{team.slug}/audit/records?limit=2"
    while url:
        body = rest.get(url).body
        seen += [record["seq"] for record in body["results"]]
        url = (body["next"] or "").partition(API)[2]
    assert seen == list(range(seen[0], 0, -1))


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("outcome=fine", "outcome"),
        ("from=yesterday", "from"),
        ("limit=0", "limit"),
        ("before=x", "before"),
        ("credential_id=x", "credential_id"),
        ("outcom=ok", "outcom"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_the_place(team: Team, query: str, path: str) -> None:
    answer = Rest.admin(team).get(f"/tenants/{team.slug}/audit/records?{query}")
    assert (answer.status, answer.paths) == (400, {path})


def test_one_record_is_read_by_its_number(team: Team) -> None:
    rest = Rest.admin(team)
    assert rest.get(f"/tenants/{team.slug}/audit/records/1").body["kind"] == "tenant.created"
    for number in ("0", "999999", "x", "-1", "9" * 30):
        assert rest.get(f"/tenants/{team.slug}/audit/records/{number}").status == 404


def test_an_export_is_accepted_and_says_where_it_stands(team: Team) -> None:
    started = Rest.admin(team).post(f"/tenants/{team.slug}/audit/exports", {"format": "jsonl"})
    assert (started.status, started.body["status"], started.body["download_url"]) == (202, "queued", None)


@pytest.mark.anyio
async def test_an_export_is_made_and_downloaded_as_the_bytes_that_its_hash_names(team: Team) -> None:
    rest = await run_sync(Rest.admin, team)
    # Through the service, which tells no worker: one may be running beside these tests.
    started = await run_sync(start_export, "jsonl", None, None, {}, caller=team.owner)
    path = f"/tenants/{team.slug}/audit/exports/{started.pk}"
    early = await run_sync(rest.get, f"{path}/download")
    assert (early.status, early.body["code"]) == (409, "export_not_done")
    await run_sync(make_export_of, team, str(started.pk))
    done = (await run_sync(rest.get, path)).body
    assert done["status"] == "done"
    response = await AsyncClient().get(
        "/api/v1" + done["download_url"].partition(API)[2], headers=rest.headers
    )
    content = b"".join([part async for part in response.streaming_content])  # type: ignore[attr-defined]
    digest = hashlib.sha256(content)
    assert done["sha256"] == response["X-Content-SHA256"] == digest.hexdigest()
    assert response["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert response["Content-Disposition"].startswith("attachment")
    assert len(content) == int(response["Content-Length"]) == done["size"]
    assert json.loads(content.splitlines()[0])["record"]["kind"] == "tenant.created"


def make_export_of(team: Team, export_id: str) -> None:
    assert make_export(team.tenant_id, UUID(export_id))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"format": "xlsx"}, "format"),
        ({"from": "x"}, "from"),
        ({"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"filters": {"colour": "red"}}, "colour"),
    ],
)
def test_an_export_that_cannot_be_is_refused_with_the_place(
    team: Team, body: dict[str, object], path: str
) -> None:
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/audit/exports", body)
    assert (answer.status, answer.paths) == (400, {path})


def test_an_export_of_an_empty_range_is_an_empty_file_that_says_so(team: Team) -> None:
    rest = Rest.admin(team)
    given = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
    started = rest.post(f"/tenants/{team.slug}/audit/exports", given).body
    make_export_of(team, started["id"])
    done = rest.get(f"/tenants/{team.slug}/audit/exports/{started['id']}").body
    assert (done["status"], done["records"], done["size"]) == ("done", 0, 0)
    assert "No record" in done["message"]


@pytest.mark.parametrize(("role", "status"), [(Role.AUDITOR, 200), (Role.VIEWER, 403), (Role.EDITOR, 403)])
def test_the_log_is_for_those_who_may_read_it(team: Team, role: Role, status: int) -> None:
    rest = Rest(email=email_of(team.member(role)))
    assert rest.get(f"/tenants/{team.slug}/audit/records").status == status
    assert rest.get(f"/tenants/{team.slug}/audit/exports").status == status


def test_an_export_says_how_far_it_is_and_is_cancelled(team: Team) -> None:
    rest = Rest.admin(team)
    started = start_export("csv", caller=team.owner)
    path = f"/tenants/{team.slug}/audit/exports/{started.id}"
    assert rest.get(path).body["progress"] == {"looked_at": 0, "in_all": None}
    assert claim_export(team.tenant_id, started.id) is not None
    running = rest.get(path).body
    assert (running["status"], running["format"], running["progress"]["looked_at"]) == ("running", "csv", 0)
    assert running["progress"]["in_all"] > 1
    cancelled = rest.post(f"{path}/cancel")
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    again = rest.post(f"{path}/cancel")
    assert (again.status, again.body["code"]) == (409, "export_over")
    repeated = rest.post(f"{path}/run-again")
    assert (repeated.status, repeated.body["format"]) == (202, "csv")
    assert repeated.body["id"] != str(started.id)


def test_an_export_can_be_downloaded_in_each_format_with_its_type(team: Team) -> None:
    rest = Rest.admin(team)
    for name, form in FORMATS.items():
        export = start_export(name, caller=team.owner)
        make_export_of(team, str(export.id))
        told = rest.get(f"/tenants/{team.slug}/audit/exports/{export.id}").body
        assert told["expires_at"] > told["finished_at"]
        answer = rest.client.get(f"{API}{told['download_url'].partition(API)[2]}", headers=rest.headers)
        assert answer["Content-Type"] == form.media_type
        assert answer["Content-Disposition"].endswith(f'.{name}"')
        manifest = rest.client.get(f"{API}{told['manifest_url'].partition(API)[2]}", headers=rest.headers)
        assert manifest["Content-Type"] == "application/json"
