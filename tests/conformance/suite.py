"""Runs the official conformance suite of MCP, unmodified, and reads its results. Judges nothing itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config.local.node import find_node_folder
from config.local.process import kill_group, start_process

FOLDER = Path(__file__).resolve().parent
PROGRAM = FOLDER / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

_BEGUN = re.compile(r"Running client scenario '([^']+)'")
_RESULT_FOLDER = re.compile(r"^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$")
_COUNTED = frozenset({"SUCCESS", "FAILURE"})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the suite looked at. ``status`` is SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""

    scenario: str
    name: str
    status: str
    description: str
    message: str


@dataclass(frozen=True, slots=True)
class Window:
    """When a scenario ran, in seconds since the epoch."""

    began: float
    ended: float


@dataclass(slots=True)
class Run:
    """What one start of the suite found."""

    checks: list[Check]
    windows: dict[str, Window]
    output: str = field(repr=False)

    @property
    def counts(self) -> Counter[str]:
        """Scenario → its checks that passed or failed."""
        return Counter(check.scenario for check in self.checks if check.status in _COUNTED)

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.status == "FAILURE"]


def run_requirements(url: str, revision: str, results: Path) -> Run:
    """Run each scenario that ``revision`` asks of a server, and those it only looks at."""
    return _run(["--url", url, "--requirements", revision], results)


def run_scenario(url: str, revision: str, scenario: str, results: Path) -> Run:
    """Run one scenario on the wire of ``revision``."""
    return _run(["--url", url, "--scenario", scenario, "--spec-version", revision, "--force"], results)


def describe(checks: Iterable[Check]) -> str:
    """A line or two for each check: its scenario, its name, and what was wrong."""
    lines = []
    for check in checks:
        lines.append(f"{check.scenario}: {check.name} ({check.description})")
        if check.message:
            lines.append(f"    {check.message}")
    return "\n".join(lines)


@contextmanager
def running(*arguments: str, home: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """The suite's program, of which nothing is left afterwards."""
    assert PROGRAM.exists(), (
        "The conformance suite is not installed. Run `make test`, which installs it, or: "
        "cd tests/conformance && ../../.venv/bin/python -m config.local.node npm ci"
    )
    path = os.environ.get("PATH", os.defpath)
    process = start_process(
        [_find_node(), str(PROGRAM), *arguments],
        env={"PATH": path, "HOME": str(home), "NO_COLOR": "1", **variables},
        cwd=FOLDER,
    )
    try:
        yield process
    finally:
        kill_group(process.pid)
        process.wait()


def read_checks(scenario: str, path: Path) -> list[Check]:
    """What the suite wrote down of a scenario."""
    return [
        Check(
            scenario,
            row.get("name") or row["id"],
            row["status"],
            row.get("description", ""),
            row.get("errorMessage") or "",
        )
        for row in json.loads(path.read_text())
    ]


def _run(arguments: Sequence[str], results: Path) -> Run:
    with running("server", *arguments, "--output-dir", str(results), home=results) as process:
        output, began = _read_output(process)
    ends = [*(moment for _, moment in began[1:]), time.time()]
    windows = {name: Window(moment, end) for (name, moment), end in zip(began, ends, strict=True)}
    found = {path: _RESULT_FOLDER.match(path.parent.name) for path in results.glob("*/checks.json")}
    checks = [check for path, match in found.items() if match for check in read_checks(match[1], path)]
    # What the suite could not finish has no file of results.
    reported = {check.scenario for check in checks}
    checks += [
        Check(name, name, "FAILURE", "the suite could not run it", _said_of(name, output))
        for name in windows.keys() - reported
    ]
    assert windows, f"The suite ran no scenario:\n{output}"
    order = list(windows)
    checks.sort(key=lambda check: order.index(check.scenario))
    return Run(checks, windows, output)


def _read_output(process: subprocess.Popen[bytes]) -> tuple[str, list[tuple[str, float]]]:
    """All that the suite prints; and when each scenario began."""
    assert process.stdout is not None
    lines, began = [], []
    for raw in process.stdout:
        line = raw.decode(errors="replace")
        lines.append(line)
        if match := _BEGUN.search(line):
            began.append((match[1], time.time()))
    process.stdout.close()
    return "".join(lines), began


def _said_of(scenario: str, output: str) -> str:
    _, _, said = output.partition(f"Failed to run scenario {scenario}:")
    return said.strip().split("\n", 1)[0]


def _find_node() -> str:
    search = os.environ.get("PATH", os.defpath)
    if (folder := find_node_folder()) is not None:
        search = f"{folder}{os.pathsep}{search}"
    node = shutil.which("node", path=search)
    assert node is not None, "config.local.node found no node"
    return node
