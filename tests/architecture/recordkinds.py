"""Finds in the sources what kinds of record the code can write. Runs none of it.

Each record is an ``Entry``. From its ``kind`` this follows the source text back: through names, conditional values and
constants of other modules, and through parameters to whatever calls that function. Where it cannot follow, it says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: its tree, who encloses what, and what it imports by name from where."""

    name: str
    tree: ast.Module
    enclosing: dict[ast.AST, tuple[ast.ClassDef | None, Function | None]]
    imported: dict[str, tuple[str, str]]


@dataclass(slots=True)
class Found:
    """What was followed to its end, and the places where that was not possible."""

    kinds: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)


class Sources:
    """All modules below some folders, read once."""

    def __init__(self, roots: dict[Path, str]) -> None:
        self.modules = {
            module.name: module
            for root, prefix in roots.items()
            for path in sorted(root.rglob("*.py"))
            if not {"node_modules", "migrations"} & set(path.parts)
            for module in [_read(path, root, prefix)]
        }

    def kinds(self, of: str) -> Found:
        """Every value that ``kind`` can have where an ``of`` is made."""
        found = Found()
        seen: set[tuple[str, str, str]] = set()
        for module, call in self._calls(of, method=False, defined_in=None):
            given = next((word.value for word in call.keywords if word.arg == "kind"), None)
            if given is None:
                found.lost.add(f"{module.name}: {ast.unparse(call)[:80]}")
            else:
                self._follow(given, module, call, found, seen)
        return found

    def _follow(
        self,
        value: ast.expr,
        module: Module,
        at: ast.AST,
        found: Found,
        seen: set[tuple[str, str, str]],
    ) -> None:
        inside, function = module.enclosing.get(at, (None, None))
        match value:
            case ast.Constant(value=str(text)):
                found.kinds.add(text)
            case ast.IfExp(body=body, orelse=orelse):
                self._follow(body, module, at, found, seen)
                self._follow(orelse, module, at, found, seen)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if inside is not None:
                made = next((each for each in inside.body if _is_init(each)), None)
                if made is not None and name in _parameters(made):
                    self._follow_calls(inside.name, made, name, module, found, seen, skip=1)
                else:
                    found.lost.add(f"{module.name}: {ast.unparse(value)}")
            case ast.Name(id=name):
                if function is not None and (assigned := list(_assigned(name, function))):
                    for each in assigned:
                        self._follow(each, module, at, found, seen)
                elif function is not None and name in _parameters(function):
                    self._follow_calls(
                        function.name, function, name, module, found, seen, skip=inside is not None
                    )
                else:
                    self._follow_global(name, module, at, found, seen)
            case _:
                found.lost.add(f"{module.name}: {ast.unparse(value)}")

    def _follow_global(
        self, name: str, module: Module, at: ast.AST, found: Found, seen: set[tuple[str, str, str]]
    ) -> None:
        home, called = module.imported.get(name, (module.name, name))
        values = list(_assigned(called, self.modules[home].tree)) if home in self.modules else []
        if not values:
            found.lost.add(f"{module.name}: {name}")
        for each in values:
            self._follow(each, self.modules[home], at, found, seen)

    def _follow_calls(
        self,
        called: str,
        function: Function,
        parameter: str,
        home: Module,
        found: Found,
        seen: set[tuple[str, str, str]],
        *,
        skip: int,
    ) -> None:
        if (home.name, called, parameter) in seen:
            return
        seen.add((home.name, called, parameter))
        positions = [each.arg for each in function.args.args][skip:]
        method = bool(skip) and function.name != "__init__"
        for module, call in self._calls(called, method=method, defined_in=home.name):
            given = next((word.value for word in call.keywords if word.arg == parameter), None)
            if given is None and parameter in positions and len(call.args) > positions.index(parameter):
                given = call.args[positions.index(parameter)]
            if given is None:
                found.lost.add(f"{module.name}: {ast.unparse(call)[:80]}")
            else:
                self._follow(given, module, call, found, seen)

    def _calls(
        self, called: str, *, method: bool, defined_in: str | None
    ) -> Iterator[tuple[Module, ast.Call]]:
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if not isinstance(node, ast.Call):
                    continue
                if method:
                    if isinstance(node.func, ast.Attribute) and node.func.attr == called:
                        yield module, node
                elif isinstance(node.func, ast.Name):
                    home, name = module.imported.get(node.func.id, (module.name, node.func.id))
                    if name == called and defined_in in {None, home}:
                        yield module, node
                elif isinstance(node.func, ast.Attribute) and node.func.attr == called:
                    owner = ast.unparse(node.func.value).rpartition(".")[2]
                    home = ".".join(module.imported.get(owner, ("", owner)))
                    if defined_in in {None, home}:
                        yield module, node


def _read(path: Path, root: Path, prefix: str) -> Module:
    name = ".".join((prefix, *path.relative_to(root).with_suffix("").parts)).strip(".")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    enclosing: dict[ast.AST, tuple[ast.ClassDef | None, Function | None]] = {}
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }

    def descend(node: ast.AST, inside: ast.ClassDef | None, function: Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            enclosing[child] = (inside, function)
            if isinstance(child, ast.ClassDef):
                descend(child, child, None)
            elif isinstance(child, Function):
                descend(child, inside, child)
            else:
                descend(child, inside, function)

    descend(tree, None, None)
    return Module(name, tree, enclosing, imported)


def _is_init(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _parameters(function: Function) -> set[str]:
    arguments = function.args
    return {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def _assigned(name: str, within: Function | ast.Module) -> Iterator[ast.expr]:
    """What is assigned to ``name`` there: anywhere in a function, at the top of a module."""
    for node in within.body if isinstance(within, ast.Module) else ast.walk(within):
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            if isinstance(node.target, ast.Name) and node.target.id == name:
                yield node.value
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            yield node.value
