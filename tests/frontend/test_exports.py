"""The pages of exports: formats, progress, ending one, running it again, its manifest and its links."""

from __future__ import annotations

from uuid import UUID

from django.test import Client

from tenants.exports.claiming import claim_export
from tenants.exports.making import make_export
from tenants.models import AuditExport
from tenants.services.exports import MAX_UNFINISHED, get_export, list_exports, start_export
from tenants.services.log import search_records
from tests.factories import Team


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer
    return " ".join(answer.content.decode().split())


def done_export(team: Team, form: str = "jsonl") -> AuditExport:
    export = start_export(form, caller=team.owner)
    assert make_export(team.tenant_id, export.id)
    return export


def test_an_export_is_started_in_the_format_that_was_chosen(client: Client, team: Team) -> None:
    client.post(f"/app/{team.slug}/exports/", {"format": "csv"})
    [export] = list_exports(caller=team.owner)
    assert export.format == "csv"
    refused = client.post(f"/app/{team.slug}/exports/", {"format": "xlsx"})
    assert refused.status_code == 400
    assert "Choose one of: jsonl, csv, parquet" in refused.content.decode()


def test_progress_is_shown_until_it_ends_and_then_the_page_is_asked_for_anew(
    client: Client, team: Team
) -> None:
    export = start_export(caller=team.owner)
    assert claim_export(team.tenant_id, export.id) is not None
    page = text_of(client, f"/app/{team.slug}/exports/{export.id}/")
    assert '<progress max="' in page
    assert "records looked at" in page
    assert f"/exports/{export.id}/part" in page
    part = client.get(f"/app/{team.slug}/exports/{export.id}/part")
    assert "HX-Refresh" not in part
    client.post(f"/app/{team.slug}/exports/{export.id}/cancel")
    part = client.get(f"/app/{team.slug}/exports/{export.id}/part")
    assert part["HX-Refresh"] == "true"
    assert "was cancelled" in part.content.decode()


def test_an_export_is_cancelled_and_run_again_by_its_buttons(client: Client, team: Team) -> None:
    export = start_export("parquet", caller=team.owner)
    assert f"/exports/{export.id}/cancel" in text_of(client, f"/app/{team.slug}/exports/")
    client.post(f"/app/{team.slug}/exports/{export.id}/cancel")
    assert get_export(export.id, caller=team.owner).status == "cancelled"
    assert f"/exports/{export.id}/run-again" in text_of(client, f"/app/{team.slug}/exports/")
    answer = client.post(f"/app/{team.slug}/exports/{export.id}/run-again")
    again = UUID(answer["Location"].rstrip("/").rpartition("/")[2])
    assert get_export(again, caller=team.owner).format == "parquet"
    late = client.post(f"/app/{team.slug}/exports/{export.id}/cancel", follow=True)
    assert "has ended already" in late.content.decode()


def test_one_too_many_is_refused_in_words(client: Client, team: Team) -> None:
    started = [start_export(caller=team.owner) for _ in range(MAX_UNFINISHED)]
    refused = client.post(f"/app/{team.slug}/exports/", {"format": "csv"})
    assert refused.status_code == 400
    assert "or cancel one" in refused.content.decode()
    again = client.post(f"/app/{team.slug}/exports/{started[0].id}/run-again", follow=True)
    assert "or cancel one" in again.content.decode()
    assert len(list_exports(caller=team.owner)) == MAX_UNFINISHED


def test_a_link_is_shown_once_and_works_without_a_session(client: Client, team: Team) -> None:
    export = done_export(team)
    made = client.post(f"/app/{team.slug}/exports/{export.id}/link", {"minutes": "15"})
    assert made.status_code == 200
    assert "no-store" in made["Cache-Control"]
    url = made.context["link_url"]
    assert url in made.content.decode()
    assert Client().get(f"/api/{url.partition('/api/')[2]}").status_code == 200
    assert url not in text_of(client, f"/app/{team.slug}/exports/{export.id}/")
    refused = client.post(f"/app/{team.slug}/exports/{export.id}/link", {"minutes": "never"})
    assert refused.status_code == 400
    kinds = [record.kind for record in search_records(caller=team.owner, limit=3).records]
    assert kinds[:2] == ["export.downloaded", "export.linked"]


def test_the_manifest_is_offered_where_there_is_one(client: Client, team: Team) -> None:
    export = done_export(team)
    assert f"/exports/{export.id}/manifest" in text_of(client, f"/app/{team.slug}/exports/{export.id}/")
    answer = client.get(f"/app/{team.slug}/exports/{export.id}/manifest")
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"].endswith('.manifest.json"')


def test_the_page_says_when_the_file_is_deleted(client: Client, team: Team) -> None:
    export = done_export(team)
    page = text_of(client, f"/app/{team.slug}/exports/")
    assert "it is kept for 30 days" in page
    assert get_export(export.id, caller=team.owner).sha256 in page
    assert "File deleted" in text_of(client, f"/app/{team.slug}/exports/{export.id}/")
