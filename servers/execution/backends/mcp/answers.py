"""Makes of what an upstream MCP server answered what Marina passes on: content as it is, as far as it is content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from servers.execution.backends.mcp.wire import META_SERVER, NotMcp
from servers.execution.contract import Completion, Outcome

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("uri", "name"),
}
"""The texts that a block of each type has to have."""

_ROLES: Final = ("user", "assistant")


def tool_outcome(result: Mapping[str, Any], size: int) -> Outcome:
    """The outcome of a ``CallToolResult``. Raises ``NotMcp``."""
    given = result.get("content", [])
    if not isinstance(given, list):
        raise NotMcp("the content of its result is no list")
    content = [block_of(each) for each in given]
    failed = result.get("isError") is True
    return Outcome(
        structured=result.get("structuredContent"),
        text=_text_of(content),
        size=size,
        content=content,
        failed=failed,
        meta=meta_of(result),
    )


def resource_outcome(result: Mapping[str, Any], size: int) -> Outcome:
    """The outcome of a ``ReadResourceResult``. Raises ``NotMcp``."""
    given = result.get("contents")
    if not isinstance(given, list):
        raise NotMcp("its result has no contents")
    for each in given:
        if not isinstance(each, dict) or not _is_contents(each):
            raise NotMcp("the contents of its result are none")
    return Outcome(None, "", size=size, content=given, meta=meta_of(result))


def prompt_outcome(result: Mapping[str, Any], size: int) -> Outcome:
    """The outcome of a ``GetPromptResult``. Raises ``NotMcp``."""
    given = result.get("messages")
    if not isinstance(given, list):
        raise NotMcp("its result has no messages")
    messages = []
    for each in given:
        if not isinstance(each, dict) or each.get("role") not in _ROLES:
            raise NotMcp("one of its messages has no role")
        messages.append({**each, "content": block_of(each.get("content"))})
    description = result.get("description")
    text = description if isinstance(description, str) else ""
    return Outcome(None, text, size=size, content=messages, meta=meta_of(result))


def completion_of(result: Mapping[str, Any]) -> Completion:
    """The values of a ``CompleteResult``. Raises ``NotMcp``."""
    found = result.get("completion")
    values = found.get("values") if isinstance(found, dict) else None
    if not isinstance(values, list) or not isinstance(found, dict):
        raise NotMcp("its result names no values")
    total = found.get("total")
    return Completion(
        [each for each in values if isinstance(each, str)],
        total=total if type(total) is int and total >= 0 else None,
        has_more=found.get("hasMore") is True,
    )


def block_of(block: Any) -> dict[str, Any]:
    """A block of content. Raises ``NotMcp`` for what is none; of a type that is not known, it says so in a text."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise NotMcp("its result holds a block of content without a type")
    kind = block["type"]
    if kind == "text" and isinstance(block.get("text"), str):
        # Of these there may be tens of thousands.
        return block
    needed = _NEEDED.get(kind)
    if kind == "resource":
        held = block.get("resource")
        if not isinstance(held, dict) or not _is_contents(held):
            raise NotMcp("its result embeds a resource that is none")
        return block
    if needed is None:
        return {
            "type": "text",
            "text": f"(content of the type {kind[:64]!r}, which Marina does not pass on)",
        }
    if not all(isinstance(block.get(name), str) for name in needed):
        raise NotMcp(f"its result holds a block of {kind} that is none")
    return block


def meta_of(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ``_meta`` of a result without what the upstream says of itself there: to our clients the server is Marina."""
    meta = result.get("_meta")
    if not isinstance(meta, dict):
        return None
    return {name: value for name, value in meta.items() if name != META_SERVER} or None


def _is_contents(held: Mapping[str, Any]) -> bool:
    return isinstance(held.get("uri"), str) and (
        isinstance(held.get("text"), str) or isinstance(held.get("blob"), str)
    )


def _text_of(content: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(each["text"] for each in content if each["type"] == "text")
