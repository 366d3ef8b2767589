"""The examples and the limits of docs/upstream-servers.md, as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from servers.execution.backends.mcp import McpBackend
from tests.factories import make_team
from tests.farside import far_side
from tests.rest import Rest
from tests.servers.changing import Changing, tool

PAGE = (Path(__file__).parents[2] / "docs" / "upstream-servers.md").read_text(encoding="utf-8")
(SOURCE,) = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]
PREVIEW, REFRESH = re.findall(r"POST …/data-sources/(?:\{id\}/)?(\w+) (\{[^`]*\})`", PAGE)
SAID_OF_A_CHANGE = re.findall(r"\(`(The argument path became required\.)`\)", PAGE)


def test_the_example_is_previewed_saved_and_refreshed() -> None:
    team = make_team()
    rest = Rest.admin(team)
    below = f"/tenants/{team.slug}/data-sources"
    with far_side() as side:
        upstream = Changing(side)
        names = ("search_issues", "search_users", "get_issue", "delete_issue")
        upstream.tools = [tool(name, f"Does {name}.", path={"type": "string"}) for name in names]
        # The one thing that is another here: where the server is.
        settings: dict[str, Any] = {**SOURCE["settings"], "url": upstream.url}
        assert PREVIEW == ("preview", '{"kind": "mcp", "settings": {…}}')
        shown = rest.post(f"{below}/preview", {"kind": SOURCE["kind"], "settings": settings})
        offered = ["tracker_get_issue", "tracker_search_issues"]
        assert sorted(each["name"] for each in shown.body["tools"]) == offered
        assert not rest.get(f"/tenants/{team.slug}/tools").body["results"]

        made = rest.post(below, {**SOURCE, "settings": settings})
        assert made.status == 201, made.body
        assert "token" not in made.body["settings"]
        tools = {each["name"]: each for each in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
        assert sorted(tools) == offered
        called = rest.post(
            f"/tenants/{team.slug}/tools/{tools['tracker_get_issue']['id']}/call", {"arguments": {}}
        )
        assert called.body["outcome"] == "ok", called.body
        wanted = f"Bearer {SOURCE['settings']['token']}"
        assert {asked.headers.get("authorization") for asked in side.asked} == {wanted}

        upstream.tools[2]["inputSchema"]["required"] = ["path"]
        assert rest.post(f"{below}/{made.body['id']}/test").body["code"] == "definitions_changed"
        name, body = REFRESH
        previewed = rest.post(f"{below}/{made.body['id']}/{name}", json.loads(body)).body["differences"]
        (difference,) = previewed
        assert (difference["tool"], difference["words"]) == ("tracker_get_issue", SAID_OF_A_CHANGE)


def test_the_table_has_the_settings_with_their_bounds() -> None:
    schema = McpBackend().settings_schema["properties"]
    rows = dict(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*)$", PAGE, re.MULTILINE))
    told = {name for names in rows for name in re.findall(r"`(\w+)`", names)} & schema.keys()
    assert told == schema.keys()
    for name in ("timeout", "max_bytes"):
        rule = schema[name]
        assert f"{rule['default']} | {rule['minimum']}\u2013{rule['maximum']}" in rows[f"`{name}`"].replace(
            " seconds", ""
        )
