"""What every call runs through, as machine code: made by ``config.local.compiling``, used by web processes and tests.

The sources stay the only truth: libraries are used as long as they were made from just these, and where there are none
the interpreter runs the sources.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

_SUFFIX: Final = EXTENSION_SUFFIXES[0]

ROOT: Final = Path(__file__).resolve().parents[2]

FOLDER: Final = ROOT / "build" / "compiled" / _SUFFIX.strip(".").removesuffix(".so")
"""Where the libraries are: those of one version and build of Python, on one kind of machine."""

MANIFEST: Final = "manifest.json"
"""SHA-256 by path: of ``sources``, from the project's root, and of ``libraries``, from the folder."""

GROUP: Final = "marina_compiled"

CODE: Final = f"{GROUP}__mypyc"
"""The library that holds the code of all modules, by the name that mypyc gives it: a module's own only leads there."""

MODULES: Final = (
    "servers.endpoint.eras",
    "servers.endpoint.guard",
    "servers.endpoint.headers",
    "servers.endpoint.lists",
    "servers.endpoint.load",
    "servers.endpoint.methods",
    "servers.endpoint.mirroring",
    "servers.endpoint.routes",
    "servers.endpoint.tracing",
    "servers.endpoint.view",
    "servers.endpoint.wire",
    "servers.execution.clock",
    "servers.services.decisions",
    "servers.services.glimpses",
    "servers.services.live",
    "servers.services.redaction",
    "servers.services.schemas",
    "servers.services.visibility",
    "tenants.access",
    "tenants.audit.batches",
    "tenants.audit.chain",
    "tenants.audit.originals",
    "tenants.audit.records",
    "tenants.audit.statements",
    "tenants.audit.waiting",
)
"""Those that every call runs through and that wait for nothing. ``tests/config/test_compiled.py`` holds them to that:

- No coroutine. A compiled one has no handled exception of its own: after an ``await`` in its ``except`` or ``finally``
  it raises whichever another task is handling.
- Nothing that runs long in a thread: compiled code does not let go of the interpreter, so the event loop would wait.
- No value in a class's body (``code = "…"`` of an error), but fields of dataclasses and tuples, and what is marked
  ``ClassVar``: where the base is not compiled, it would be lost.
"""

logger = logging.getLogger(__name__)


def source_of(module: str) -> Path:
    """Where a module's source is, from the project's root."""
    path = Path(*module.split(".")).with_suffix(".py")
    return "platform" / path if module.startswith(("core.", "config.", "marina.")) else path


def library_of(module: str) -> Path:
    """Where a module's library is, from the folder of libraries."""
    path = Path(*module.split("."))
    return path.with_name(path.name + _SUFFIX)


def digests_of(paths: Iterable[str], root: Path = ROOT) -> dict[str, str]:
    """SHA-256 by path from ``root``. Raises ``OSError`` where one is away."""
    return {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in paths}


def is_fresh(folder: Path = FOLDER) -> bool:
    """Whether all libraries are there, as they were made, and from the sources as they are now."""
    try:
        made: dict[str, dict[str, str]] = json.loads((folder / MANIFEST).read_bytes())
        sources, libraries = made["sources"], made["libraries"]
        return (
            libraries.keys() == {str(library_of(module)) for module in (*MODULES, CODE)}
            and {str(source_of(module)) for module in MODULES} <= sources.keys()
            and libraries == digests_of(libraries, folder)
            and sources == digests_of(sources)
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def use_compiled(folder: Path = FOLDER) -> bool:
    """Have the modules imported from their libraries, in this process, from now on. Whether there are fresh ones.

    Call it before any of them is imported: ``RuntimeError`` otherwise, as half of them would be the interpreter's.
    """
    if not is_fresh(folder):
        return False
    imported = [module for module in MODULES if module in sys.modules]
    if imported:
        raise RuntimeError(f"{imported[0]} is imported already")
    finder = _Libraries(folder)
    sys.meta_path.insert(0, finder)
    try:
        import_module(CODE)
    except ImportError:
        sys.meta_path.remove(finder)
        logger.warning("the compiled libraries cannot be loaded here: the sources are run", exc_info=True)
        return False
    return True


def uses_compiled() -> bool:
    """Whether this process imports the modules from their libraries."""
    return any(isinstance(finder, _Libraries) for finder in sys.meta_path)


class _Libraries(MetaPathFinder):
    """Finds the modules' libraries, and the one that holds their code."""

    def __init__(self, folder: Path) -> None:
        self._files = {module: folder / library_of(module) for module in (*MODULES, CODE)}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``MetaPathFinder``."""
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)
