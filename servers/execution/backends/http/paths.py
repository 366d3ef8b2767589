"""Where requests of an HTTP source may go: below its base address and nowhere else. Connects to nothing.

A path is a template; what a caller puts into it is encoded and stays within its own segment. What another reader of
the address could take for a way out (``..`` however it is written, a backslash, a control character) is refused, not
encoded: a server behind a proxy may decode once more than the first one did.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")

MAX_PATH: Final = 2_048
MAX_URL: Final = 16_384

_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.?)+|\[[0-9A-Fa-f:.]+\]")
_ROUNDS: Final = 4
"""How often a value may be percent-encoded over; one that is more deeply is refused."""


class BadAddress(ValueError):
    """This is no address to send requests to. The message says why, in a sentence."""


def read_base_url(text: Any) -> str:
    """The address below which all requests of a source go, without the slash at its end. Raises ``BadAddress``."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_PATH:
        raise BadAddress("Give an address such as https://api.example.com/v1.")
    text = text.strip()
    if _CONTROL.search(text) or "\\" in text or " " in text:
        raise BadAddress("The address holds a space, a backslash or an invisible character. Leave it out.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadAddress("The address cannot be read. Write it as https://api.example.com/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadAddress("The address begins with https:// or http:// and names a host.")
    if "@" in parts.netloc:
        raise BadAddress("The address holds a user name or password. Signing in is a setting of its own.")
    if "?" in text or "#" in text:
        raise BadAddress("The address ends with its path: leave out what begins with ? or #.")
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc.removesuffix(":")
    if not _HOST.fullmatch(host) or port == 0:
        raise BadAddress("The host is no name or IP address; write an international name in its xn-- form.")
    path = parts.path.rstrip("/")
    if path:
        faults = path_faults(path)
        if faults or "{" in path:
            raise BadAddress(
                faults[0]["message"] if faults else "The address has no {parameters}: fill them in."
            )
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def path_faults(path: Any) -> list[dict[str, str]]:
    """What keeps a template from being the path of a tool."""
    if not isinstance(path, str) or not path.startswith("/") or len(path) > MAX_PATH:
        return _fault(f"Give a path that begins with /, of at most {MAX_PATH} characters.")
    if "?" in path or "#" in path:
        return _fault("The path ends before ? and #: give what follows as query.")
    names = PLACEHOLDER.findall(path)
    if len(set(names)) != len(names) or any(not name or len(name) > 64 for name in names):
        return _fault("Each {name} in the path has 1 to 64 characters and stands in it once.")
    segments = path[1:].split("/")
    for index, segment in enumerate(segments):
        literal = PLACEHOLDER.sub("", segment)
        if not segment and index + 1 < len(segments):
            return _fault("The path has two slashes in a row.")
        if not _LITERAL.fullmatch(literal):
            return _fault(
                "The path may hold letters, digits, -._~!$&'()*+,;=:@ and {names}; write others as %20 and the like."
            )
        if (way_out(literal) and not PLACEHOLDER.search(segment)) or _hides_slash(literal):
            return _fault("The path leads up (..), or holds an encoded slash or an invisible character.")
    return []


def _fault(message: str) -> list[dict[str, str]]:
    return [{"path": "path", "message": message}]


def _hides_slash(literal: str) -> bool:
    plain = unquote(literal)
    return "/" in plain or "\\" in plain or bool(_CONTROL.search(plain)) or "\ufffd" in plain


def way_out(text: str) -> bool:
    """Whether someone could read this part of a path as leading elsewhere: decoded as often as it can be."""
    for _ in range(_ROUNDS):
        plain = unquote(text)
        if _CONTROL.search(plain):
            return True
        # Parameters of a segment (``..;x=1``) are dropped by some servers before they walk up.
        parts = plain.replace("\\", "/").split("/")
        if any(part.partition(";")[0].strip() in (".", "..") for part in parts):
            return True
        if plain == text:
            return False
        text = plain
    return True


def encode(text: str) -> str:
    """A text as one part of a segment or query: everything but letters, digits and ``-._~`` is percent-encoded.

    Raises ``UnicodeEncodeError`` for lone surrogates.
    """
    return quote(text, safe="")


def stays_below(url: str, base_url: str) -> bool:
    """Whether an address that was put together has the base's host and lies below its path, however it is read."""
    if len(url) > MAX_URL or not url.isascii() or _CONTROL.search(url) or set(' \\#<>"^`{}|') & set(url):
        return False
    made, base = urlsplit(url), urlsplit(base_url)
    if (made.scheme, made.netloc) != (base.scheme, base.netloc) or not made.path.startswith(f"{base.path}/"):
        return False
    return not any(way_out(segment) for segment in made.path.split("/"))
