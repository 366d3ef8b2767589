"""Masks secrets in what goes into the log: by the name of a key and by the look of a value. Stores nothing.

Patterns run on RE2, in time linear to the text. One ``Set`` scan says which of them hit at all, so a value
without a secret costs one scan (0.5 µs) instead of one a pattern.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import re2

MASK: Final = "[masked]"
"""Stands where a secret was."""

MAX_DEPTH: Final = 32
MAX_NODES: Final = 5_000
MAX_TEXT: Final = 20_000
"""Characters kept of one text. A longer one is cut, and its whole is named by SHA-256."""

CUT: Final = "…"
"""Stands at the end of a beginning."""

_BEYOND: Final = 500
_KNOWN_NAME: Final = 64
_SHORTEST: Final = 6
"""Characters of the shortest text that a pattern can hit."""

_SECRET_NAME: Final = re2.compile(
    r"(?i)(?:^|[_.\s-])(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|authorization|cookie|credentials?|dsn|bearer)(?:$|[_.\s-])"
    r"|(?i)(?:password|passwd|passphrase|secret|apikey|accesskey|privatekey|token)s?$"
)
"""A key of this name holds a secret, whatever its value looks like."""

_KEY_NAME: Final = (
    r"[a-z0-9_.-]*(?:password|passwd|passphrase|pwd|secret|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|access[_-]?token|_pass)"
)
_QUOTED: Final = r"""(?:\\+"[^"]*"?|"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?)"""
"""A text in quotes, perhaps cut off: of JSON inside of JSON, of JSON, of SQL or a shell."""

_EQUALS: Final = r"""(?:\\*["'])?\s*[=:]\s*"""
"""What stands between a name and its value; the name itself may have been in quotes."""

_PIECE: Final = r"""[^\s/?#@"<>]"""
"""A character of a URL that ends none of its parts."""

_UNLIKE_PROSE: Final = re2.compile(r"[0-9=]|[a-z][A-Z]")


def _looks_random(value: str) -> bool:
    return len(value) >= _SHORTEST and _UNLIKE_PROSE.search(value) is not None


def _is_credential(hit: Any) -> bool:
    """``Basic information`` is prose, ``Basic dXNlcjpwYXNz`` is not."""
    return _looks_random(hit[1])


def _is_token(hit: Any) -> bool:
    """``token: abcdef`` at the end of a line is a secret, ``token: nothing came`` is prose."""
    value, after = hit[1], hit[2]
    return value is None or _looks_random(value) or (len(value) >= _SHORTEST and not after)


_RULES: Final[tuple[tuple[str, Callable[[Any], bool] | None], ...]] = (
    # A key of ours, or of a well-known issuer: the prefix makes it unmistakable.
    (r"mcp_(?:live|test)_[A-Za-z0-9_-]{8,}", None),
    (r"\b(?:sk|pk|rk)[_-](?:live|test|ant|proj)[A-Za-z0-9_-]{10,}", None),
    (r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}", None),
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", None),
    (r"\bxox[abeprs]-[A-Za-z0-9-]{10,}", None),
    (r"\bAIza[A-Za-z0-9_-]{30,}", None),
    # JSON Web Tokens (RFC 7519): three base64url parts, the first of which opens an object.
    (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", None),
    (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", None),
    (r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})", _is_credential),
    # The password of a URL. One with a slash in it is told from a port and a path: a port has digits only.
    (r"(?i)[a-z][a-z0-9+.-]*://[^\s:/@\"<>]*:[^\s/?#\"<>]+@", None),
    (rf"(?i)[a-z][a-z0-9+.-]*://[^\s:/@\"<>]*:{_PIECE}*[^\s/?#@\"<>0-9]{_PIECE}*[/?#][^\s@\"<>]*@", None),
    # ``password = 'x'`` of a connection string, an environment, a header, a JSON text; and of a statement.
    (rf"(?i){_KEY_NAME}{_EQUALS}(?:{_QUOTED}|[^\s,;&'\"]{{2,}})", None),
    (rf"(?i)token{_EQUALS}(?:{_QUOTED}|([A-Za-z0-9._~+/=-]{{2,}})( ?))", _is_token),
    (r"(?i)\bpassword\s+(?:e|u&)?'(?:[^']|'')*'", None),
)
"""Patterns of secrets, some with a second look at what was hit."""

_COMPILED: Final = tuple((re2.compile(pattern), confirmed) for pattern, confirmed in _RULES)


def _any_of_them() -> Any:
    patterns = re2.Set.SearchSet()
    for pattern, _ in _RULES:
        patterns.Add(pattern)
    patterns.Compile()
    return patterns


_SET: Final = _any_of_them()


def mask_secrets(value: Any) -> Any:
    """A copy of a JSON value with secrets replaced by ``MASK``; depth, count and text are bounded.

    What is over a bound is replaced by a sentence that says so, never silently left out. Never raises.
    """
    return _Masking().mask(value, 0)


def mask_beginning(value: Any, characters: int) -> Any:
    """The beginning of a JSON value, masked as ``mask_secrets`` does it: enough of it for so many characters of JSON.

    Ends where there are as many, so what it costs depends on that and not on the value. Never raises.
    """
    return _Beginning(characters).mask(value, 0)


def mask_start(text: str, characters: int) -> str:
    """The beginning of a text, masked: ``characters`` at most, the last of which says that it was cut. Never raises."""
    if len(text) <= characters + _BEYOND:
        return cut_to(mask_text(text), characters)
    # A secret that the cut goes through is not known for one: of what was looked at, the end is not shown.
    masked = mask_text(text[: characters + _BEYOND])[:-_BEYOND]
    return f"{masked[: characters - 1]}{CUT}"


def cut_to(text: str, characters: int) -> str:
    """The text, ``characters`` of it at most: the last one says that it was cut."""
    return text if len(text) <= characters else f"{text[: characters - 1]}{CUT}"


def mask_text(text: str) -> str:
    """The text with everything that looks like a secret replaced by ``MASK``. Never raises."""
    if len(text) < _SHORTEST:
        return text
    cut = ""
    if len(text) > MAX_TEXT:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        cut = f" [cut: {len(text)} characters in all, SHA-256 {digest}]"
        # A secret across the cut would show its beginning: look a little further than what is kept.
        text = text[: MAX_TEXT + _BEYOND]
    try:
        hits = _SET.Match(text)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which UTF-8 has no bytes for: not every surface refuses one.
        text = _encodable(text)
        hits = _SET.Match(text)
    for hit in hits or ():
        pattern, confirmed = _COMPILED[hit]
        text = pattern.sub(MASK if confirmed is None else _mask_if(confirmed), text)
    # What is masked grows shorter, so what was looked at beyond the cut could come to stand before it.
    return text[: min(MAX_TEXT, len(text) - _BEYOND)] + cut if cut else text


def _mask_if(confirmed: Callable[[Any], bool]) -> Callable[[Any], str]:
    return lambda hit: MASK if confirmed(hit) else hit[0]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# Written out in a condition, ``int | float`` is made anew each time.
_NUMBERS: Final = (int, float)
_OBJECTS: Final = (dict, Mapping)
_LISTS: Final = (list, tuple)


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
        # Plain types first: asking an abstract class costs several times as much.
        if value is None or isinstance(value, _NUMBERS):
            return value
        if isinstance(value, _OBJECTS):
            if depth >= MAX_DEPTH:
                return "[left out: nested too deeply]"
            return self._mask_object(value, depth)
        if isinstance(value, _LISTS):
            if depth >= MAX_DEPTH:
                return "[left out: nested too deeply]"
            return self._mask_list(value, depth)
        return value

    def _mask_object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        masked: dict[str, Any] = {}
        for key, item in value.items():
            if self.left <= 0:
                masked["[left out]"] = f"{len(value) - len(masked)} more members"
                break
            shown, is_secret = _judge_member(key, item)
            if is_secret:
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


class _Beginning:
    """One walk through the beginning of one value. ``left`` are the characters of JSON that are still wanted.

    Each value is counted as the fewest characters that JSON has for it.
    """

    __slots__ = ("left",)

    def __init__(self, characters: int) -> None:
        self.left = characters

    def mask(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            shown = mask_start(value, max(self.left, 1))
            self.left -= len(shown) + 2
            return shown
        self.left -= 1
        if value is None or isinstance(value, _NUMBERS):
            return value
        if isinstance(value, _OBJECTS):
            return CUT if depth >= MAX_DEPTH else self._mask_object(value, depth)
        if isinstance(value, _LISTS):
            return CUT if depth >= MAX_DEPTH else self._mask_list(value, depth)
        return value

    def _mask_object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        masked: dict[str, Any] = {}
        for key, item in value.items():
            if self.left <= 0:
                break
            shown, is_secret = _judge_member(key, item)
            self.left -= len(shown) + 3
            if is_secret:
                self.left -= len(MASK)
                masked[shown] = MASK
            else:
                masked[shown] = self.mask(item, depth + 1)
        return masked

    def _mask_list(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        masked: list[Any] = []
        for item in value:
            if self.left <= 0:
                break
            masked.append(self.mask(item, depth + 1))
        return masked


def _judge_member(key: Any, item: Any) -> tuple[str, bool]:
    """How the log shows a key, and whether what is under it is a secret for its name: the same for both walks."""
    name = key if isinstance(key, str) else str(key)
    shown, secrets = _known_name(name) if len(name) <= _KNOWN_NAME else _judge_name(name)
    return shown, isinstance(item, secrets) and not isinstance(item, bool)


def _judge_name(name: str) -> tuple[str, tuple[type, ...]]:
    """How the log shows a key of this name, and the types of value under it that are secrets."""
    shown = mask_text(name)
    if _SECRET_NAME.search(_encodable(name[:200])) is None:
        return shown, ()
    # ``max_tokens: 5`` is a count; ``pin: 5`` may not be.
    numbers = () if "token" in name.lower() else (int, float)
    return shown, (str, list, dict, *numbers)


_known_name = lru_cache(maxsize=4096)(_judge_name)
"""Argument names repeat with every call, so what was judged once is kept."""
