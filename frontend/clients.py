"""What each MCP client needs to connect: blocks to paste and one-click links. No secret is ever in them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

PLACEHOLDER: Final = "YOUR_API_KEY"
"""Stands where the reader puts their key, in a file of theirs."""

VARIABLE: Final = "MARINA_API_KEY"


@dataclass(frozen=True, slots=True)
class Block:
    """Something to paste. ``where`` says into what; ``note`` is what to know about it."""

    where: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """One tab. ``link`` is a one-click installation, where the client has one."""

    key: str
    label: str
    blocks: tuple[Block, ...]
    link: str = ""
    link_label: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The server to connect to: ``name`` is what the client calls it, ``tool`` one that it offers."""

    url: str
    name: str
    public: bool
    tool: str
    arguments: dict[str, Any]


def clients_for(target: Target) -> list[Client]:
    """Every tab, filled in for one server."""
    return [
        _claude_code(target),
        _claude_desktop(target),
        _cursor(target),
        _vs_code(target),
        _python(target),
        _typescript(target),
        _curl(target),
    ]


def _claude_code(target: Target) -> Client:
    command = f"claude mcp add --transport http {target.name} {target.url}"
    if not target.public:
        command += f' \\\n  --header "Authorization: Bearer ${VARIABLE}"'
    blocks = [Block("Terminal", command)]
    if not target.public:
        blocks.insert(0, _export_key())
    return Client("claude-code", "Claude Code", tuple(blocks))


def _claude_desktop(target: Target) -> Client:
    server: dict[str, Any] = {"command": "marina-stdio", "args": [target.url]}
    if not target.public:
        server["env"] = {VARIABLE: PLACEHOLDER}
    text = _json({"mcpServers": {target.name: server}})
    note = (
        "Open Settings, Developer, Edit Config; then restart Claude. It starts local commands only: marina-stdio comes "
        "with Marina's Python package. Where Claude does not find it, give its whole path (which marina-stdio). "
        "Other hosts with an mcpServers block take the same."
    )
    return Client("claude-desktop", "Claude Desktop", (Block("claude_desktop_config.json", text, note),))


def _cursor(target: Target) -> Client:
    server: dict[str, Any] = {"url": target.url}
    if not target.public:
        server["headers"] = {"Authorization": f"Bearer ${{env:{VARIABLE}}}"}
    config = base64.b64encode(json.dumps(server, separators=(",", ":")).encode()).decode()
    link = f"cursor://anysphere.cursor-deeplink/mcp/install?name={quote(target.name)}&config={quote(config)}"
    text = _json({"mcpServers": {target.name: server}})
    note = "" if target.public else f"Cursor reads the key from {VARIABLE}: set it before you start Cursor."
    blocks = [Block("~/.cursor/mcp.json", text, note)]
    if not target.public:
        blocks.insert(0, _export_key())
    return Client("cursor", "Cursor", tuple(blocks), link, "Add to Cursor")


def _vs_code(target: Target) -> Client:
    server: dict[str, Any] = {"type": "http", "url": target.url}
    inputs: list[dict[str, Any]] = []
    if not target.public:
        server["headers"] = {"Authorization": "Bearer ${input:marina-key}"}
        inputs = [
            {"type": "promptString", "id": "marina-key", "description": "Marina API key", "password": True}
        ]
    document: dict[str, Any] = {"servers": {target.name: server}}
    install: dict[str, Any] = {"name": target.name, **server}
    if inputs:
        document = {"inputs": inputs, **document}
        install["inputs"] = inputs
    link = f"vscode:mcp/install?{quote(json.dumps(install, separators=(',', ':')))}"
    note = "" if target.public else "VS Code asks for the key once and keeps it in its secret storage."
    return Client(
        "vs-code", "VS Code", (Block(".vscode/mcp.json", _json(document), note),), link, "Add to VS Code"
    )


def _python(target: Target) -> Client:
    call = f'        result = await client.call_tool("{target.tool}", {json.dumps(target.arguments)})\n'
    lines = [
        "import asyncio\n",
        *([] if target.public else ["import os\n"]),
        "\n",
        *([] if target.public else ["import httpx2\n"]),
        "from mcp import Client\n",
        *([] if target.public else ["from mcp.client.streamable_http import streamable_http_client\n"]),
        "\n",
        f'URL = "{target.url}"\n',
        "\n\nasync def main() -> None:\n",
    ]
    if target.public:
        lines.append("    async with Client(URL) as client:\n")
    else:
        lines += [
            f'    headers = {{"Authorization": f"Bearer {{os.environ[\'{VARIABLE}\']}}"}}\n',
            "    async with (\n",
            "        httpx2.AsyncClient(headers=headers) as http,\n",
            "        Client(streamable_http_client(URL, http_client=http)) as client,\n",
            "    ):\n",
        ]
    lines += [
        "        for tool in (await client.list_tools()).tools:\n",
        "            print(tool.name)\n",
        call,
        "        print(result.structured_content)\n",
        "\n\nasyncio.run(main())",
    ]
    blocks = [Block("Terminal", 'pip install "mcp>=2.3"'), Block("first_call.py", "".join(lines))]
    if not target.public:
        blocks.insert(1, _export_key())
    return Client("python", "Python SDK", tuple(blocks))


def _typescript(target: Target) -> Client:
    options = (
        ""
        if target.public
        else (
            f",\n  {{ requestInit: {{ headers: {{ Authorization: `Bearer ${{process.env.{VARIABLE}}}` }} }} }},\n"
        )
    )
    text = (
        'import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";\n'
        "\n"
        'const client = new Client({ name: "first-call", version: "1.0.0" });\n'
        "const transport = new StreamableHTTPClientTransport(\n"
        f'  new URL("{target.url}"){options or chr(10)}'
        ");\n"
        "await client.connect(transport);\n"
        "const { tools } = await client.listTools();\n"
        "console.log(tools.map((tool) => tool.name));\n"
        f'const call = {{ name: "{target.tool}", arguments: {json.dumps(target.arguments)} }};\n'
        "const result = await client.callTool(call);\n"
        "console.log(result.structuredContent);\n"
        "await client.close();"
    )
    blocks = [Block("Terminal", "npm install @modelcontextprotocol/client"), Block("first-call.mjs", text)]
    if not target.public:
        blocks.insert(1, _export_key())
    return Client("typescript", "TypeScript SDK", tuple(blocks))


def _curl(target: Target) -> Client:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "curl", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    listing = _curl_request(target, "tools/list", {"_meta": meta})
    calling = _curl_request(
        target, "tools/call", {"name": target.tool, "arguments": target.arguments, "_meta": meta}, target.tool
    )
    blocks = [Block("List the tools", listing), Block("Call one", calling)]
    if not target.public:
        blocks.insert(0, _export_key())
    return Client("curl", "curl", tuple(blocks))


def _curl_request(target: Target, method: str, params: dict[str, Any], name: str = "") -> str:
    headers = ["Content-Type: application/json", "Accept: application/json, text/event-stream"]
    headers += ["MCP-Protocol-Version: 2026-07-28", f"Mcp-Method: {method}"]
    if name:
        headers.append(f"Mcp-Name: {name}")
    lines = [f"curl {target.url}"]
    if not target.public:
        lines.append(f'-H "Authorization: Bearer ${VARIABLE}"')
    lines += [f"-H {_shell_word(header)}" for header in headers]
    body = _json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    lines.append(f"-d {_shell_word(body)}")
    return " \\\n  ".join(lines)


def _shell_word(text: str) -> str:
    """Inside single quotes a shell takes everything as it is, but for the quote itself."""
    return "'" + text.replace("'", "'\\''") + "'"


def _export_key() -> Block:
    return Block(
        "Terminal", f"export {VARIABLE}={PLACEHOLDER}", "Put your own key in place of the placeholder."
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
