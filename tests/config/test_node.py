"""The Node.js that builds the pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config.local import node
from config.local.node import find_node_folder


@pytest.mark.parametrize("program", ["node", "npm", "npx"])
def test_a_program_of_the_chosen_node_starts(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "config.local.node", program, "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().lstrip("v")[0].isdecimal()


def test_an_old_node_on_the_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, line in {"node": "echo v20.20.2", "npm": "echo 10.0.0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    folder = find_node_folder()
    assert folder is not None
    assert (folder / "npm").exists()
    monkeypatch.setattr(node, "NEEDED", (20, 0))
    assert find_node_folder() is None
