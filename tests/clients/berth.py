"""What the matrix of clients meets: a team with one thing of each kind on every replica; and what is seen of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.services.sources import create_source
from tenants.audit.records import INTENT
from tenants.services.log import search_records
from tests.factories import Team, make_team, switch_tool
from tests.protocol.waiting import wait_for
from tests.replicas.cluster import PYTHONPATH, Replicas

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

ENVIRONMENT = {"PYTHONPATH": f"{PYTHONPATH}{os.pathsep}{Path(__file__).resolve().parent / 'plugin'}"}
"""Of a replica that knows the plugin."""

TABLE = """
CREATE TABLE harbours (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO harbours VALUES (1, 'Vlissingen'), (2, 'Ærøskøbing')
"""
QUERY = {"query": "SELECT name FROM harbours ORDER BY id"}
PROMPT = {"harbour": "Ærøskøbing", "days": "2"}
URIS = ["pilots://all", "pilots://emil/harbour"]

SEEN: dict[str, Any] = {
    "tools": [
        "analyze_table",
        "ask_model",
        "ask_name",
        "count_to",
        "describe_table",
        "execute_query",
        "get_schema",
        "get_table_sample",
        "list_tables",
        "query_database",
        "touch",
        "wait",
    ],
    "rows": [{"name": "Vlissingen"}, {"name": "Ærøskøbing"}],
    "resources": ["db://schemas", "pilots://all"],
    "templates": ["db://tables/{table}", "pilots://{name}/harbour"],
    "prompts": ["voyage"],
    "prompt": [["user", "Plan a voyage of 2 days to Ærøskøbing."], ["assistant", "Gladly. With which ship?"]],
    "progress": [[1, 3, "step 1"], [2, 3, "step 2"], [3, 3, "step 3"]],
    "asked": "Ahoy, Ada!",
    "sampled": "The model said: Ahoy",
    "cancelled": "cancelled",
}
"""What a client that can do everything sees."""

READ = [{"ada": "Vlissingen", "emil": "Ærøskøbing"}, "Ærøskøbing"]


@dataclass(frozen=True, slots=True)
class Berth:
    """A team with one thing of each kind behind its URLs, on every replica."""

    team: Team
    base: str
    key: str
    marker: Path

    def url(self, transport: str = "http", server: str = "") -> str:
        """Where a client connects: transport is http, sse or websocket."""
        path = f"/mcp/{self.team.slug}" + (f"/{server}" if server else "")
        if transport == "websocket":
            return f"ws{self.base.removeprefix('http')}{path}/ws"
        return f"{self.base}{path}" + ("/sse" if transport == "sse" else "")

    def job(self, transport: str = "http", mode: str = "legacy", server: str = "") -> dict[str, Any]:
        """What a script is to do."""
        return {
            "url": self.url(transport, server),
            "key": self.key,
            "transport": transport,
            "mode": mode,
            "query": QUERY,
            "prompt": PROMPT,
            "uris": URIS,
            "marker": str(self.marker),
        }

    def check(self, seen: Mapping[str, Any], version: str, *, without: tuple[str, ...] = ()) -> None:
        """What the client saw is all there is, but for what the client itself has no way to do."""
        told = {**seen, "tools": sorted(seen["tools"])}
        read = told.pop("read")
        assert told.pop("version") == version
        assert {name: value for name, value in told.items() if name not in without} == {
            name: value for name, value in SEEN.items() if name not in without
        }
        assert [json.loads(read[0]), read[1]] == READ
        self.check_cancelled()

    def switch_off(self, name: str) -> None:
        """Take a tool away, as a person in the dashboard does."""
        switch_tool(self.team, name, False)

    def check_cancelled(self) -> None:
        """The one call of ``wait`` was cancelled, and the log says so."""

        def outcomes() -> list[str]:
            records = search_records(tool="wait", settled=True, caller=self.team.owner).records
            return [record.outcome for record in records]

        # The tool hears of it before the record is written; until then the log has no more than its intent.
        wait_for(lambda: outcomes() not in ([], [INTENT]))
        assert outcomes() == ["cancelled"]


def make_berth(replicas: Replicas, dsn: str, marker: Path) -> Berth:
    """A new team with both sources. ``marker`` is the file that its waiting tool makes."""
    team = make_team("Matrix")
    create_source("harbours", "postgres", {"dsn": dsn}, caller=team.owner)
    replicas.post(team, "data-sources", {"name": "pilots", "kind": "pilots", "settings": {}})
    key = team.key("tools:read", "tools:execute", "resources:read", "prompts:read")
    return Berth(team, replicas.base_url, key, marker)
