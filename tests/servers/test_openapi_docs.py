"""What docs/openapi.md says of a document that changes: its commands, run as they stand, say its words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson

from tests.factories import make_team
from tests.farside import far_side, reply
from tests.rest import Rest
from tests.servers.execution.http.openapi.shop import document

PAGE = (Path(__file__).parents[2] / "docs" / "openapi.md").read_text(encoding="utf-8")
COMMANDS = re.findall(
    r"api -X POST \$MARINA/api/v1/tenants/demo/data-sources/\$SOURCE/(\w+)(?: -d '(.*)')?\n", PAGE
)
((TOOL, WORDS),) = re.findall(r"^> changed `(\w+)`: (.*)$", PAGE, re.MULTILINE)


def orders(*names: str, required: bool) -> dict[str, Any]:
    """The document of a shop whose orders are asked for with these parameters."""
    parameters = [
        {"name": name, "in": "query", "required": required and name == names[0], "schema": {"type": "string"}}
        for name in names
    ]
    return document(paths={"/orders": {"get": {"operationId": TOOL, "parameters": parameters}}})


def test_the_commands_show_first_and_then_take_over() -> None:
    team = make_team()
    rest = Rest.admin(team)
    below = f"/tenants/{team.slug}"
    with far_side() as api:

        def publish(published: dict[str, Any]) -> str:
            return api.serve("/openapi.json", reply(orjson.dumps(published), kind="application/json"))

        settings = {"openapi": publish(orders("fields", required=False)), "base_url": api.origin}
        body = {"name": "orders", "kind": "http", "settings": settings}
        source = rest.post(f"{below}/data-sources", body).body["id"]
        publish(orders("fields", "page", required=True))
        versions = []
        seen = ""
        for route, given in COMMANDS:
            body = orjson.loads(given.replace("…", seen))
            done = rest.post(f"{below}/data-sources/{source}/{route}", body)
            seen = done.body["fingerprint"]
            (difference,) = done.body["differences"]
            assert (difference["tool"], " ".join(difference["words"])) == (TOOL, WORDS)
            versions.append(rest.get(f"{below}/tools").body["results"][0]["version"])
    assert versions == [1, 2]
