"""Makes teams for the load, in the database that the environment names. Run by the fault tests.

``python -m tests.faults.teams COUNT FOLDER`` reads the DSN of their source on standard input (JSON), and prints them as
JSON: slug, tenant_id, a key for calls, one for the rest, and their tools' ids by name. Their tools count in FOLDER.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django

django.setup()

from servers.services.sources import create_source
from servers.services.tools import create_tool, list_tools
from tests.factories import make_team

NUMBER = {
    "sql": "SELECT :number::bigint AS number",
    "parameters": {"number": {"type": "integer", "description": "Any", "required": True}},
}


def make(folder: str, dsn: str) -> dict[str, Any]:
    """A team with a tool that reads a database, and those of the plugin."""
    team = make_team()
    create_source("numbers", "postgres", {"dsn": dsn}, caller=team.owner)
    create_tool("say_number", "numbers", "sql", NUMBER, caller=team.owner)
    create_source("faults", "faults", {"folder": folder}, caller=team.owner)
    return {
        "slug": team.slug,
        "tenant_id": team.tenant_id,
        "key": team.key(),
        "admin": team.key("admin"),
        "tools": {tool.name: str(tool.pk) for tool in list_tools(caller=team.owner)},
    }


if __name__ == "__main__":
    source = json.load(sys.stdin)
    print(json.dumps([make(sys.argv[2], source) for _ in range(int(sys.argv[1]))]))
