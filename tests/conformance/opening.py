"""Opens servers to all, as an owner does over REST: the suite sends no credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.factories import Team, make_team
from tests.replicas.cluster import Replicas


def open_fixtures(replicas: Replicas, name: str) -> str:
    """The URL of a new team's server that offers what the suite asks for."""
    team = make_team(name)
    # Two of the fixtures change what their own server offers, by REST as an admin would.
    settings = {"api_url": replicas.base_url, "admin_key": team.key("admin")}
    sources = {"fixtures": ("conformance", settings), "faulty": ("conformance-faulty", {})}
    return open_server(replicas, team, sources)


def open_server(replicas: Replicas, team: Team, sources: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    """The URL of a server with these sources, each made of its kind and its settings."""
    for name, (kind, settings) in sources.items():
        replicas.post(team, "data-sources", {"name": name, "kind": kind, "settings": settings})
    server = {"slug": "open", "title": "Open", "access": "public", "sources": list(sources)}
    replicas.post(team, "servers", server)
    return replicas.mcp_url(team.slug, "open")
