"""An MCP server of 2025-11-25 over stdio that runs what code a call gives it, and is as odd as its arguments say."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

KINDS = frozenset(sys.argv[1:])
HANDSHAKE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "odd", "version": "1"},
}
TOOL = {"name": "run", "description": "Runs code.", "inputSchema": {"type": "object"}}


def write(message: Any) -> None:
    # Not where the code that a call gives prints to.
    out = sys.__stdout__ or sys.stdout
    out.write(json.dumps(message) + "\n")
    out.flush()


def run(code: str) -> dict[str, Any]:
    said = io.StringIO()
    failed = False
    try:
        with contextlib.redirect_stdout(said):
            exec(code, {"write": write, "os": os, "sys": sys, "time": time})
    except BaseException:  # noqa: BLE001 - told to the test
        said.write(traceback.format_exc())
        failed = True
    return {"content": [{"type": "text", "text": said.getvalue()}], "isError": failed}


def answer(message: Any) -> None:
    method, rpc_id = message.get("method"), message.get("id")
    if rpc_id is None or method is None:
        return
    if method == "initialize":
        write({"jsonrpc": "2.0", "id": rpc_id, "result": HANDSHAKE})
    elif method == "tools/list":
        write({"jsonrpc": "2.0", "id": rpc_id, "result": {"tools": [TOOL]}})
    elif method == "tools/call":
        write({"jsonrpc": "2.0", "id": rpc_id, "result": run(message["params"]["arguments"]["code"])})
    elif method == "ping":
        write({"jsonrpc": "2.0", "id": rpc_id, "result": {}})
    elif "touchy" in KINDS:
        sys.exit("anything but a handshake is not taken")
    else:
        write({"jsonrpc": "2.0", "id": rpc_id, "error": {"code": -32601, "message": "Method not found"}})


if "deaf" in KINDS:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "talkative" in KINDS:
    print("Welcome to the odd server!", flush=True)
if "telling" in KINDS:
    print(f"the key is {os.environ.get('KEY')}", file=sys.stderr, flush=True)
if "ending" in KINDS:
    print("no such option", file=sys.stderr, flush=True)
    sys.exit(3)
if "silent" in KINDS:
    time.sleep(3_600)
for line in sys.stdin:
    answer(json.loads(line))
while "deaf" in KINDS:
    time.sleep(1)
