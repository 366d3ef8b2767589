"""Makes a request of a tool's definition and a caller's arguments. Sends nothing, and knows no credential.

Whatever the arguments hold, the request goes to the source's base address and below: see ``paths``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from servers.execution.backends.http.bodies import Body, write_body
from servers.execution.backends.http.definitions import STYLES, default_of, place_of
from servers.execution.backends.http.faults import refuse
from servers.execution.backends.http.paths import MAX_URL, PLACEHOLDER, encode, stays_below, way_out
from servers.execution.backends.http.styles import in_header, in_path, in_query

MAX_HEADER: Final = 8_192

_NOT_IN_HEADERS: Final = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request ready to be sent, less what signs it in. ``headers`` hold at most one ``Cookie``."""

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes | None = field(repr=False)


def build_request(definition: Mapping[str, Any], arguments: Mapping[str, Any], base_url: str) -> Prepared:
    """Make the request of a definition that ``compile_http_tool`` accepted.

    ``base_url`` is as ``read_base_url`` gives it. An argument that is missing is its parameter's default. One that is
    ``None`` then is left out, unless it stands in the path or is the body. Raises ``InvalidInput`` with
    the argument's name as path.
    """
    try:
        return _build(definition, arguments, base_url)
    except UnicodeEncodeError:
        refuse("", "A text in the arguments is no valid Unicode (a lone surrogate). Leave it out.")
    except (orjson.JSONEncodeError, TypeError):
        refuse("", "The arguments hold something that JSON cannot say, such as a number beyond 64 bits.")


def _build(definition: Mapping[str, Any], arguments: Mapping[str, Any], base_url: str) -> Prepared:
    template = str(definition["path"])
    placeholders = PLACEHOLDER.findall(template)
    segments: dict[str, str] = {}
    query = [(encode(name), encode(value)) for name, value in (definition.get("query") or {}).items()]
    headers = list((definition.get("headers") or {}).items())
    cookies: list[tuple[str, str]] = []
    parts: dict[str, Any] = {}
    for argument, spec in (definition.get("parameters") or {}).items():
        where, wire = place_of(argument, spec, placeholders)
        value = arguments[argument] if argument in arguments else default_of(spec)
        if where == "body":
            if argument in arguments or value is not None:
                parts[wire] = value
            continue
        if value is None and where != "path":
            continue
        style = spec.get("style") or STYLES[where][0]
        explode = spec.get("explode", style == "form")
        if where == "path":
            segments[wire] = _segment(argument, style, explode, wire, value)
        elif where == "query":
            reserved = spec.get("reserved", False)
            query.extend(in_query(style, explode, wire, value, reserved=reserved))
        elif where == "header":
            headers.append((wire, _header(argument, in_header(style, explode, value))))
        else:
            cookies.extend(in_query(style, explode, wire, value))
    url = base_url + PLACEHOLDER.sub(lambda found: segments[found[1]], template)
    if query:
        url += "?" + "&".join("=".join(pair) for pair in query)
    if not stays_below(url, base_url):
        refuse(
            "",
            "With these arguments the address would lead elsewhere than below the data source's own, or be longer "
            f"than {MAX_URL} characters. Nothing was sent.",
        )
    if cookies:
        headers.append(("Cookie", _header("", "; ".join("=".join(pair) for pair in cookies))))
    body = _body(definition, arguments, parts)
    if body is not None:
        headers.append(("Content-Type", body.media_type))
    return Prepared(str(definition["method"]), url, tuple(headers), None if body is None else body.content)


def _segment(argument: str, style: str, explode: bool, wire: str, value: Any) -> str:
    for text in _texts(value):
        if way_out(text):
            refuse(
                argument,
                "It would lead out of its place in the path (.., an invisible character). Change it.",
            )
    written = in_path(style, explode, wire, value)
    if value is None or written in ("", ".", ";"):
        refuse(argument, "It stands in the path, so it must not be empty.")
    return written


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for key, item in value.items() for text in (str(key), *_texts(item))]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _header(argument: str, value: str) -> str:
    if _NOT_IN_HEADERS.search(value) or len(value) > MAX_HEADER:
        refuse(
            argument, f"It goes into a header: at most {MAX_HEADER} plain ASCII characters, no line breaks."
        )
    return value.strip()


def _body(definition: Mapping[str, Any], arguments: Mapping[str, Any], parts: dict[str, Any]) -> Body | None:
    body = definition.get("body")
    if body is None:
        return None
    made_up = any(spec.get("in") == "body" for spec in (definition.get("parameters") or {}).values())
    argument = str(body.get("argument", "body"))
    if made_up:
        if not parts and body.get("required") is False:
            return None
        return write_body(body, parts, "")
    if argument not in arguments:
        if body.get("required", True):
            refuse(argument, "The body is required.")
        return None
    return write_body(body, arguments[argument], argument)
