"""Writes values as parameters: OpenAPI's styles (3.1.1, "Style Values" and "Style Examples"; RFC 6570). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from servers.execution.backends.http.paths import encode

MAX_NESTING: Final = 8
"""Levels of a value that is spread over names (``a[b][c]``); what is below is written as JSON."""

_RESERVED: Final = ":/?@!$'()*,;"
"""What ``reserved`` leaves as it is: the reserved characters that end or part no query."""

_BETWEEN: Final[Mapping[str, str]] = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}


def plain(value: Any) -> str:
    """A value as text: a text as it is, everything else as JSON has it, ``null`` as nothing."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()


def in_path(style: str, explode: bool, name: str, value: Any) -> str:
    """What stands in a segment in place of ``{name}``, encoded."""
    if style == "json":
        return encode(plain(value) if isinstance(value, str) else orjson.dumps(value).decode())
    if style == "label":
        return "." + _joined(value, "." if explode else ",", explode, encode)
    if style == "matrix":
        if explode and isinstance(value, Mapping):
            return "".join(f";{encode(str(key))}={encode(plain(item))}" for key, item in value.items())
        if explode and isinstance(value, list | tuple):
            return "".join(f";{encode(name)}={encode(plain(item))}" for item in value)
        return f";{encode(name)}={_joined(value, ',', False, encode)}"
    return _joined(value, ",", explode, encode)


def in_header(style: str, explode: bool, value: Any) -> str:
    """A header's value; the caller judges whether it can be one."""
    if style == "json":
        return orjson.dumps(value).decode()
    return _joined(value, ",", explode, str)


def in_query(
    style: str, explode: bool, name: str, value: Any, *, reserved: bool = False
) -> Iterator[tuple[str, str]]:
    """Pairs of a query, a form or cookies, both sides encoded. An empty list or object makes none."""

    def write(item: Any) -> str:
        return quote(plain(item), safe=_RESERVED) if reserved else encode(plain(item))

    if style == "json":
        text = orjson.dumps(value).decode()
        yield encode(name), quote(text, safe=_RESERVED) if reserved else encode(text)
    elif style == "deepObject" and isinstance(value, Mapping | list | tuple):
        for key, item in _spread(name, value, MAX_NESTING):
            yield encode(key), write(item)
    elif not isinstance(value, Mapping | list | tuple):
        yield encode(name), write(value)
    elif explode:
        named = value.items() if isinstance(value, Mapping) else ((name, item) for item in value)
        for key, item in named:
            yield encode(str(key)), write(item)
    elif value:
        yield encode(name), _BETWEEN.get(style, ",").join(_parts(value, write))


def _parts(value: Any, write: Callable[[Any], str]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield encode(str(key))
            yield write(item)
    else:
        for item in value:
            yield write(item)


def _joined(value: Any, between: str, explode: bool, write: Any) -> str:
    if isinstance(value, Mapping):
        if explode:
            return between.join(f"{write(str(key))}={write(plain(item))}" for key, item in value.items())
        return between.join(write(part) for key, item in value.items() for part in (str(key), plain(item)))
    if isinstance(value, list | tuple):
        return between.join(write(plain(item)) for item in value)
    return str(write(plain(value)))


def _spread(name: str, value: Any, left: int) -> Iterator[tuple[str, Any]]:
    """``a[b][0]``: not in OpenAPI, which knows one level of names only, but what servers with nested ones read."""
    if left > 0 and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _spread(f"{name}[{key}]", item, left - 1)
    elif left > 0 and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _spread(f"{name}[{index}]", item, left - 1)
    else:
        yield name, value
