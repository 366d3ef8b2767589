"""An OpenAPI document of a thousand operations, of the kind that programs write: plain data, the same each time."""

from __future__ import annotations

from typing import Any, Final

OPERATIONS: Final = 1_000
_SCHEMAS: Final = 200


def make_document() -> dict[str, Any]:
    """Reads and writes with parameters, bodies and answers that share two hundred schemas, in families of four."""
    paths: dict[str, Any] = {}
    for number in range(OPERATIONS // 2):
        paths[f"/things-{number}/{{id}}"] = {
            "get": _operation(number, "get"),
            "put": _operation(number, "put"),
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "A thousand operations", "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": paths,
        "components": {"schemas": {f"Thing{number}": _schema(number) for number in range(_SCHEMAS)}},
    }


def _operation(number: int, method: str) -> dict[str, Any]:
    body = {"content": {"application/json": {"schema": _reference(number)}}}
    return {
        "operationId": f"{method}_thing_{number}",
        "summary": f"{method.title()} thing {number}",
        "description": "What it does, in a sentence or two that a model reads before it calls it.",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}},
            {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
            {
                "name": "page",
                "in": "query",
                "schema": {"type": "integer", "default": 1},
                "description": "Which page",
            },
        ],
        **({"requestBody": {**body, "required": True}} if method == "put" else {}),
        "responses": {"200": {"description": "The thing", **body}},
    }


def _schema(number: int) -> dict[str, Any]:
    properties = {
        f"field_{each}": {"type": "string", "description": "What the field holds", "maxLength": 200}
        for each in range(10)
    }
    near = {"part": _reference(number - 1)} if number % 4 else {}
    return {"type": "object", "required": ["field_0"], "properties": {**properties, **near}}


def _reference(number: int) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/Thing{number % _SCHEMAS}"}
