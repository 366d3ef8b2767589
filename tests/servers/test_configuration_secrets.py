"""What a team's configuration as a file says of secrets: that they are kept, or what they are called."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import Forbidden, InvalidInput
from core.strictyaml import read_yaml
from servers.models import Secret
from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.importing import apply_configuration, plan_configuration
from servers.services.named_secrets import create_secret
from servers.services.sources import create_source, execution_source, list_sources
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.farside import far_side, reply
from tests.servers.configuring import edited, faults, fields
from tests.servers.execution.mcp.shipyard import open_shipyard


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def test_a_kept_secret_goes_nowhere_else(team: Team) -> None:
    settings = {"base_url": "https://api.example.com", "auth": "bearer", "token": "first"}
    create_source("api", "http", settings, caller=team.owner)

    def point_elsewhere(value: Any) -> None:
        value["sources"]["api"]["settings"]["base_url"] = "https://evil.example.com"

    moved = edited(team, point_elsewhere)
    found = faults(moved, team.owner)
    assert "these change: base_url. Give it with the file" in found["sources.api.settings.token"]
    lost = edited(team, lambda value: value["sources"]["api"]["settings"].pop("token"))
    assert faults(lost, team.owner)
    plan = plan_configuration(moved, secrets={"api": {"token": "second"}}, caller=team.owner)
    assert fields(plan) == {
        "api:settings.base_url": ("https://api.example.com", "https://evil.example.com"),
        "api:settings.token": ("(kept)", "(a new value)"),
    }
    apply_configuration(moved, secrets={"api": {"token": "second"}}, caller=team.owner)
    with tenant_scope(team.tenant_id):
        stored = execution_source(list_sources(caller=team.owner)[0]).settings
    assert (stored["token"], stored["base_url"]) == ("second", "https://evil.example.com")


def test_what_is_kept_has_to_be_there(team: Team) -> None:
    text = "marina: 1\nsources:\n  api:\n    kind: http\n    settings:\n      auth: bearer\n      token: {kept: true}\n"
    assert "Line 7: none is stored" in faults(text, team.owner)["sources.api.settings.token"]
    found = faults(text, team.owner, secrets={"other": {"token": "x"}})
    assert found == {"secrets.other": "the file has no data source of that name."}
    with pytest.raises(InvalidInput):
        plan_configuration(text, secrets={"api": "x"}, caller=team.owner)


def test_names_of_secrets_are_in_files_and_their_values_nowhere(team: Team) -> None:
    create_secret("far-key", value="sekrit-1", caller=team.owner)
    settings = {"base_url": "https://api.example.com", "auth": "bearer", "token": {"secret": "far-key"}}
    create_source("api", "http", settings, caller=team.owner)
    text = export_configuration(caller=team.owner)
    assert read_yaml(text).value["sources"]["api"]["settings"]["token"] == {"secret": "far-key"}
    assert "sekrit" not in text
    assert not plan_configuration(text, caller=team.owner).changes
    moved = text.replace("https://api.example.com", "https://b.example.com")
    assert fields(plan_configuration(moved, caller=team.owner)).keys() == {"api:settings.base_url"}
    with pytest.raises(Forbidden):
        plan_configuration(moved, caller=team.member(Role.EDITOR))
    other = make_team()
    assert "there is no such secret" in faults(text, other.owner)["sources.api.settings.token"]
    create_secret("far-key", value="sekrit-2", caller=other.owner)
    apply_configuration(text, caller=other.owner)
    assert export_configuration(caller=other.owner) == text
    create_secret("near-key", value="sekrit-3", caller=other.owner)
    renamed = text.replace("far-key", "near-key")
    plan = plan_configuration(renamed, caller=other.owner)
    assert fields(plan) == {"api:settings.token.secret": ("far-key", "near-key")}
    apply_configuration(renamed, caller=other.owner)
    with tenant_scope(other.tenant_id):
        assert execution_source(list_sources(caller=other.owner)[0]).settings["token"] == "sekrit-3"


def test_a_file_is_the_same_while_a_secret_has_no_value(team: Team) -> None:
    secret = create_secret(
        "far-dsn", value="postgresql://reader:sekrit@db.example.com/shop", caller=team.owner
    )
    create_source("shop", "postgres", {"dsn": {"secret": "far-dsn"}}, caller=team.owner)
    text = export_configuration(caller=team.owner)
    assert read_yaml(text).value["sources"]["shop"]["settings"]["dsn"] == {"secret": "far-dsn"}
    with tenant_scope(team.tenant_id):
        Secret.objects.filter(pk=secret.pk).update(
            sealed=None, state=Secret.State.UNAVAILABLE, reason="The place is empty"
        )
    assert export_configuration(caller=team.owner) == text
    assert not plan_configuration(text, caller=team.owner).changes


@pytest.mark.parametrize("named", [False, True])
def test_a_kept_token_of_an_mcp_source_is_sent_to_no_address_of_a_file(team: Team, *, named: bool) -> None:
    """Its offering is asked for with the token, for a plan too: the address of a file is judged before that."""
    create_secret("far-key", value="first", caller=team.owner)
    with open_shipyard("modern") as yard, far_side() as elsewhere:
        token: Any = {"secret": "far-key"} if named else "first"
        settings = {"url": yard.url, "auth": "bearer", "token": token}
        create_source("ships", "mcp", settings, caller=team.owner)
        elsewhere.serve("/mcp", reply(b"{}", status=500))

        def point_elsewhere(value: Any) -> None:
            value["sources"]["ships"]["settings"] |= {
                "url": f"{elsewhere.origin}/mcp",
                "token": {"kept": True},
            }

        found = faults(edited(team, point_elsewhere), team.member(Role.EDITOR))
        assert "these change: url" in found["sources.ships.settings.token"]
        assert elsewhere.asked == []
