"""Masks secrets in what goes into the log: by the name of a key and by the look of a value. Stores nothing.

Patterns run on RE2, in time linear to the text. One ``Set`` scan says which of them hit at all, so a value
without a secret costs one scan (0.5 µs) instead of one a pattern.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import re2

MASK: Final = "[masked]"
"""Stands where a secret was."""

MAX_DEPTH: Final = 32
MAX_NODES: Final = 5_000
MAX_TEXT: Final = 20_000
"""Characters kept of one text. A longer one is cut, and its whole is named by SHA-256."""

_KNOWN_NAME: Final = 64
_SHORTEST: Final = 6
"""Characters of the shortest text that a pattern can hit."""

_SECRET_NAME: Final = re2.compile(
    r"(?i)(?:^|[_.\s-])(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|authorization|cookie|credentials?|dsn|bearer)(?:$|[_.\s-])"
    r"|(?i)(?:password|passwd|passphrase|secret|apikey|accesskey|privatekey|token)s?$"
)
"""A key of this name holds a secret, whatever its value looks like."""

_PATTERNS: Final = (
    # A key of ours, or of a well-known issuer: the prefix makes it unmistakable.
    r"mcp_live_[A-Za-z0-9_-]{8,}",
    r"\b(?:sk|pk|rk)[_-](?:live|test|ant|proj)[A-Za-z0-9_-]{10,}",
    r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    r"\bAIza[A-Za-z0-9_-]{30,}",
    # JSON Web Tokens (RFC 7519): three base64url parts, the first of which opens an object.
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}",
    # The password of a URL, and ``password = 'x'`` of a connection string or a statement.
    r"(?i)[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{0,80}:[^\s/@]{1,200}@",
    r"(?i)\b(?:password|passwd|pwd|secret|api_?key|access_?token|client_secret)\s*[=:]\s*(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\"]{2,})",
    r"(?i)\b(?:with|encrypted)\s+password\s+'[^']*'",
)
_COMPILED: Final = tuple(re2.compile(pattern) for pattern in _PATTERNS)


def _any_of_them() -> Any:
    patterns = re2.Set.SearchSet()
    for pattern in _PATTERNS:
        patterns.Add(pattern)
    patterns.Compile()
    return patterns


_SET: Final = _any_of_them()


def mask_secrets(value: Any) -> Any:
    """A copy of a JSON value with secrets replaced by ``MASK``; depth, count and text are bounded.

    What is over a bound is replaced by a sentence that says so, never silently left out.
    """
    return _Masking().mask(value, 0)


def mask_text(text: str) -> str:
    """The text with everything that looks like a secret replaced by ``MASK``."""
    if len(text) < _SHORTEST:
        return text
    cut = ""
    if len(text) > MAX_TEXT:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        cut = f" [cut: {len(text)} characters in all, SHA-256 {digest}]"
        # A secret across the cut would show its beginning: look a little further than what is kept.
        text = text[: MAX_TEXT + 500]
    for hit in _SET.Match(text) or ():
        text = _COMPILED[hit].sub(MASK, text)
    return text[:MAX_TEXT] + cut if cut else text


class _Masking:
    """One walk through one value, with the count of what it has seen."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_NODES

    def mask(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0:
            return "[left out: too many values]"
        if isinstance(value, str):
            return mask_text(value)
        if isinstance(value, Mapping):
            if depth >= MAX_DEPTH:
                return "[left out: nested too deeply]"
            return self._mask_object(value, depth)
        if isinstance(value, list | tuple):
            if depth >= MAX_DEPTH:
                return "[left out: nested too deeply]"
            return self._mask_list(value, depth)
        return value

    def _mask_object(self, value: Mapping[str, Any], depth: int) -> dict[str, Any]:
        masked: dict[str, Any] = {}
        for name, item in value.items():
            if self.left <= 0:
                masked["[left out]"] = f"{len(value) - len(masked)} more members"
                break
            shown, secrets = _known_name(name) if len(name) <= _KNOWN_NAME else _judge_name(name)
            if isinstance(item, secrets) and not isinstance(item, bool):
                self.left -= 1
                masked[shown] = MASK
            else:
                masked[shown] = self.mask(item, depth + 1)
        return masked

    def _mask_list(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        masked: list[Any] = []
        for item in value:
            if self.left <= 0:
                masked.append(f"[left out: {len(value) - len(masked)} more items]")
                break
            masked.append(self.mask(item, depth + 1))
        return masked


def _judge_name(name: str) -> tuple[str, tuple[type, ...]]:
    """How the log shows a key of this name, and the types of value under it that are secrets."""
    if _SECRET_NAME.search(name[:200]) is None:
        return mask_text(name), ()
    # ``max_tokens: 5`` is a count; ``pin: 5`` may not be.
    numbers = () if "token" in name.lower() else (int, float)
    return mask_text(name), (str, list, dict, *numbers)


_known_name = lru_cache(maxsize=4096)(_judge_name)
"""Argument names repeat with every call, so what was judged once is kept."""
