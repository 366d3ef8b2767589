"""The tools that every measured system offers: an echo first, then others of the same shape. Plain data."""

from __future__ import annotations

from typing import Any, Final

ECHO: Final = "echo"
KEPT: Final = "echo_001"
"""The tool whose results Marina keeps: an echo like the others."""
TEXT: Final = "The quick brown fox jumps over the lazy dog."
"""What the measured calls say, and what must come back."""

ROW_TOOL: Final = "find_item"
ROW_SQL: Final = "SELECT id, name, city FROM items WHERE id = {id}"
ROW_COUNT: Final = 20_000
ROW_ID: Final = 12_345
ROW: Final = {"id": ROW_ID, "name": f"item {ROW_ID}", "city": "Utrecht"}
ROW_TABLE: Final = (
    "CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, city text NOT NULL);"
    f"INSERT INTO items SELECT n, 'item ' || n, 'Utrecht' FROM generate_series(1, {ROW_COUNT}) AS n;"
    "ANALYZE items"
)


PIPELINE: Final = "ten_echoes"
PIPELINE_STEPS: Final = 10

MANY_TEAM: Final = "bench-many"
UPSTREAMS: Final = 200
UPSTREAM_TOOLS: Final = 50
"""A team with as many upstream servers, each with as many tools."""

BAD_TEAM: Final = "bench-bad"
SPINNING: Final = "spin"
EATING: Final = "eat"
"""The bad neighbour's team, and the tools in Python that it has."""

LONG_TEAMS: Final = ("long-a", "long-b", "long-c")
"""Of the bench of long work."""

AT_ONCE: Final = "stamp_at_once"
STAMP: Final = "stamp"
STEPS: Final = "steps"
HOLD: Final = "hold"
"""Its tools."""


def describe_pipeline() -> dict[str, Any]:
    """A pipeline of so many echoes, each of what the one before gave."""
    steps = [
        {
            "tool": ECHO,
            "args": {"text": f"${{step{number - 1}.text}}" if number else "$text"},
            "output": f"step{number}",
        }
        for number in range(PIPELINE_STEPS)
    ]
    last = f"${{step{PIPELINE_STEPS - 1}.text}}"
    return {"parameters": {"text": {"type": "string"}}, "steps": steps, "result": last}


def describe_tools(count: int) -> list[dict[str, Any]]:
    """Name, title, description, input and output schema of ``count`` tools."""
    return [
        {
            "name": ECHO if number == 0 else f"{ECHO}_{number:03}",
            "title": f"Echo {number}",
            "description": "Gives back the text that it was given, unchanged. Reads nothing and changes nothing.",
            "input_schema": {
                "type": "object",
                "properties": {"text": {"type": "string", "description": "What to give back"}},
                "required": ["text"],
                "additionalProperties": False,
            },
            "output_schema": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
            },
            "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
        }
        for number in range(count)
    ]
