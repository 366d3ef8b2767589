"""Runs the Python clients that have an environment of their own: the scripts in ``python/``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "python"
_SECONDS = 100


def run_python_client(environment: str, script: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one of the scripts on a job, and give what its client saw."""
    home = Path(sys.prefix) / "clients" / environment
    python = home / "bin" / "python"
    assert python.exists(), (
        "The Python clients for tests are not installed. Run `make test`, which installs them, or: "
        "make test-clients"
    )
    done = subprocess.run(
        [str(python), str(FOLDER / script)],
        input=json.dumps(job),
        # Nothing of the tests' own environment reaches a client.
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "NO_PROXY": "*",
        },
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, f"{script} failed:\n{done.stderr}"
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
