"""Makes of a list of MCP servers, as clients keep it, a configuration of data sources. Connects to nothing.

Known are ``mcpServers`` (Claude, Cursor and most others) and VS Code's ``servers``. What is given as an address becomes
a data source of the kind ``mcp``, as does a command that the operator allows; another one stays out, with what to do
instead. Nothing of a header's or a variable's value is in any sentence of this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from core.errors import InvalidInput
from core.hostedcommands import HostedCommand
from core.readable import readable
from core.strictyaml import Place, YamlText
from servers.models import NAME_PATTERN
from servers.services.configuration.form import KEPT, VERSION
from servers.services.configuration.reading import File

KIND: Final = "mcp"
MAX_LISTED: Final = 100

_ADDRESSES: Final = ("url", "serverUrl", "httpUrl")
_BRIDGES: Final = re.compile(r"(?:.*/)?(?:mcp-remote|marina-stdio)(?:@[^/\s]*)?")
"""Programs that only pass on to an address, which stands behind them."""
_PLACEHOLDER: Final = re.compile(r"\$\{[^}]*\}|\$[A-Z][A-Z0-9_]*")
_BEARER: Final = re.compile(r"(?i)bearer +(\S+)")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class McpList:
    """The file that a list comes to, and sentences on what of the list is not in it."""

    file: File
    notes: tuple[str, ...]


def is_mcp_list(found: YamlText) -> bool:
    """Whether this is a list of MCP servers, rather than a configuration."""
    return _listed(found.value) is not None


def convert_list(
    found: YamlText, *, taken: Collection[str], kinds: Collection[str], commands: Sequence[HostedCommand] = ()
) -> McpList:
    """The configuration that a list comes to. Data sources whose names are ``taken`` stay as they are.

    ``kinds`` are the kinds of data source that there are here, ``commands`` what may be run. Raises ``InvalidInput``.
    """
    steps = _listed(found.value) or ()
    listed, place = found.value, found.place
    for step in steps:
        listed, place = listed[step], place.below.get(step, place)
    _check_list(found, listed, steps)
    sources: dict[str, Any] = {}
    places: dict[str | int, Place] = {}
    notes: list[str] = []
    for given, entry in listed.items():
        name = _OTHER.sub("-", given).strip("-")[:64]
        at = place.below.get(given, place)
        shown = readable(given, 64)
        settings, why = _settings_of(entry, commands)
        if settings is not None and not re.fullmatch(NAME_PATTERN, name):
            why = "it has no name that a data source could have. Give it one of letters, digits, dots and hyphens."
        elif settings is not None and (name in taken or name in sources):
            why = f"there is a data source called {name} already, which stays as it is."
        elif settings is not None and KIND not in kinds:
            why = "MCP servers elsewhere are no kind of data source here yet."
        if why or settings is None:
            notes.append(f"{shown} (line {at.line}) is left out: {why}")
            continue
        if name != given:
            notes.append(f"{shown} (line {at.line}) is called {name} here.")
        sources[name], places[name] = {"kind": KIND, "settings": settings}, Place(at.line)
    whole = Place(place.line, {"sources": Place(place.line, places)})
    return McpList(File({"marina": VERSION, "sources": sources}, whole), tuple(notes))


def _listed(value: Any) -> tuple[str, ...] | None:
    """The steps to the list, where there is one."""
    if not isinstance(value, dict) or "marina" in value:
        return None
    for steps in (("mcpServers",), ("mcp", "servers"), ("servers",)):
        listed: Any = value
        for step in steps:
            listed = listed.get(step) if isinstance(listed, dict) else None
        if isinstance(listed, dict):
            return steps
    return None


def _check_list(found: YamlText, listed: Mapping[str, Any], steps: tuple[str, ...]) -> None:
    for names in _names(found.value):
        for name in names:
            if name.startswith(("//", "/*")):
                raise _refusal("", "comments that begin with // or /* are not read. Take them out.")
    path = ".".join(steps)
    if not listed:
        raise _refusal(path, "the list is empty.")
    if len(listed) > MAX_LISTED:
        raise _refusal(path, f"it has {len(listed)} servers; at most {MAX_LISTED} are taken at once.")
    for name, entry in listed.items():
        if not isinstance(entry, dict):
            raise _refusal(f"{path}.{name[:64]}", "must be an object with a url or a command.")


def _names(value: Any) -> Iterator[Collection[str]]:
    if isinstance(value, dict):
        yield value.keys()
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _names(each)


def _settings_of(
    entry: Mapping[str, Any], commands: Sequence[HostedCommand]
) -> tuple[dict[str, Any] | None, str]:
    """The settings of the data source, or why there is none."""
    if entry.get("disabled") is True or entry.get("enabled") is False:
        return None, "it is switched off in the list."
    url = next((entry[name] for name in _ADDRESSES if entry.get(name)), None)
    headers: Any = entry.get("headers") or {}
    if url is None and "command" in entry:
        url, headers = _behind_bridge(entry)
        if url is None:
            return _hosted(entry, commands)
    kind = str(entry.get("type") or entry.get("transport") or "").lower()
    if kind in ("ws", "websocket"):
        return (
            None,
            f"it is reached by {kind}. Give the address of its streamable HTTP endpoint, with type http.",
        )
    if not isinstance(url, str):
        return None, "it has no url."
    if _PLACEHOLDER.search(url):
        return None, "its address has a placeholder. Write the address out."
    if not isinstance(headers, dict) or any(not isinstance(value, str) for value in headers.values()):
        return None, "its headers are no object of texts."
    settings: dict[str, Any] = {"url": url.strip()}
    if kind == "sse":
        settings["transport"] = "sse"
    return _signing(settings, headers), ""


def _hosted(entry: Mapping[str, Any], commands: Sequence[HostedCommand]) -> tuple[dict[str, Any] | None, str]:
    """The settings for a command that may be run here: the longest that the entry's begins with."""
    args, env = entry.get("args") or [], entry.get("env") or {}
    if not isinstance(args, list) or any(not isinstance(each, str) for each in args):
        return None, "its args are no list of texts."
    if not isinstance(env, dict) or any(not isinstance(value, str) for value in env.values()):
        return None, "its env is no object of texts."
    if any(_PLACEHOLDER.search(each) for each in args):
        return None, "its args have a placeholder. Write them out."
    fitting = [
        (len(command.run), command, args[len(command.run) - 1 :])
        for command in commands
        if entry["command"] in (command.run[0], command.run[0].rpartition("/")[2])
        and list(command.run[1:]) == args[: len(command.run) - 1]
        and (command.arguments or len(args) == len(command.run) - 1)
    ]
    if not fitting:
        return None, (
            "it starts a command, and the operator allows none like it here. Run it where it belongs, as an MCP server "
            "with an address (streamable HTTP), and give that address as url; or ask the operator."
        )
    _, command, rest = max(fitting, key=lambda each: each[0])
    settings: dict[str, Any] = {"command": command.name}
    if rest:
        settings["args"] = rest
    if env:
        filled = all(isinstance(_value(value), str) for value in env.values())
        settings["env"] = env if filled else dict(KEPT)
    return settings, ""


def _signing(settings: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """The settings with what signs in; what a client would fill in has to be given."""
    rest = dict(headers)
    name = next((each for each in headers if each.lower() == "authorization"), "")
    bearer = _BEARER.fullmatch(headers.get(name, "").strip())
    if bearer:
        del rest[name]
        settings |= {"auth": "bearer", "token": _value(bearer[1])}
    if rest:
        filled = all(isinstance(_value(value), str) for value in rest.values())
        settings |= {"auth": settings.get("auth", "headers"), "headers": rest if filled else dict(KEPT)}
    return settings


def _value(text: str) -> Any:
    return dict(KEPT) if _PLACEHOLDER.search(text) else text


def _behind_bridge(entry: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    """The address that a command only passes on to, with the headers that it is told to send."""
    args = entry.get("args")
    words = [entry.get("command"), *(args if isinstance(args, list) else ())]
    texts = [word for word in words if isinstance(word, str)]
    at = next((place for place, word in enumerate(texts) if _BRIDGES.fullmatch(word)), None)
    if at is None:
        return None, {}
    url = next((word for word in texts[at + 1 :] if word.startswith(("https://", "http://"))), None)
    headers: dict[str, str] = {}
    for word, value in pairwise(texts):
        if word == "--header" and ":" in value:
            name, _, text = value.partition(":")
            headers[name.strip()] = text.strip()
    return url, headers


def _refusal(path: str, message: str) -> InvalidInput:
    what = f"{path}: {message}" if path else f"The list: {message}"
    return InvalidInput(
        f"{what} Nothing was changed.",
        errors=[{"path": path, "message": message}],
        code="configuration_invalid",
    )
