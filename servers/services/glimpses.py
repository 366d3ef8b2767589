"""The beginning of a result as the log keeps it: masked, bounded, what is no text in words. Pure, and never raises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from servers.execution.contract import Outcome
from servers.services.redaction import cut_to, mask_beginning, mask_start, mask_text

_WORD: Final = 120
"""Characters of a media type or a URI."""


def glimpse_of(outcome: Outcome, characters: int) -> str:
    """The beginning of a result, ``characters`` at most: of the structured one where there is one, else as it reads."""
    if outcome.structured is not None:
        return cut_to(_json(outcome.structured, characters), characters)
    if not outcome.content:
        return mask_start(outcome.text, characters)
    pieces: list[str] = []
    left = characters
    for block in outcome.content:
        if left <= 0:
            break
        piece = _of_block(block, left)
        pieces.append(piece)
        left -= len(piece) + 1
    return cut_to("\n".join(pieces), characters)


def _of_block(block: Any, characters: int) -> str:
    """A content block, a resource's contents, or a prompt's message."""
    if not isinstance(block, Mapping):
        return "[not representable]"
    role, content = block.get("role"), block.get("content")
    if isinstance(role, str):
        inner = content if isinstance(content, Sequence) and not isinstance(content, str) else [content]
        said = "\n".join(_of_block(each, characters) for each in inner[:characters])
        return f"{mask_text(role[:_WORD])}: {said}"
    text = block.get("text")
    if isinstance(text, str):
        return mask_start(text, characters)
    resource = block.get("resource")
    if isinstance(resource, Mapping):
        return f"{_word(resource.get('uri'))} {_of_block(resource, characters)}"
    for member in ("data", "blob"):
        data = block.get(member)
        if isinstance(data, str):
            size = len(data) * 3 // 4 - data[-2:].count("=")
            return f"[{_word(block.get('mimeType')) or 'binary'}, {size:,} bytes]"
    if block.get("type") == "resource_link":
        return f"[link to {_word(block.get('uri'))}]"
    return _json(block, characters)


def _word(value: Any) -> str:
    return mask_start(value, _WORD) if isinstance(value, str) else ""


def _json(value: Any, characters: int) -> str:
    try:
        shown = mask_beginning(value, characters)
        try:
            return orjson.dumps(shown, default=str).decode()
        except TypeError:
            # orjson refuses integers beyond 64 bits and lone surrogates; json writes them.
            return json.dumps(shown, separators=(",", ":"), default=str)
    except (RecursionError, TypeError, ValueError):
        return "[not representable]"
