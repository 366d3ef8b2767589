"""The table of clients in the guide names the versions that the tests run."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
_PIN = re.compile(r"^([\w-]+(?:\[\w+\])?)==(\S+)$", re.MULTILINE)


def test_the_guides_table_names_the_versions_that_run_here() -> None:
    page = (ROOT / "docs" / "clients.md").read_text()
    told = re.findall(r"^\| [^|]+\(`([^`]+)`\) \| ([\d.]+) \|", page, re.MULTILINE)
    packages = json.loads((FOLDER / "package.json").read_text())["devDependencies"]
    pins = {("mcp", version("mcp"))}
    for file in ("fastmcp.in", "langchain.in"):
        pins |= {
            (name.replace("mcp[ws]", "mcp"), number)
            for name, number in _PIN.findall((FOLDER / "python" / file).read_text())
        }
    pins |= {
        (name.replace("@modelcontextprotocol/inspector", "--cli"), number)
        for name, number in packages.items()
        if not name.startswith("@modelcontextprotocol/server")
    }
    assert set(told) == pins
