"""What a tool says of its calls by hints (MCP's ``ToolAnnotations``), and what follows of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


def is_repeatable(hints: Mapping[str, Any]) -> bool:
    """Whether two calls of a tool with these hints do no more than one."""
    return hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True
