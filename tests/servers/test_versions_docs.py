"""The examples of docs/versions.md, run one after another as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from servers.services.sources import create_source
from servers.services.tools import change_tool, create_tool
from tests.factories import make_database, make_team
from tests.rest import Rest

PAGE = (Path(__file__).parents[2] / "docs" / "versions.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LINE = re.compile(r"api (?:-X (\w+) )?\$MARINA/api/v1/tenants/demo(\S*)(?: -d '(.*)')?")


def test_the_examples(database: None) -> None:
    team = make_team()
    create_source("db", "postgres", {"dsn": make_database("SELECT 1")}, caller=team.owner)
    tool = create_tool("find", "db", "sql", {"sql": "SELECT 1 AS one"}, caller=team.owner)
    rest = Rest.admin(team)
    server = rest.get(f"/tenants/{team.slug}/servers").body["results"][0]["id"]
    answered = []
    for number, block in enumerate(BLOCKS):
        if number == 2:
            # The page's canary is a draft that was saved meanwhile.
            change_tool(tool.id, title="Find it well", draft=True, caller=team.owner)
        for line in block.strip().splitlines():
            found = LINE.fullmatch(line)
            assert found, line
            path = found[2].replace("$TOOL", str(tool.id)).replace("$SERVER", server)
            body = json.loads(found[3]) if found[3] else {}
            method = (found[1] or "GET").lower()
            answer = rest.call(method, f"/tenants/{team.slug}{path}", None if method == "get" else body)
            assert answer.status in (200, 201), (line, answer.body)
            answered.append(answer.body)
    assert answered[1]["tool_version"] == 2
    assert answered[2]["words"] == ["The title changed."]
    assert [each.get("version") for each in (answered[3], answered[4])] == [2, 1]
    assert [each["name"] for each in answered[-1]["results"]] == ["find_v1", "find", "find"]
