"""The examples and tables of docs/hosted-servers.md, as they stand there."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

from core.egress import CONNECTION_BYTES, MAX_CONNECTIONS, VARIABLES
from core.hostedcommands import parse_commands, read_commands
from core.hostlists import MAX_HOSTS, PORTS
from core.passing import BYTES_A_SECOND
from core.passing import IDLE_SECONDS as SILENT_SECONDS
from core.sandbox import DOOR_PORT, Bounds
from servers.execution.backends.mcp import McpBackend
from servers.execution.backends.mcp.form import MAX_ARGS, MAX_ENV
from servers.execution.backends.mcp.hosted import IDLE_SECONDS
from servers.execution.backends.mcp.hosting import MAX_RUNS, MAX_RUNS_OF_TEAM

PAGE = (Path(__file__).parents[2] / "docs" / "hosted-servers.md").read_text(encoding="utf-8")


def test_the_file_is_one_and_the_source_chooses_of_it(tmp_path: Path) -> None:
    (listed,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (given,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "commands.yaml"
    file.write_text(listed)
    commands = read_commands(file)
    assert [command.name for command in commands] == ["time", "filesystem", "tickets"]
    assert commands[-1].reaches == ["api.example.com", "*.example.org", "files.example.com:8443"]
    cleaned = McpBackend(commands=commands).clean_settings(json.loads(given)["settings"])
    assert cleaned["args"] == ["/srv/handbook"]


def test_the_defaults_are_those_of_the_table() -> None:
    (command,) = parse_commands({"x": {"run": ["/bin/x"]}})
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE, re.MULTILINE))
    for name, value in asdict(Bounds()).items():
        assert rows[name] == str(value)
    assert (rows["arguments"], rows["network"]) == ("`false`", "`false`")
    assert (command.arguments, command.network, command.bounds) == (False, False, Bounds())


def test_the_numbers_are_those_of_the_code() -> None:
    assert IDLE_SECONDS == 300
    assert f"At most {MAX_RUNS} run in one process of Marina, and {MAX_RUNS_OF_TEAM} of one team" in PAGE
    assert f"up to {MAX_ARGS} further arguments" in PAGE
    assert f"up to {MAX_ENV} variables" in PAGE
    assert f"may reach](#hosts-that-a-command-may-reach), up to {MAX_HOSTS}." in PAGE
    assert f"`127.0.0.1:{DOOR_PORT}`" in PAGE
    assert f"then {PORTS[0]} and {PORTS[1]} are meant" in PAGE
    assert f"A command has {MAX_CONNECTIONS} connections at once" in PAGE
    assert (BYTES_A_SECOND, CONNECTION_BYTES, SILENT_SECONDS) == (16 * 1_048_576, 1_048_576 // 2, 600)


def test_the_variables_of_the_proxy_are_told() -> None:
    assert not [name for name in VARIABLES if name.isupper() and f"`{name}" not in PAGE]
