"""Writes ``demo.json``, by which other programs find a running demo, and the block that a person reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.local.private_files import read_private_file, write_private_file


def read_demo(path: Path) -> dict[str, Any]:
    """What ``load_demo`` left: ``tenant``, ``api_key``, ``admin_key``, ``users``, perhaps ``mcp_path``."""
    demo: dict[str, Any] = json.loads(read_private_file(path) or "{}")
    return demo


def write_demo_file(
    path: Path,
    demo: Mapping[str, Any],
    *,
    base_url: str,
    database_url: str,
    redis_url: str,
    pids: Mapping[str, int],
) -> dict[str, Any]:
    """Write ``demo.json`` in one step, readable by its owner only: it holds keys and passwords."""
    value = {
        "base_url": base_url,
        "tenant": demo["tenant"],
        "mcp_url": base_url + (demo.get("mcp_path") or f"/mcp/{demo['tenant']}"),
        "api_key": demo["api_key"],
        "admin_key": demo["admin_key"],
        "users": {
            role: {"email": user["email"], "password": user["password"]}
            for role, user in demo["users"].items()
        },
        # The other tenant, with which isolation shows.
        "second": {name: demo["second"][name] for name in ("tenant", "api_key")}
        if "second" in demo
        else None,
        "database_url": database_url,
        "redis_url": redis_url,
        "pids": dict(pids),
    }
    write_private_file(path, json.dumps(value, indent=2) + "\n")
    return value


def describe_demo(value: Mapping[str, Any], path: Path) -> str:
    """The lines that say where to go and how to sign in."""
    owner = value["users"]["owner"]
    rows = (
        ("Dashboard", f"{value['base_url']}/app/{value['tenant']}/"),
        ("Sign in", f"{owner['email']}   password {owner['password'] or '(the one you gave it since)'}"),
        ("MCP endpoint", value["mcp_url"]),
        ("API key", value["api_key"]),
        ("REST schema", f"{value['base_url']}/api/v1/schema"),
        ("All of it", f"{path} (other users' sign-ins, the REST key, database and Redis)"),
    )
    lines = [f"  {name:<14}{text}" for name, text in rows]
    return "\n".join(["", "  Marina is ready. Ctrl-C stops it.", "", *lines, ""])
