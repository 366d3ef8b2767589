"""The example and the tables of docs/upstream-sign-in.md, as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from frontend.views.log import KINDS
from servers.execution.backends.mcp import McpBackend
from tests.factories import Team
from tests.rest import Rest
from tests.servers.sign_ins.authority import Authority
from tests.servers.sign_ins.person import Person

PAGE = (Path(__file__).parents[3] / "docs" / "upstream-sign-in.md").read_text(encoding="utf-8")
(SOURCE,) = [
    json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]


def test_the_example_is_stored_signed_in_to_and_taken_over(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    below = f"/tenants/{team.slug}/data-sources"
    # The one thing that is another here: where the server is.
    made = rest.post(below, {**SOURCE, "settings": {**SOURCE["settings"], "url": authority.url}})
    assert made.status == 201, made.body
    path = f"{below}/{made.body['id']}"
    assert rest.post(f"{path}/test").body["state"] == "needs_sign_in"
    assert not rest.get(f"/tenants/{team.slug}/tools").body["results"]
    owner.sign_in(made.body["id"])
    assert not rest.get(f"/tenants/{team.slug}/tools").body["results"]
    assert rest.post(f"{path}/refresh", {}).body["added"]["tools"]
    assert rest.get(f"{path}/sign-in").body["state"] == "ready"


def test_the_tables_have_what_there_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows[1:] == McpBackend().settings_schema["properties"]["sign_in"]["enum"]
    told = set(re.findall(r"`(source\.\w+)`", PAGE))
    assert told == {kind for kind in KINDS if kind.startswith("source.sign")}
