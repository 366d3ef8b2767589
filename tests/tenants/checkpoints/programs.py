"""Runs the two verifiers as an auditor does: each a program of its own, with files only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from config.local.node import find_node_folder

FOLDER = Path(__file__).resolve().parents[3] / "tenants" / "verifiers"
PROGRAMS = ("python", "typescript")


def verify(program: str, *arguments: object, seconds: float = 60) -> tuple[int, str]:
    """Run one of the two verifiers. Its exit code and what it said."""
    if program == "python":
        command = [sys.executable, "-I", str(FOLDER / "verify_marina_log.py")]
    else:
        folder = find_node_folder()
        node = str(folder / "node") if folder is not None else shutil.which("node")
        assert node is not None
        command = [node, str(FOLDER / "verify_marina_log.ts")]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert "Traceback" not in done.stderr
    assert "node:internal" not in done.stderr
    return done.returncode, done.stdout
