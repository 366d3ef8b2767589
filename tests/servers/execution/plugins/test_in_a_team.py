"""A team adds a plugin's source and calls its tools, over REST and with the whole of Marina in between."""

from __future__ import annotations

from typing import Any

import pytest

from servers.execution.engine import Engine
from servers.services.runtime import get_runtime
from tests.factories import Team, make_team
from tests.rest import Rest
from tests.servers.execution.plugins.conftest import ROOT, Install

FIXTURES = ROOT / "tests" / "conformance" / "plugin"


@pytest.fixture
def team(database: None, monkeypatch: pytest.MonkeyPatch, install: Install) -> Team:
    """A team, while Marina has the conformance fixtures and a plugin that cannot be loaded."""
    monkeypatch.syspath_prepend(FIXTURES)
    install("import a_module_that_is_not_there", name="lost")
    monkeypatch.setattr(get_runtime(), "engine", Engine())
    return make_team()


def add_source(team: Team, kind: str, **settings: Any) -> Any:
    body = {"name": kind, "kind": kind, "settings": settings}
    return Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)


def test_a_source_of_a_plugin_brings_its_tools_and_hides_its_secrets(team: Team) -> None:
    made = add_source(team, "conformance", admin_key="hunter2")
    assert (made.status, made.body["settings"]) == (201, {"api_url": ""})
    rest = Rest.admin(team)
    listed = {tool["name"]: tool for tool in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    assert len(listed) >= 30
    assert listed["test_x_mcp_header"]["input_schema"]["properties"]["region"]["x-mcp-header"] == "Region"
    tool = listed["test_simple_text"]["id"]
    called = rest.post(f"/tenants/{team.slug}/tools/{tool}/call", {"arguments": {}})
    assert called.status == 200, called
    assert called.body["text"] == "This is a simple text response for testing."


def test_a_plugin_that_cannot_be_loaded_is_refused_with_the_reason(team: Team) -> None:
    refused = add_source(team, "lost")
    assert refused.status == 400
    assert "ModuleNotFoundError" in refused.body["detail"]
