"""Commands to host in tests: programs of this folder, and servers of others, each with what it needs to see."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.local.node import find_node_folder
from core.hostedcommands import HostedCommand, parse_commands

PROGRAMS = Path(__file__).with_name("programs")
PYTHON = os.path.realpath(sys.executable)
PACKAGES = sysconfig.get_paths()["purelib"]
CLIENTS = Path(__file__).parents[1] / "clients" / "node_modules"
EVERYTHING = CLIENTS / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
FILESYSTEM = CLIENTS / "@modelcontextprotocol" / "server-filesystem" / "dist" / "index.js"
MEMORY = CLIENTS / "@modelcontextprotocol" / "server-memory" / "dist" / "index.js"
SERVERS = Path(sys.prefix) / "clients" / "servers"
"""The environment of Python servers that others wrote."""
ELSEWHERE = ("/usr/", "/bin/", "/lib/")


def command(name: str, *arguments: str, **entry: Any) -> HostedCommand:
    """A program of this folder."""
    (made,) = parse_commands({name: entry_of(name, *arguments, **entry)})
    return made


def entry_of(name: str, *arguments: str, **entry: Any) -> dict[str, Any]:
    """A program of this folder, as the operator's file has it."""
    folders = [
        str(PROGRAMS),
        PACKAGES,
        *([] if sys.base_prefix in ("/usr", "/usr/local") else [sys.base_prefix]),
    ]
    return {
        "run": [PYTHON, "-u", str(PROGRAMS / f"{name}.py"), *arguments],
        "folders": folders,
        **entry,
    }


def write_commands(file: Path, harbour: Path) -> Path:
    """The operator's file of the tests. In ``harbour`` is what some commands may see."""
    listed = {
        "odd": entry_of("odd", arguments=True, memory=256, disk=4, processes=24),
        "yard": entry_of("yard", note="A yard of ships."),
        "abroad": entry_of("odd", "abroad", network=["api.example.com", "*.example.org:8443"]),
    }
    if EVERYTHING.exists():
        listed["everything"] = node_entry(EVERYTHING, "stdio", folder=CLIENTS)
        listed["filesystem"] = node_entry(FILESYSTEM, str(harbour), folder=CLIENTS)
        listed["filesystem"]["folders"].append(str(harbour))
        listed["memory"] = node_entry(MEMORY, folder=CLIENTS)
    if SERVERS.exists():
        listed["time"] = python_entry("mcp_server_time", "--local-timezone", "UTC")
        listed["git"] = python_entry("mcp_server_git")
        listed["git"]["folders"].append(str(harbour))
        listed["fetch"] = python_entry("mcp_server_fetch", "--allow-private-ips", network=True)
    file.write_text(json.dumps(listed))
    return file


def python_entry(module: str, *arguments: str, **entry: Any) -> dict[str, Any]:
    """A module of the servers' environment."""
    folders = [str(SERVERS), *([] if sys.base_prefix in ("/usr", "/usr/local") else [sys.base_prefix])]
    return {"run": [str(SERVERS / "bin" / "python"), "-m", module, *arguments], "folders": folders, **entry}


def node_entry(script: Path, *arguments: str, folder: Path, **entry: Any) -> dict[str, Any]:
    """A program of Node.js in a folder."""
    found = find_node_folder()
    node = Path(found or "/usr/bin", "node").resolve()
    folders = [str(folder.resolve())]
    if not str(node).startswith(ELSEWHERE):
        folders.append(str(node.parent.parent))
    return {"run": [str(node), str(script.resolve()), *arguments], "folders": folders, **entry}


def packages() -> Mapping[str, str]:
    """The environment in which programs find the packages that they import."""
    return {"PYTHONPATH": PACKAGES}
