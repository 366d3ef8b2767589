"""Runs the Node.js clients that the tests drive: the scripts beside this file, and MCP Inspector."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.local.node import find_node_folder

FOLDER = Path(__file__).resolve().parent
INSPECTOR = (
    FOLDER
    / "node_modules"
    / "@modelcontextprotocol"
    / "inspector"
    / "clients"
    / "launcher"
    / "build"
    / "index.js"
)
_SECONDS = 100


def run_client(script: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one of the scripts here on a job, and give what its client saw."""
    _require_packages()
    done = _run([str(FOLDER / script)], given=json.dumps(job))
    assert done.returncode == 0, f"{script} failed:\n{done.stderr}"
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def run_inspector(arguments: Sequence[str], *, home: Path) -> subprocess.CompletedProcess[str]:
    """Run ``mcp-inspector --cli`` with these arguments. ``home`` keeps it from the user's own settings."""
    _require_packages()
    return _run([str(INSPECTOR), "--cli", *arguments], home=home)


@contextmanager
def running_client(script: str, job: Mapping[str, Any]) -> Iterator[Iterable[str]]:
    """One of the scripts here on a job while the block runs, and the lines that it says meanwhile."""
    with _running([str(FOLDER / script)]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        yield process.stdout


@contextmanager
def running_inspector(
    arguments: Sequence[str], *, home: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """MCP Inspector while the block runs: ``--cli …`` or ``--web …``."""
    with _running([str(INSPECTOR), *arguments], home=home, environment=environment) as process:
        yield process


@contextmanager
def running_server(*arguments: str, environment: Mapping[str, str]) -> Iterator[None]:
    """The server ``@modelcontextprotocol/server-everything`` while the block runs."""
    server = FOLDER / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
    with _running([str(server), *arguments], environment=environment):
        yield


@contextmanager
def running_script(script: str, *arguments: str) -> Iterator[None]:
    """One of the scripts here that serve while the block runs."""
    with _running([str(FOLDER / script), *arguments]):
        yield


@contextmanager
def _running(
    arguments: Sequence[str], *, home: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A program of Node.js while the block runs. It is killed at the end where it still runs."""
    _require_packages()
    node, variables = _find_node(home)
    with subprocess.Popen(
        [node, *arguments],
        env={**variables, **(environment or {})},
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _run(
    arguments: Sequence[str], *, given: str = "", home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    node, environment = _find_node(home)
    return subprocess.run(
        [node, *arguments],
        input=given,
        env=environment,
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


def _find_node(home: Path | None) -> tuple[str, dict[str, str]]:
    """The program, and the environment that it runs in."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home or os.environ.get("HOME", "/")),
        "NO_COLOR": "1",
    }
    folder = find_node_folder()
    if folder is not None:
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    node = shutil.which("node", path=environment["PATH"])
    assert node is not None, "config.local.node found no node"
    return node, environment


def _require_packages() -> None:
    assert INSPECTOR.exists(), (
        "The MCP clients for tests are not installed. Run `make test`, which installs them, or: "
        "cd tests/clients && ../../.venv/bin/python -m config.local.node npm ci"
    )
