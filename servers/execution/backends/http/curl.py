"""Reads a curl line as a definition of an HTTP tool, as far as it can be one. Runs nothing, opens no file.

What signs in (``-u``, ``Authorization``, cookies, keys in headers) never gets into the definition: it is a setting of
the data source. What the line says of the connection, and of what becomes of the answer, is left out, too; ``notes``
tell of both.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from core.errors import InvalidInput
from core.strictjson import BadJson, read_json
from servers.execution.backends.http.definitions import METHODS, header_fault
from servers.execution.backends.http.paths import BadAddress, read_base_url
from servers.execution.contract import Draft

MAX_LINE: Final = 65_536

_VALUED: Final[Mapping[str, str]] = {
    "-X": "request", "--request": "request", "-H": "header", "--header": "header", "--url": "url",
    "-d": "data", "--data": "data", "--data-ascii": "data", "--data-binary": "data", "--data-raw": "raw",
    "--data-urlencode": "encoded", "--json": "json", "-F": "form", "--form": "form", "--form-string": "form",
    "-u": "secret", "--user": "secret", "-b": "secret", "--cookie": "secret", "--oauth2-bearer": "secret",
    "-E": "secret", "--cert": "secret", "--key": "secret", "--pass": "secret", "--proxy-user": "secret", "-U": "secret",
    "-A": "agent", "--user-agent": "agent", "-e": "agent", "--referer": "agent",
    "-x": "connection", "--proxy": "connection", "-m": "connection", "--max-time": "connection",
    "--connect-timeout": "connection", "--retry": "connection", "--retry-delay": "connection",
    "--resolve": "connection",
    "--cacert": "connection", "--capath": "connection", "--interface": "connection", "-o": "connection",
    "--output": "connection", "-w": "connection", "--write-out": "connection", "-c": "connection",
    "--cookie-jar": "connection", "--max-redirs": "connection", "--limit-rate": "connection", "-D": "connection",
    "--dump-header": "connection", "--ciphers": "connection", "--noproxy": "connection",
}  # fmt: skip
_FLAGS: Final[Mapping[str, str]] = {
    "-G": "get", "--get": "get", "-I": "head", "--head": "head",
    **dict.fromkeys(
        ("-s", "--silent", "-S", "--show-error", "-L", "--location", "-i", "--include", "-v", "--verbose", "-f",
         "--fail", "--fail-with-body", "-O", "--remote-name", "-#", "--progress-bar", "-g", "--globoff", "-N",
         "--no-buffer", "--compressed", "--http1.1", "--http2", "--http2-prior-knowledge", "--http3", "-4", "--ipv4",
         "-6", "--ipv6", "--tlsv1.2", "--tlsv1.3", "-q", "--disable", "--path-as-is"),
        "connection",
    ),
    **dict.fromkeys(("-k", "--insecure", "--location-trusted"), "insecure"),
}  # fmt: skip
_SECRET_NAME: Final = re.compile(
    r"(?i)(?:^|[-_])(?:api-?key|key|token|secret|password|passwd|auth|authorization|cookie)$"
)
_VARYING: Final = re.compile(
    r"[0-9]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{24,64}", re.IGNORECASE
)
"""Segments of a path that name one thing among many: numbers, UUIDs, long hexadecimal ids."""
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_]+")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_LEFT_OUT: Final = frozenset(
    {"accept", "accept-encoding", "user-agent", "content-type", "content-length", "host"}
)


@dataclass(slots=True)
class _Line:
    """The line taken apart."""

    url: str = ""
    method: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    json: bool = False
    in_query: bool = False
    head: bool = False
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def read_curl(line: str, base_url: str) -> Draft:
    """The tool that a line means on the source with this base address. Raises ``InvalidInput`` where it is none.

    Values become parameters with those of the line as defaults, so that the tool does what the line did until it is
    given others. Numbers and ids in the path become parameters, too; they have no default.
    """
    taken = _take_apart(line)
    path, query = _below(taken.url, base_url)
    parameters: dict[str, dict[str, Any]] = {}
    definition: dict[str, Any] = {"method": _method(taken), "path": _path(path, parameters)}
    pairs = parse_qsl(query, keep_blank_values=True)
    if taken.in_query:
        pairs += [pair for text in taken.data for pair in parse_qsl(text, keep_blank_values=True)]
    for name, values in _grouped(pairs).items():
        _add_value(parameters, "query", name, values, taken)
    content_type = _add_headers(definition, taken)
    if not taken.in_query:
        _add_body(definition, parameters, content_type, taken)
    if parameters:
        definition["parameters"] = parameters
    return Draft(definition, taken.notes)


def _take_apart(line: str) -> _Line:
    if len(line) > MAX_LINE:
        _refuse(f"Give one curl line of at most {MAX_LINE} characters.")
    # As copied: lines that end with \ or, on Windows, with ^ go on in the next.
    text = re.sub(r"(?:\\|\^)\r?\n", " ", line).strip().removeprefix("$").lstrip()
    try:
        words = shlex.split(text)
    except ValueError:
        _refuse("A quote in the line is not closed. Copy the whole command.")
    if not words or words[0].rpartition("/")[2] not in ("curl", "curl.exe"):
        _refuse("The line does not begin with curl.")
    taken = _Line()
    for kind, value in _options(words[1:]):
        _take(taken, kind, value)
    if not taken.url:
        _refuse("The line names no address.")
    return taken


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Each option's kind and value. Raises ``InvalidInput`` for an option that is not known."""
    rest = iter(words)
    for word in rest:
        if word in ("|", ">", ">>", "&&", ";", "||", "&", "<"):
            _refuse(f"The line goes on after {word}. Give the curl command alone.")
        if not word.startswith("-") or word == "-":
            yield "url", word
            continue
        name, equals, given = word.partition("=") if word.startswith("--") else (word, "", "")
        # -XPOST, -sSL: short options may stand together, and their value right behind.
        while not word.startswith("--") and len(name) > 2:
            first, name = name[:2], f"-{name[2:]}"
            if first in _VALUED:
                yield _VALUED[first], name[1:].removeprefix("=")
                name = ""
                break
            if first not in _FLAGS:
                _refuse(f"The option {first} is not known here. Leave it out.")
            yield _FLAGS[first], ""
        if not name:
            continue
        if name in _VALUED:
            value = given if equals else next(rest, None)
            if value is None:
                _refuse(f"The option {name} has no value.")
            yield _VALUED[name], value
        elif name in _FLAGS:
            yield _FLAGS[name], ""
        else:
            _refuse(f"The option {name[:40]} is not known here. Leave it out.")


def _take(taken: _Line, kind: str, value: str) -> None:
    match kind:
        case "url":
            if taken.url:
                _refuse("The line names more than one address. A tool is one request.")
            taken.url = value
        case "request":
            taken.method = value.upper()
        case "header":
            name, colon, text = value.partition(":")
            if colon and text.strip():
                taken.headers.append((name.strip(), text.strip()))
        case "data" | "raw" | "json" | "form" | "encoded":
            _take_data(taken, kind, value)
        case "get":
            taken.in_query = True
        case "head":
            taken.head = True
        case "secret":
            taken.note("How it signs in is left out: set it in the data source.")
        case "insecure":
            taken.note(
                "Certificates are always checked, and credentials go to the data source's address only."
            )
        case "agent":
            taken.note(
                "User-Agent and Referer are left out: set them in the data source, if the API needs them."
            )
        case _:
            taken.note("Options of the connection and of the output are left out.")


def _take_data(taken: _Line, kind: str, value: str) -> None:
    if (kind in ("data", "json") and value.startswith("@")) or (
        kind == "encoded" and re.match(r"[^=]*@", value.partition("=")[0])
    ):
        _refuse("The body is read of a file. Put its text into the line.")
    if kind == "form":
        taken.parts.append(value)
        return
    if kind == "encoded":
        # name=content is encoded by curl; so is content alone, with or without a = before it.
        name, equals, content = value.partition("=")
        value = (
            f"{name}={quote(content, safe='')}"
            if equals and name
            else quote(content if equals else value, safe="")
        )
    taken.json = taken.json or kind == "json"
    taken.data.append(value)


def _method(taken: _Line) -> str:
    method = taken.method
    if not method:
        method = (
            "HEAD" if taken.head else "POST" if (taken.data or taken.parts) and not taken.in_query else "GET"
        )
    if method not in METHODS:
        _refuse(f"The method is none of {', '.join(METHODS)}.")
    return method


def _below(url: str, base_url: str) -> tuple[str, str]:
    """The path below the base address, and the query."""
    text = url if "://" in url else f"{urlsplit(base_url).scheme}://{url}"
    bare, _, query = text.partition("#")[0].partition("?")
    try:
        address = read_base_url(bare)
    except BadAddress as fault:
        _refuse(f"The address cannot be that of a tool. {fault}")
    if address != base_url and not address.startswith(f"{base_url}/"):
        _refuse(f"The address is not below {base_url}, the base address of the data source.")
    path = address.removeprefix(base_url)
    return (path + "/" if bare.endswith("/") else path) or "/", query


def _path(path: str, parameters: dict[str, dict[str, Any]]) -> str:
    given = path.split("/")
    segments = list(given)
    for index, segment in enumerate(given):
        if not _VARYING.fullmatch(segment):
            continue
        before = unquote(given[index - 1]) if index and not _VARYING.fullmatch(given[index - 1]) else ""
        before = _NOT_IN_NAMES.sub("_", before).strip("_")[:40]
        name = _free(f"{before.removesuffix('s')}_id" if before else "id", parameters)
        kind = "integer" if _INTEGER.fullmatch(segment) else "string"
        parameters[name] = {"type": kind, "examples": [_typed(segment)]}
        segments[index] = f"{{{name}}}"
    return "/".join(segments)


def _add_headers(definition: dict[str, Any], taken: _Line) -> str:
    """The headers that stay as they are. Gives the content type."""
    content_type, fixed = "", {}
    for name, value in taken.headers:
        lower = name.lower()
        if lower == "content-type":
            content_type = value.partition(";")[0].strip().lower()
        elif _SECRET_NAME.search(lower) or lower == "authorization":
            taken.note(f"The header {name} is left out: how it signs in is set in the data source.")
        elif lower in _LEFT_OUT or header_fault(name) or not value.isascii() or not value.isprintable():
            if lower not in _LEFT_OUT:
                taken.note(f"The header {name[:60]} is left out.")
        else:
            fixed[name] = value
    if fixed:
        definition["headers"] = fixed
    return content_type


def _add_body(
    definition: dict[str, Any], parameters: dict[str, Any], content_type: str, taken: _Line
) -> None:
    if not taken.data and not taken.parts:
        return
    if definition["method"] in ("GET", "HEAD"):
        taken.note(f"The body is left out: a {definition['method']} request has none.")
        return
    if taken.parts:
        definition["body"] = {"kind": "multipart"}
        for part in taken.parts:
            name, _, value = part.partition("=")
            if value.startswith(("@", "<")):
                definition["body"] = {"kind": "multipart", "schema": {"type": "object"}}
                _forget(parameters, "body")
                taken.note(
                    "A part is a file: the whole body is an argument. Say in its schema which parts there are."
                )
                return
            _add_value(parameters, "body", name, [value.partition(";type=")[0]], taken)
        return
    text = ("" if taken.json else "&").join(taken.data)
    if (
        taken.json
        or content_type.endswith(("/json", "+json"))
        or (not content_type and text.lstrip()[:1] in ("{", "["))
    ):
        _add_json(definition, parameters, text, taken)
    elif content_type in ("", "application/x-www-form-urlencoded"):
        definition["body"] = {"kind": "form"}
        for name, values in _grouped(parse_qsl(text, keep_blank_values=True)).items():
            _add_value(parameters, "body", name, values, taken)
        if not any(spec.get("in") == "body" for spec in parameters.values()):
            definition["body"] = {"kind": "text", "media_type": "application/x-www-form-urlencoded"}
    else:
        definition["body"] = {"kind": "text", "media_type": content_type}


def _add_json(definition: dict[str, Any], parameters: dict[str, Any], text: str, taken: _Line) -> None:
    try:
        value = read_json(text.encode("utf-8", "surrogatepass"))
    except BadJson as fault:
        _refuse(f"The body says that it is JSON and is none: {fault}.")
    if not isinstance(value, dict) or not value or len(value) > 50:
        definition["body"] = {"kind": "json"}
        taken.note("The body is an argument of its own. Say in its schema what it holds.")
        return
    definition["body"] = {"kind": "json"}
    for key, item in value.items():
        spec: dict[str, Any] = {"in": "body", **_schema_of(item)}
        if item is not None and not _SECRET_NAME.search(key):
            spec["default"] = item
        _add(parameters, key, spec)


def _add_value(parameters: dict[str, Any], where: str, name: str, values: list[str], taken: _Line) -> None:
    if not name:
        return
    spec: dict[str, Any] = {"in": where}
    if len(values) == 1:
        value = _typed(values[0])
        spec |= {"type": "integer" if isinstance(value, int) else "string", "default": value}
    else:
        spec |= {"type": "array", "items": {"type": "string"}, "default": values}
    if _SECRET_NAME.search(name):
        del spec["default"]
        taken.note(f"The value of {name[:60]} is left out: it looks like a secret. Callers have to give it.")
    _add(parameters, name, spec)


def _add(parameters: dict[str, Any], wire: str, spec: dict[str, Any]) -> None:
    name = _free(_NOT_IN_NAMES.sub("_", wire).strip("_")[:60] or "value", parameters)
    parameters[name] = spec if name == wire else {**spec, "name": wire}


def _free(name: str, parameters: Mapping[str, Any]) -> str:
    free, number = name, 2
    while free in parameters:
        free, number = f"{name}_{number}", number + 1
    return free


def _forget(parameters: dict[str, Any], where: str) -> None:
    for name in [name for name, spec in parameters.items() if spec.get("in") == where]:
        del parameters[name]


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _typed(text: str) -> str | int:
    """A text as a number where it is written as one; what a leading zero or its length says would be lost otherwise."""
    return int(text) if _INTEGER.fullmatch(text) and text != "-0" else text


def _schema_of(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
    return {"type": "string", "required": False}


def _refuse(message: str) -> NoReturn:
    raise InvalidInput(message, errors=[{"path": "text", "message": message}])
