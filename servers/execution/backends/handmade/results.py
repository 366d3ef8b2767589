"""A tool's result as the text or the bytes of a media type. Calls nothing."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from core.errors import SourceError
from servers.execution.contract import Outcome

MAX_RESULT_BYTES: Final = 1024 * 1024
"""Of one result, where a resource or a prompt holds it."""

_BYTES: Final = re.compile(
    r"(?:image|audio|video|font)/(?!svg\+xml)|application/(?:octet-stream|pdf|zip|gzip)\b"
)


def content_of(value: Any, outcome: Outcome, mime_type: str, *, picked: bool) -> dict[str, str]:
    """``text`` or ``blob`` of a resource of this type. Raises ``SourceError``."""
    if _BYTES.match(mime_type):
        return {"blob": _bounded(_bytes_of(value, outcome, picked=picked))}
    if not is_json(mime_type):
        return {"text": text_of(value, outcome, picked=picked)}
    if picked or outcome.structured is not None:
        return {"text": _bounded(_as_json(value))}
    try:
        orjson.loads(outcome.text)
    except orjson.JSONDecodeError:
        raise SourceError(
            "The tool that fills it gave a text, which is no JSON. Ask an editor of the team to give it another type, "
            "such as text/plain.",
            code="result_unstructured",
        ) from None
    return {"text": _bounded(outcome.text)}


def text_of(value: Any, outcome: Outcome, *, picked: bool) -> str:
    """A result in a text: a text as it is, anything else as JSON, and all of it as the tool words it for models."""
    if not picked and outcome.text:
        return _bounded(outcome.text)
    return _bounded(value if isinstance(value, str) else _as_json(value))


def is_json(mime_type: str) -> bool:
    """Whether texts of this type are JSON."""
    kind = mime_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _bytes_of(value: Any, outcome: Outcome, *, picked: bool) -> str:
    """The bytes in base64: what was picked, else the first that the tool gave."""
    found = value if picked else next(filter(None, map(_bytes_in, outcome.content or ())), None)
    try:
        if isinstance(found, str):
            base64.b64decode(found, validate=True)
            return found
    except (binascii.Error, ValueError):
        pass
    raise SourceError(
        "The tool that fills it gave no bytes: no image, sound or file, nor a picked text in base64. Ask an editor of "
        "the team to give it another type, such as text/plain.",
        code="result_not_binary",
    )


def _bytes_in(block: Mapping[str, Any]) -> Any:
    """The bytes of a content block (2025-11-25 server/tools, "Tool Result"), where it has such."""
    held = block.get("resource")
    return held.get("blob") if isinstance(held, Mapping) else block.get("data")


def _as_json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


def _bounded(text: str) -> str:
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_RESULT_BYTES:
        raise SourceError(
            f"The tool that fills it gave {size:,} bytes; {MAX_RESULT_BYTES:,} are allowed. Ask an editor of the team "
            "to pick a part of the result, or to have the tool give less.",
            code="result_too_large",
            data={"max_bytes": MAX_RESULT_BYTES},
        )
    return text
