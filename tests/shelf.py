"""A kind of data source for tests: what it offers is on a shelf that a test fills, and may change afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.contract import (
    Context,
    Offered,
    OfferedPrompt,
    OfferedResource,
    Offering,
    Operation,
    Outcome,
    Source,
)
from tests.plainkind import PlainKind, add_kinds

KIND: Final = "shelf"

SHELVES: Final[dict[str, Offering]] = {}
"""What a source offers whose setting ``shelf`` is this name."""


class ShelfBackend(PlainKind):
    """Implements ``servers.execution.contract.Backend``. Its settings have one of each type."""

    kind = KIND
    title = "Shelf"
    settings_schema: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["shelf"],
        "properties": {
            "shelf": {"type": "string", "title": "Shelf", "description": "Which one.", "maxLength": 80},
            "token": {"type": "string", "title": "Token", "writeOnly": True},
            "depth": {"type": "integer", "title": "Depth", "minimum": 1, "maximum": 9, "default": 3},
            "width": {"type": "number", "title": "Width", "default": 1.5},
            "locked": {"type": "boolean", "title": "Locked"},
            "colour": {"type": "string", "enum": ["red", "green"], "default": "green"},
            "labels": {"type": "array", "items": {"type": "string"}},
        },
    }
    secret_settings: frozenset[str] = frozenset({"token"})

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(settings) - set(self.settings_schema["properties"]))
        if unknown or not settings.get("shelf"):
            path = unknown[0] if unknown else "shelf"
            raise InvalidInput(f"{path} is wrong.", errors=[{"path": path, "message": "is wrong."}])
        return dict(settings)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return SHELVES.get(settings["shelf"], Offering())

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        raise InvalidInput(
            "A shelf takes no tools.", errors=[{"path": "kind", "message": "A shelf takes none."}]
        )

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        return Outcome(structured=dict(arguments), text="", size=0)


def add_shelf_kind() -> None:
    """Give this process the kind beside Marina's own, where it has it not yet."""
    add_kinds(ShelfBackend())


def shelf_tool(name: str, **changed: Any) -> Offered:
    """A tool for a shelf."""
    values: dict[str, Any] = {
        "title": name.title(),
        "description": f"Does {name}.",
        "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}},
        "output_schema": None,
        "annotations": {"readOnlyHint": True},
        "operation": Operation("take", {"of": name}),
        "icons": ({"src": "https://example.com/icon.png", "sizes": ("48x48",)},),
    }
    return Offered(name=name, **{**values, **changed})


def shelf_resource(uri: str, **changed: Any) -> OfferedResource:
    """A resource for a shelf, or a template where the URI has braces."""
    values: dict[str, Any] = {
        "name": uri.rpartition("/")[2] or uri,
        "title": "",
        "description": f"What is at {uri}.",
        "mime_type": "text/plain",
        "operation": Operation("read", {"uri": uri}),
        "template": "{" in uri,
        "annotations": {"audience": ("user",), "priority": 0.5},
    }
    return OfferedResource(uri=uri, **{**values, **changed})


def shelf_prompt(name: str, **changed: Any) -> OfferedPrompt:
    """A prompt for a shelf."""
    values: dict[str, Any] = {
        "title": name.title(),
        "description": f"Asks for {name}.",
        "arguments": ({"name": "topic", "description": "What about", "required": True},),
        "operation": Operation("prompt", {"of": name}),
    }
    return OfferedPrompt(name=name, **{**values, **changed})


def fill_shelf(name: str, *, tools: object = (), resources: object = (), prompts: object = ()) -> None:
    """Put on the shelf ``name`` tools and prompts by name, and resources by URI, or as given."""
    SHELVES[name] = Offering(
        tools=[shelf_tool(each) if isinstance(each, str) else each for each in _list(tools)],
        resources=[shelf_resource(each) if isinstance(each, str) else each for each in _list(resources)],
        prompts=[shelf_prompt(each) if isinstance(each, str) else each for each in _list(prompts)],
    )


def _list(given: object) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else []
