"""A whole local run with small stand-ins for Marina's own programs. The supervisor, PostgreSQL and Redis are real.

``python stand_ins.py run`` is the supervisor; the other words are what it starts. ``STAND_IN_<NAME>`` says how
one of them behaves: ``die`` (after saying why), ``stubborn`` (ignores SIGTERM and has a child that does too).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from config.local.options import ROOT, read_options
from config.local.output import Console
from config.local.plan import Command, Plan
from config.local.run import run_marina

ROLES = ("owner", "admin", "editor", "viewer", "auditor")


def run() -> int:
    """As ``python -m config.local``, with a plan of stand-ins."""
    environ = dict(os.environ)
    options = read_options(environ)

    def stand_in(name: str, *words: str) -> Command:
        return Command(name, (sys.executable, __file__, *(words or (name,))))

    demo = options.home / "demo-tenant.json"
    url = f"http://127.0.0.1:{options.port}"
    plan = Plan(
        before=(stand_in("setup"),),
        services=tuple(stand_in(name) for name in ("web", "worker", "exporter", "runner", "beat")),
        after=(
            stand_in("demo", "demo", str(demo)),
            Command("call", (sys.executable, "-m", "config.local.first_call", str(demo), url)),
        ),
        demo=demo,
        cwd=ROOT,
    )
    return run_marina(options, plan, inherited=environ, console=Console(sys.stdout, colour=False))


def setup() -> int:
    """Keeps a row in the database a run, and says how many there are."""
    import psycopg

    behave("setup")
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("create table if not exists runs (at timestamptz default now())")
        connection.execute("insert into runs default values")
        count = connection.execute("select count(*) from runs").fetchone()
    print("runs so far:", count and count[0], flush=True)
    return 0


def demo() -> int:
    """Leaves what ``load_demo`` leaves."""
    users = {
        role: {"email": f"{role}@demo.example", "password": "secret-" + role, "more": 1} for role in ROLES
    }
    value = {"tenant": "demo", "api_key": "mcp_live_a_b", "admin_key": "mcp_live_c_d", "users": users}
    Path(sys.argv[2]).write_text(json.dumps(value))
    return 0


class Web(BaseHTTPRequestHandler):
    """Answers what the supervisor's check asks for."""

    def do_GET(self) -> None:
        """``/ready``."""
        self._answer({"status": "ready"})

    def do_POST(self) -> None:
        """``/mcp/demo``, for the demo's key only."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/mcp/demo" and self.headers["Authorization"] == "Bearer mcp_live_a_b":
            called = f"{self.headers['Mcp-Method']} {self.headers['Mcp-Name']}"
            self._answer(
                {"jsonrpc": "2.0", "id": body["id"], "result": {"structuredContent": {"called": called}}}
            )
        else:
            self._answer(
                {"jsonrpc": "2.0", "id": body["id"], "error": {"code": -32001, "message": "who are you?"}}
            )

    def _answer(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def web() -> int:
    """Serves until it is ended."""
    behave("web")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Web).serve_forever()
    return 0


def wait(name: str) -> int:
    """Does nothing until it is ended."""
    behave(name)
    print(f"{name} waits \x1b[2J", flush=True)
    while True:
        signal.pause()


def behave(name: str) -> None:
    """What the environment wants of this stand-in."""
    how = os.environ.get(f"STAND_IN_{name.upper()}")
    if how == "die":
        print(f"{name}: the disk is on fire", flush=True)
        sys.exit(7)
    if how == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # SIGTERM stays ignored in a program that an ignoring process starts.
        subprocess.Popen([sys.executable, __file__, "wait", name + "-child"])


def main() -> int:
    """Be the program that the first argument names."""
    match sys.argv[1]:
        case "run":
            return run()
        case "setup":
            return setup()
        case "demo":
            return demo()
        case "web":
            return web()
        case "wait":
            return wait(sys.argv[2])
        case name:
            return wait(name)


if __name__ == "__main__":
    sys.exit(main())
