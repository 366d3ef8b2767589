"""Makes one real MCP call as any client would, to show that the whole chain works. Imports nothing of Marina.

Run by the supervisor as ``python -m config.local.first_call DEMO_JSON URL``; the key is in the file.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

PROTOCOL: Final = "2026-07-28"
_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_LONGEST_LINE: Final = 400
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": PROTOCOL,
    "io.modelcontextprotocol/clientInfo": {"name": "marina-first-call", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
# Straight to this machine: a proxy of the environment has no part in it.
_opener: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class CallError(Exception):
    """The endpoint did not give a result. The message says what it gave instead."""


def wait_for_web(url: str, host: str) -> None:
    """Wait until ``/ready`` answers 200. Raises ``CallError`` with what it answered instead."""
    deadline = time.monotonic() + _READY_SECONDS
    last = "no answer"
    while time.monotonic() < deadline:
        request = urllib.request.Request(f"{url}/ready", headers={"Host": host})  # noqa: S310 - our own http URL
        try:
            with _opener.open(request, timeout=5) as answer:
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:
            last = f"HTTP {error.code}: {_shorten(error.read().decode(errors='replace'))}"
            if error.code != 503:
                # 503 is how it says "not yet"; anything else would stay as it is.
                raise CallError(f"{url}/ready answered {last}") from None
        except OSError as error:
            last = str(error)
        time.sleep(_POLL_SECONDS)
    raise CallError(f"{url}/ready did not become ready within {_READY_SECONDS:.0f} s. Last: {last}")


def send_request(url: str, host: str, *, key: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """One JSON-RPC request of protocol 2026-07-28 over Streamable HTTP; its ``result``."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _META}}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Host": host,
        "MCP-Protocol-Version": PROTOCOL,
        "Mcp-Method": method,
    }
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - our own http URL
    try:
        with _opener.open(request, timeout=30) as answer:
            text = answer.read().decode()
            if answer.headers.get_content_type() == "text/event-stream":
                text = _last_event(text)
    except urllib.error.HTTPError as error:
        raise CallError(
            f"{method}: HTTP {error.code}: {_shorten(error.read().decode(errors='replace'))}"
        ) from None
    except OSError as error:
        raise CallError(f"{method}: {error}") from None
    reply = json.loads(text)
    if "result" not in reply:
        raise CallError(f"{method}: {_shorten(json.dumps(reply.get('error', reply), ensure_ascii=False))}")
    result: dict[str, Any] = reply["result"]
    return result


def describe_result(result: dict[str, Any]) -> str:
    """What came back, on one line."""
    structured = result.get("structuredContent")
    if isinstance(structured, dict):
        # Rows say more than what their columns are called and typed.
        return _shorten(json.dumps(structured.get("rows", structured), ensure_ascii=False))
    texts = [part.get("text", f"[{part.get('type')}]") for part in result.get("content", [])]
    return _shorten(" ".join(texts))


def main(demo_file: str, url: str) -> int:
    """Wait, call, print. Returns the process's exit code."""
    demo = json.loads(Path(demo_file).read_text(encoding="utf-8"))
    host = urllib.parse.urlsplit(demo.get("base_url") or url).netloc
    endpoint = f"{url}{demo.get('mcp_path') or '/mcp/' + demo['tenant']}"
    call = demo.get("first_call") or {"name": "list_tables", "arguments": {}}
    try:
        wait_for_web(url, host)
        started = time.perf_counter()
        result = send_request(endpoint, host, key=demo["api_key"], method="tools/call", params=call)
    except CallError as error:
        print(error)
        return 1
    milliseconds = (time.perf_counter() - started) * 1000
    outcome = "an error" if result.get("isError") else "a result"
    shown = json.dumps(call["arguments"], ensure_ascii=False)
    print(f"tools/call {call['name']} {_shorten(shown)} gave {outcome} in {milliseconds:.0f} ms:")
    print(describe_result(result))
    return 1 if result.get("isError") else 0


def _last_event(text: str) -> str:
    """The data of a stream's last event: the response comes after any notification."""
    return [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")][-1]


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]} … ({len(text):,} characters)"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
