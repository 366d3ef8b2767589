"""Configuration as a file over REST: read, planned, applied; by whom, and with which answers."""

from __future__ import annotations

import pytest

from servers.services.configuration.exporting import export_configuration
from tenants.roles import Role
from tests.factories import Team, email_of, make_team
from tests.rest import API, Rest

KIT = "marina: 1\nsources:\n  kit: {kind: toolkit}\n"
API_FILE = (
    "marina: 1\nsources:\n  api:\n    kind: http\n"
    "    settings: {base_url: 'https://a.example', auth: bearer, token: {kept: true}}\n"
)


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def test_a_file_is_read_planned_and_applied(team: Team) -> None:
    rest, at = Rest.admin(team), f"/tenants/{team.slug}/configuration"
    planned = rest.post(f"{at}/plan", {"configuration": KIT})
    assert planned.status == 200, planned.body
    assert planned.body["summary"] == "1 to create, 0 to change, 0 to delete."
    assert planned.body["applied"] is False
    change = planned.body["changes"][0]
    assert (change["action"], change["what"], change["name"]) == ("create", "source", "kit")
    assert {"path": "kind", "before": None, "after": "toolkit"} in change["fields_changed"]
    assert change["notes"][0].startswith("Brings 8 tools: ")
    done = rest.post(f"{at}/apply", {"configuration": KIT, "fingerprint": planned.body["fingerprint"]})
    assert (done.status, done.body["applied"], done.body["changes"]) == (200, True, planned.body["changes"])
    moved = rest.post(f"{at}/apply", {"configuration": KIT, "fingerprint": planned.body["fingerprint"]})
    assert (moved.status, moved.body["code"]) == (409, "plan_moved")
    read = rest.client.get(f"{API}{at}.yaml", headers=rest.headers)
    assert read.content.decode() == export_configuration(caller=team.owner)
    assert read["Content-Type"] == "application/yaml; charset=utf-8"
    assert read["Content-Disposition"] == f'attachment; filename="{team.slug}.marina.yaml"'
    again = rest.post(f"{at}/apply", {"configuration": read.content.decode(), "prune": True})
    assert (again.status, again.body["changes"]) == (200, [])


def test_secrets_go_beside_the_file_and_come_back_nowhere(team: Team) -> None:
    rest, at = Rest.admin(team), f"/tenants/{team.slug}/configuration"
    body = {"configuration": API_FILE, "secrets": {"api": {"token": "sekrit-1"}}}
    for path in ("plan", "apply", "plan"):
        answer = rest.post(f"{at}/{path}", body)
        assert answer.status == 200, answer.body
        assert "sekrit" not in str(answer.body)
    assert answer.body["changes"] == []
    log = rest.get(f"/tenants/{team.slug}/audit/records")
    assert "sekrit" not in str(log.body)


def test_faults_have_paths_and_lines(team: Team) -> None:
    rest, at = Rest.admin(team), f"/tenants/{team.slug}/configuration"
    answer = rest.post(f"{at}/plan", {"configuration": f"{API_FILE}tools:\n  a: {{}}\n"})
    assert (answer.status, answer.body["code"]) == (400, "configuration_invalid")
    assert answer.paths == {"tools.a.source", "tools.a.kind", "tools.a.definition"}
    assert all(fault["message"].startswith("Line 7: ") for fault in answer.body["errors"])
    for body, path in (
        ({}, "configuration"),
        ({"configuration": ""}, "configuration"),
        ({"configuration": 1}, "marina"),
        ({"configuration": KIT, "prune": "perhaps"}, "prune"),
        ({"configuration": KIT, "secrets": {"kit": 1}}, "secrets.kit"),
        ({"configuration": KIT, "secret": {}}, "secret"),
    ):
        refused = rest.post(f"{at}/apply", body)
        assert refused.status == 400, refused.body
        assert path in refused.paths


def test_each_role_gets_what_its_rights_give(team: Team) -> None:
    at = f"/tenants/{team.slug}/configuration"
    expected = {Role.EDITOR: (200, 200), Role.VIEWER: (200, 403), Role.AUDITOR: (403, 403)}
    for role, (reads, plans) in expected.items():
        rest = Rest(email=email_of(team.member(role)))
        assert rest.client.get(f"{API}{at}.yaml").status_code == reads
        assert rest.post(f"{at}/plan", {"configuration": KIT}).status == plans
    stranger = Rest.admin(make_team())
    for method, path in (("get", f"{at}.yaml"), ("post", f"{at}/plan"), ("post", f"{at}/apply")):
        assert stranger.call(method, path, {"configuration": KIT} if method == "post" else None).status == 401
    narrow = Rest(team.key("tools:read", "server:default"))
    assert narrow.get(f"{at}.yaml").body["data"]["rule"] == "scope:narrowed"
