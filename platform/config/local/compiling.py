"""``python -m config.local.compiling``: makes the libraries of ``config.compiled`` by mypyc, unless they are fresh."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from config.compiled import (
    CODE,
    FOLDER,
    GROUP,
    MANIFEST,
    MODULES,
    ROOT,
    digests_of,
    is_fresh,
    library_of,
    source_of,
)

_MADE_WITH: Final = (
    "pyproject.toml",
    "requirements.lock",
    "platform/config/compiled.py",
    "platform/config/local/compiling.py",
)

_LOADING: Final = """
import os
import sys
from importlib import import_module
from pathlib import Path
import django
from config.compiled import MODULES, use_compiled
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
if not use_compiled(Path(sys.argv[1])):
    sys.exit("error: the libraries cannot be loaded")
django.setup()
for module in MODULES:
    import_module(module)
"""


class CannotCompile(Exception):
    """mypyc or the compiler refused, or is not there; the text is what they said, or what mends it."""


def compile_modules(folder: Path) -> None:
    """Make all libraries, try them, and put them in place at once.

    Raises ``CannotCompile``, ``OSError`` and ``SyntaxError``.
    """
    before = _digests()
    # Beside the folder, so that a name is all that changes. What was in its place goes with the rest.
    with TemporaryDirectory(prefix="making-", dir=folder.parent) as name:
        work = Path(name)
        _run_mypyc(work)
        made = work / "libraries"
        if _digests() != before:
            raise CannotCompile("The sources changed meanwhile. Run make again.")
        libraries = digests_of((str(library_of(module)) for module in (*MODULES, CODE)), made)
        (made / MANIFEST).write_text(json.dumps({"sources": before, "libraries": libraries}))
        _try(made)
        if folder.exists():
            folder.rename(work / "before")
        made.rename(folder)


def imported_by(sources: Iterable[Path]) -> Iterator[Path]:
    """The modules of this project that these import. Their types and constants are in the machine code, too."""
    for source in sources:
        for node in ast.walk(ast.parse((ROOT / source).read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                yield from (path for path in map(source_of, named) if (ROOT / path).is_file())


def _digests() -> dict[str, str]:
    sources = [source_of(module) for module in MODULES]
    return digests_of(sorted({*map(str, sources), *map(str, imported_by(sources)), *_MADE_WITH}))


def _run_mypyc(work: Path) -> None:
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which(compiler) is None or not headers.is_file():
        raise CannotCompile(
            f"There is no {compiler}, or not Python's headers ({headers}). "
            "Debian and Ubuntu: apt-get install gcc python3-dev."
        )
    # What compiles takes its options from the command line and the working directory.
    _run("-m", "config.local.compiling", str(work))


def _try(folder: Path) -> None:
    """Load all of it: a library that is broken ends the process that loads it."""
    _run("-c", _LOADING, str(folder))


def _run(*arguments: str) -> None:
    """Run Python in a process of its own. Raises ``CannotCompile``."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).splitlines() or [f"It ended with {done.returncode}."]
        faults = [line for line in said if "error" in line.lower()] or said[-10:]
        raise CannotCompile("\n".join(faults))


def _build(work: Path) -> None:
    from mypyc.build import mypycify
    from setuptools import setup

    extensions = mypycify(
        [str(source_of(module)) for module in MODULES],
        group_name=GROUP,
        target_dir=str(work / "c"),
        debug_level="0",
    )
    setup(
        name="marina-compiled",
        packages=[],
        ext_modules=extensions,
        script_args=[
            *("--quiet", "build_ext"),
            *("--build-lib", str(work / "libraries"), "--build-temp", str(work / "objects")),
        ],
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other ``make`` is at it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """Make what is not fresh. Where that cannot be, Marina runs all the same, and it is said what that costs."""
    if arguments:
        _build(Path(arguments[0]))
        return 0
    if is_fresh():
        return 0
    try:
        with _alone(FOLDER):
            if not is_fresh():
                print("Compiling what every call runs through (half a minute, once) …", flush=True)
                compile_modules(FOLDER)
    except (CannotCompile, OSError, SyntaxError) as fault:
        print(
            f"{fault}\nSo what every call runs through is not compiled: a call takes a sixth more processor time.",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
