"""The connect page's blocks: they hold no secret, they can be pasted as they are, and they work."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from config.local.node import find_node_folder
from frontend.clients import PLACEHOLDER, VARIABLE, Target, clients_for
from frontend.clients import Client as Tab
from servers.services.sources import create_source
from tenants.services.log import search_records
from tests.clients.node import FOLDER as NODE_CLIENTS
from tests.factories import Team, make_database, make_team
from tests.plugins.live_marina import LiveMarina

TARGET = Target(
    "https://mcp.example.com/mcp/demo", "marina-demo", public=False, tool="it's", arguments={"a": "it's"}
)
PUBLIC = Target(
    "https://mcp.example.com/mcp/demo/open", "marina-demo-open", public=True, tool="t", arguments={}
)


def client(target: Target, key: str) -> Tab:
    return next(each for each in clients_for(target) if each.key == key)


def block(target: Target, key: str, where: str) -> str:
    return next(each.text for each in client(target, key).blocks if each.where == where)


def test_cursors_link_installs_the_url_and_reads_the_key_from_the_environment() -> None:
    link = urlsplit(client(TARGET, "cursor").link)
    assert (link.scheme, link.netloc, link.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    query = parse_qs(link.query)
    config = json.loads(base64.b64decode(query["config"][0]))
    assert query["name"] == ["marina-demo"]
    assert config == {"url": TARGET.url, "headers": {"Authorization": f"Bearer ${{env:{VARIABLE}}}"}}


def test_vs_codes_link_asks_for_the_key() -> None:
    link = client(TARGET, "vs-code").link
    assert link.startswith("vscode:mcp/install?")
    install = json.loads(unquote(link.partition("?")[2]))
    assert (install["name"], install["type"], install["url"]) == ("marina-demo", "http", TARGET.url)
    assert install["inputs"][0]["password"] is True


@pytest.mark.parametrize("each", clients_for(TARGET), ids=lambda each: each.key)
def test_no_link_holds_a_key_or_its_placeholder(each: Tab) -> None:
    assert PLACEHOLDER not in unquote(each.link)
    assert "mcp_live_" not in each.link + "".join(block.text for block in each.blocks)


@pytest.mark.parametrize("each", clients_for(PUBLIC), ids=lambda each: each.key)
def test_a_public_server_needs_no_key_anywhere(each: Tab) -> None:
    text = each.link + "".join(block.text for block in each.blocks)
    assert "Authorization" not in text
    assert VARIABLE not in text


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("claude-desktop", "claude_desktop_config.json"),
        ("cursor", "~/.cursor/mcp.json"),
        ("vs-code", ".vscode/mcp.json"),
    ],
)
def test_configuration_blocks_are_json(key: str, where: str) -> None:
    json.loads(block(TARGET, key, where))


@pytest.fixture(scope="module")
def team(live_marina: LiveMarina) -> Team:
    team = make_team()
    dsn = make_database("CREATE TABLE harbours (name text); INSERT INTO harbours VALUES ('Hamburg')")
    create_source("harbours", "postgres", {"dsn": dsn}, caller=team.owner)
    return team


def _target(live_marina: LiveMarina, team: Team) -> Target:
    return Target(live_marina.mcp_url(team.slug), "marina", public=False, tool="list_tables", arguments={})


def _run(command: list[str], key: str, *, cwd: Path | None = None) -> str:
    folder = find_node_folder()
    path = os.environ.get("PATH", os.defpath)
    done = subprocess.run(
        command,
        env={"PATH": f"{folder}{os.pathsep}{path}" if folder else path, VARIABLE: key, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _called(team: Team) -> list[str]:
    return [record.outcome for record in search_records(caller=team.owner, kind="tools/call").records]


def test_the_python_block_makes_a_call(live_marina: LiveMarina, team: Team) -> None:
    before = len(_called(team))
    text = block(_target(live_marina, team), "python", "first_call.py")
    assert "harbours" in _run([sys.executable, "-c", text], team.key())
    assert _called(team)[: len(_called(team)) - before] == ["ok"]


def test_the_typescript_block_makes_a_call(live_marina: LiveMarina, team: Team, tmp_path: Path) -> None:
    before = len(_called(team))
    (tmp_path / "node_modules").symlink_to(NODE_CLIENTS / "node_modules")
    script = tmp_path / "first-call.mjs"
    script.write_text(block(_target(live_marina, team), "typescript", "first-call.mjs"))
    assert "harbours" in _run(["node", str(script)], team.key(), cwd=tmp_path)
    assert _called(team)[: len(_called(team)) - before] == ["ok"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_curl_blocks_list_and_call(live_marina: LiveMarina, team: Team) -> None:
    target = _target(live_marina, team)
    assert "list_tables" in _run(["sh", "-c", block(target, "curl", "List the tools")], team.key())
    assert "harbours" in _run(["sh", "-c", block(target, "curl", "Call one")], team.key())


def test_the_claude_desktop_block_starts_a_bridge_that_makes_a_call(
    live_marina: LiveMarina, team: Team
) -> None:
    before = len(_called(team))
    text = block(_target(live_marina, team), "claude-desktop", "claude_desktop_config.json")
    server = json.loads(text)["mcpServers"]["marina"]
    assert server == {
        "command": "marina-stdio",
        "args": [live_marina.mcp_url(team.slug)],
        "env": {VARIABLE: PLACEHOLDER},
    }
    # As a host starts it: the command by its name, and of the environment what the block says and a few more.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    parameters = StdioServerParameters(
        command=server["command"], args=server["args"], env={VARIABLE: team.key(), "PATH": path}
    )

    async def call() -> str:
        async with Client(stdio_client(parameters), mode="legacy") as host:
            return str(await host.call_tool("list_tables", {}))

    assert "harbours" in asyncio.run(call())
    assert _called(team)[: len(_called(team)) - before] == ["ok"]


def test_the_claude_desktop_block_of_a_public_server_names_no_key() -> None:
    text = block(PUBLIC, "claude-desktop", "claude_desktop_config.json")
    assert json.loads(text)["mcpServers"]["marina-demo-open"] == {
        "command": "marina-stdio",
        "args": [PUBLIC.url],
    }


def test_a_quote_in_an_argument_does_not_end_the_shells_string() -> None:
    text = block(TARGET, "curl", "Call one")
    body = _run(["sh", "-c", text.replace("curl ", "printf '%s\\n' ", 1)], "key")
    assert '"a": "it\'s"' in body
