"""Looks at a tool's Python before it is saved: whether it is Python, and whether it names what is not there.

It is parsed, never run: what the sandbox's Python does not have, only a run can tell.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Final

MAX_CHARACTERS: Final = 64 * 1024
MAX_FAULTS: Final = 10

_BUILTINS: Final = frozenset(dir(builtins)) | {"__name__", "__file__"}
_OUTSIDE: Final = re.compile(r"[^A-Za-z0-9_]")


def function_name(tool: str) -> str:
    """What a tool is called in code: its name with an underscore for what no name may have."""
    name = _OUTSIDE.sub("_", tool)
    return f"_{name}" if name[:1].isdigit() else name


def check_code(code: str, known: Iterable[str]) -> list[str]:
    """What is wrong, each with its line. ``known`` are the names that it finds there: parameters and tools."""
    if len(code) > MAX_CHARACTERS:
        return [f"It may have {MAX_CHARACTERS} characters."]
    if not code.strip():
        return ["Write the code of the tool. The value of its last expression is the result."]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            tree = compile(code, "tool.py", "exec", flags, dont_inherit=True)
    except SyntaxError as fault:
        return [f"line {fault.lineno or 1}: {fault.msg}."]
    except (ValueError, RecursionError, MemoryError):
        return ["It holds a NUL character, or is nested too deeply to be read."]
    assert isinstance(tree, ast.Module)  # noqa: S101 - that is what the flags ask for
    return _unknown_names(tree, set(known))[:MAX_FAULTS]


def _unknown_names(tree: ast.Module, known: set[str]) -> list[str]:
    # As if all scopes were one: a name that is set anywhere is taken for known, so nothing sound is refused.
    known |= _BUILTINS | set(_set_names(tree))
    first: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            first.setdefault(node.id, node.lineno)
    return [
        f"line {line}: nothing is called {name}. Parameters are declared, and tools are named in tools."
        for name, line in sorted(first.items(), key=lambda pair: pair[1])
    ]


def _set_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.alias(name=name, asname=other):
                yield other or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
