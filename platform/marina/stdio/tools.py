"""Which arguments of which tools are mirrored into ``Mcp-Param-*`` headers. Pure: does no input or output.

Source: MCP 2026-07-28, Streamable HTTP, Custom Headers from Tool Parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from marina.stdio.wire import HEADER_NAME, encode_header

_KEY: Final = "x-mcp-header"
_TYPES: Final = frozenset({"string", "integer", "boolean"})
# Values of these keywords are data, not schemas: what looks like an annotation there is none.
_DATA: Final = frozenset({"default", "examples", "const", "enum", "required"})
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})

Path = tuple[str, ...]


class InvalidAnnotation(Exception):
    """A tool's schema breaks a rule of ``x-mcp-header``: a client leaves such a tool out of the list."""


class MirroredArguments:
    """What the lists of tools that passed by said of their parameters."""

    def __init__(self) -> None:
        self.was_listed = False
        self._by_tool: dict[str, dict[Path, str]] = {}

    def learn(self, tools: list[Any]) -> dict[str, str]:
        """Remember a page of a list. Gives the tools to leave out, each with the reason."""
        self.was_listed = True
        refused: dict[str, str] = {}
        for tool in tools:
            if not isinstance(tool, dict) or not isinstance(name := tool.get("name"), str):
                continue
            self._by_tool.pop(name, None)
            try:
                if mirrored := read_annotations(tool.get("inputSchema")):
                    self._by_tool[name] = mirrored
            except InvalidAnnotation as error:
                refused[name] = str(error)
        return refused

    def headers(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The headers of one ``tools/call``."""
        headers = {}
        for path, token in self._by_tool.get(str(params.get("name")), {}).items():
            if (text := _render(_value_at(params.get("arguments"), path))) is not None:
                headers[f"Mcp-Param-{token}"] = encode_header(text)
        return headers


def read_annotations(schema: Any) -> dict[Path, str]:
    """The annotated properties, by their path. Raises ``InvalidAnnotation`` with the rule that is broken."""
    found: dict[Path, str] = {}
    for path, node in _positions(schema):
        if _KEY not in node:
            continue
        token = node[_KEY]
        if not path:
            raise InvalidAnnotation(f"{_KEY} stands where no chain of properties leads")
        if not isinstance(token, str) or not HEADER_NAME.fullmatch(token):
            raise InvalidAnnotation(f"{_KEY} of {'.'.join(path)} is no header name")
        kind = node.get("type")
        if not isinstance(kind, str) or kind not in _TYPES:
            raise InvalidAnnotation(f"{_KEY} of {'.'.join(path)} is not on a string, integer or boolean")
        if token.lower() in {other.lower() for other in found.values()}:
            raise InvalidAnnotation(f"{_KEY} {token} is there twice")
        found[path] = token
    return found


def _positions(root: Any) -> Iterator[tuple[Path | None, dict[str, Any]]]:
    """Each schema below ``root``; its path where only ``properties`` lead to it, else None."""
    stack: list[tuple[Path | None, Any]] = [((), root)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, list):
            stack.extend((None, item) for item in node)
            continue
        if not isinstance(node, dict):
            continue
        yield path, node
        for keyword, value in node.items():
            if keyword in _DATA:
                continue
            if keyword in _MAPS and isinstance(value, dict):
                is_chain = keyword == "properties" and path is not None
                stack.extend(
                    ((*(path or ()), name) if is_chain else None, sub) for name, sub in value.items()
                )
            elif isinstance(value, dict | list):
                stack.append((None, value))


def _value_at(arguments: Any, path: Path) -> Any:
    node = arguments
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _render(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
