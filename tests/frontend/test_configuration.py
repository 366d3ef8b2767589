"""The page of configuration as a file: downloaded, given, planned and applied; secrets are typed and never shown."""

from __future__ import annotations

import re

from django.test import Client

from servers.services.configuration.exporting import export_configuration
from servers.services.sources import execution_source, list_sources
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.frontend.visitor import client_of

KIT = "marina: 1\r\nsources:\r\n  kit:\r\n    kind: toolkit\r\n"
API = (
    "marina: 1\nsources:\n  a.pi:\n    kind: http\n"
    "    settings: {base_url: 'https://a.example', auth: bearer, token: {kept: true}}\n"
)


def page_of(team: Team, part: str = "") -> str:
    return f"/app/{team.slug}/configuration/{part}"


def planned(client: Client, team: Team, **form: str) -> str:
    return client.post(page_of(team, "plan"), form, headers={"HX-Request": "true"}).content.decode()


def fingerprint_of(plan: str) -> str:
    found = re.search(r'name="fingerprint" value="([0-9a-f]{64})"', plan)
    return found[1] if found else ""


def test_the_file_is_one_link_away(client: Client, team: Team) -> None:
    shown = client.get(page_of(team)).content.decode()
    assert f'href="{page_of(team, "download")}"' in shown
    got = client.get(page_of(team, "download"))
    assert got.content.decode() == export_configuration(caller=team.owner)
    assert got["Content-Disposition"] == f'attachment; filename="{team.slug}.marina.yaml"'


def test_a_plan_is_shown_and_only_a_plan_that_was_shown_is_applied(client: Client, team: Team) -> None:
    plan = planned(client, team, configuration=KIT)
    assert "1 to create, 0 to change, 0 to delete." in plan
    assert "Brings 8 tools" in plan
    blind = client.post(page_of(team), {"configuration": KIT})
    assert (blind.status_code, b"Show the plan first" in blind.content) == (400, True)
    assert not list_sources(caller=team.owner)
    done = client.post(
        page_of(team), {"configuration": KIT, "fingerprint": fingerprint_of(plan)}, follow=True
    )
    assert "The file is applied: 1 created, 0 changed, 0 deleted." in done.content.decode()
    assert [row.name for row in list_sources(caller=team.owner)] == ["kit"]
    assert "Nothing to do" in planned(client, team, configuration=KIT)
    moved = client.post(page_of(team), {"configuration": KIT, "fingerprint": fingerprint_of(plan)})
    assert b"another one by now" in moved.content


def test_what_is_left_out_is_asked_for_and_never_shown(client: Client, team: Team) -> None:
    fields = client.post(page_of(team, "kept"), {"configuration": API}).content.decode()
    assert "a.pi: token" in fields
    assert 'type="password" name="given-0"' in fields
    assert "Give it with the file" in planned(client, team, configuration=API)
    form = {"configuration": API, "given-0": "sekrit-1"}
    plan = planned(client, team, **form)
    assert "+ settings.token: (as given)" in plan
    wrong = client.post(page_of(team), {**form, "fingerprint": "0" * 64})
    assert wrong.status_code == 400
    client.post(page_of(team), {**form, "fingerprint": fingerprint_of(plan)})
    with tenant_scope(team.tenant_id):
        stored = execution_source(list_sources(caller=team.owner)[0]).settings
    assert stored["token"] == "sekrit-1"
    assert "sekrit" not in plan + wrong.content.decode() + client.get(page_of(team)).content.decode()


def test_faults_are_told_with_their_lines(client: Client, team: Team) -> None:
    for text, says in (
        ("nothing", "Line 1: this is no configuration"),
        (f"{KIT}tools:\r\n  x: {{source: no, kind: sql, definition: {{}}}}", "tools.x.source: Line 6:"),
        ("", "This field is required."),
        ("marina: 1\nservers: {<b>: {title: <i>}}", "servers.&lt;b&gt;.slug: Line 2:"),
    ):
        assert says in planned(client, team, configuration=text)


def test_who_may_not_change_anything_downloads_and_no_more(team: Team) -> None:
    viewer = client_of(team, Role.VIEWER)
    assert "configuration-form" not in viewer.get(page_of(team)).content.decode()
    assert viewer.get(page_of(team, "download")).status_code == 200
    for part in ("", "plan", "kept"):
        assert viewer.post(page_of(team, part), {"configuration": KIT}).status_code == 403
    auditor = client_of(team, Role.AUDITOR)
    assert auditor.get(page_of(team)).status_code == auditor.get(page_of(team, "download")).status_code == 403
    public = "marina: 1\nservers: {open: {title: Open, access: public}}"
    assert "Your role editor does not allow this" in planned(
        client_of(team, Role.EDITOR), team, configuration=public
    )
