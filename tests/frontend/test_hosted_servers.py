"""Commands in the dashboard: chosen in the form, looked at on the source's page."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from django.test import Client

from core.loop import run_async
from servers.execution.contract import Hosted, Source
from servers.services.runtime import get_runtime
from servers.services.sources import create_source
from tenants.roles import Role
from tests.factories import Team
from tests.frontend.visitor import client_of
from tests.hosted.commands import packages


def test_the_form_offers_the_commands_and_shows_why_one_does_not_start(client: Client, team: Team) -> None:
    page = client.get(f"/app/{team.slug}/data-sources/new?kind=mcp").content.decode()
    assert "yard: A yard of ships; " in page
    assert "abroad: reaches api.example.com, *.example.org:8443 alone" in page
    form = {"kind": "mcp", "name": "far", "setting-transport": '"stdio"', "setting-command": "odd"}
    ended = client.post(
        f"/app/{team.slug}/data-sources/try", {**form, "setting-args": "ending"}
    ).content.decode()
    assert "ended with status 3" in ended
    assert "no such option" in ended
    shown = client.post(
        f"/app/{team.slug}/data-sources/try",
        {**form, "setting-command": "yard", "setting-env": json.dumps(packages())},
    ).content.decode()
    assert "name_it" in shown


def test_the_page_shows_how_the_command_fares_and_what_it_wrote(team: Team) -> None:
    made = create_source("ships", "mcp", {"command": "odd", "env": {"KEY": "s3cret-key"}}, caller=team.owner)
    viewer = client_of(team, Role.VIEWER)
    place = f"/app/{team.slug}/data-sources/{made.id}/"
    assert "It does not run just now" in viewer.get(place).content.decode()
    notes = get_runtime().hosted_notes
    source = Source(made.id, made.tenant_id, "ships", "mcp", 1, {})
    now = datetime.now(UTC).timestamp()

    async def tell() -> None:
        waiting = Hosted("waiting", now, now, 3, "its command ended with status 4", now + 60)
        notes.note(source, waiting, ["<b>no</b> such option"])
        await notes.settle()

    run_async(tell())
    page = viewer.get(place).content.decode()
    assert "its command ended with status 4" in page
    assert "such option" not in page
    page = client_of(team, Role.EDITOR).get(place).content.decode()
    assert "&lt;b&gt;no&lt;/b&gt; such option" in page
    assert "s3cret" not in page
    assert "odd" in page

    assert "It reaches no network." in page
    abroad = create_source("abroad", "mcp", {"command": "abroad"}, caller=team.owner)
    page = viewer.get(f"/app/{team.slug}/data-sources/{abroad.id}/").content.decode()
    assert '<span class="mono">*.example.org:8443</span> and nothing else' in page

    async def forget() -> None:
        notes.note(source, Hosted("stopped", now), [])
        await notes.settle()

    run_async(forget())
