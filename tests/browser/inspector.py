"""MCP Inspector's own pages, unmodified, as a person opens and uses them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from config.local.ports import find_free_port
from tests.clients.node import running_inspector

_ADDRESS = re.compile(r"http://\S+MCP_INSPECTOR_API_TOKEN=\w+")


@contextmanager
def inspecting(url: str, *arguments: str, era: str, home: Path) -> Iterator[str]:
    """The address of a running Inspector that knows the server at this URL, in an era of the protocol."""
    ports = {
        name: str(find_free_port()) for name in ("CLIENT_PORT", "MCP_SANDBOX_PORT", "MCP_APP_ORIGIN_PORT")
    }
    environment = {**ports, "MCP_AUTO_OPEN_ENABLED": "false", "MCP_INSPECTOR_SECRET_STORE": "memory"}
    known = ("--web", "--transport", "http", "--protocol-era", era, "--server-url", url)
    with running_inspector([*known, *arguments], home=home, environment=environment) as process:
        yield _read_address(process)


class Pages:
    """Its pages, as a person uses them."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def connect(self) -> None:
        self.page.get_by_role("switch", name="Connect or disconnect").click(force=True)

    def open(self, screen: str) -> None:
        self.page.get_by_role("radiogroup").first.get_by_text(screen, exact=True).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def fill(self, label: str, text: str) -> None:
        self.page.get_by_role("textbox", name=label, exact=True).fill(text)

    def see(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()

    def run_tool(self, name: str, **arguments: str) -> None:
        self.press(name)
        for label, text in arguments.items():
            self.fill(label, text)
        self.press("Execute Tool")


def _read_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := _ADDRESS.search(line):
            return found[0]
    pytest.fail(f"The Inspector ended: {''.join(lines)}")
