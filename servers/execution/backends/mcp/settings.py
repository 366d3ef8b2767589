"""The settings of an upstream MCP server: what an admin may give, their limits, and what may be shown. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from core.errors import InvalidInput
from servers.execution.backends.mcp.picks import MAX_PICKS, Picks, pick_faults
from servers.execution.parameters import Faults
from servers.execution.settings import read_number, read_text

Auth = Literal["none", "bearer", "headers"]

MAX_HEADERS: Final = 30
MAX_PREFIX: Final = 32
CATALOG: Final = "catalog"
"""Under it, in settings that are in memory only, stands what the server said that it offers."""
KEPT: Final = "upstream"
"""Under it is kept what the server was when its offer was taken over. Nobody enters it."""

SECRETS: Final = frozenset({"token", "headers"})

_PICKED: Final = (
    "Names, or patterns with * and ?; a ! before one leaves out what it fits. Empty: all. For none: !*"
)

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": {
            "type": "string",
            "title": "Address",
            "description": "Of the server's MCP endpoint (streamable HTTP): https://mcp.example.com/mcp.",
            "maxLength": 2_048,
        },
        "auth": {
            "enum": ["none", "bearer", "headers"],
            "title": "How Marina signs in",
            "description": "bearer: a token. headers: headers of your own, such as an API key. A caller's own token is "
            "never passed on.",
            "default": "none",
        },
        "token": {
            "x-matters-for": {"auth": ["bearer"]},
            "type": "string",
            "title": "Token",
            "description": "For bearer.",
            "maxLength": 8_192,
            "writeOnly": True,
        },
        "headers": {
            "x-matters-for": {"auth": ["headers", "bearer"]},
            "type": "object",
            "title": "Headers of every request",
            "description": 'Such as {"X-API-Key": "…"}.',
            "additionalProperties": {"type": "string"},
            "maxProperties": MAX_HEADERS,
            "writeOnly": True,
        },
        "prefix": {
            "type": "string",
            "title": "Prefix of its names",
            "description": "Stands before the names of its tools and prompts: github_ makes github_search of search. "
            "Empty: none, unless a name is taken already.",
            "maxLength": MAX_PREFIX,
        },
        "tools": {
            "type": "array",
            "title": "Tools",
            "description": _PICKED,
            "items": {"type": "string", "maxLength": 256},
            "maxItems": MAX_PICKS,
        },
        "resources": {
            "type": "array",
            "title": "Resources",
            "description": f"URIs. {_PICKED}",
            "items": {"type": "string", "maxLength": 256},
            "maxItems": MAX_PICKS,
        },
        "prompts": {
            "type": "array",
            "title": "Prompts",
            "description": _PICKED,
            "items": {"type": "string", "maxLength": 256},
            "maxItems": MAX_PICKS,
        },
        "timeout": {
            "type": "number",
            "title": "Time limit of a call, seconds",
            "minimum": 1,
            "maximum": 30,
            "default": 30,
        },
        "max_bytes": {
            "type": "integer",
            "title": "Most bytes in one answer",
            "minimum": 1_024,
            "maximum": 8_388_608,
            "default": 4_194_304,
        },
    },
}

_PROPERTIES: Final[Mapping[str, Any]] = SETTINGS_SCHEMA["properties"]
_TAKEN: Final[Mapping[Auth, frozenset[str]]] = {
    "none": frozenset(),
    "bearer": frozenset({"token", "headers"}),
    "headers": frozenset({"headers"}),
}
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OWN_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.?)+|\[[0-9A-Fa-f:.]+\]")
_UPWARDS: Final = re.compile(r"(?i)/(?:\.|%2e){1,2}(?:/|$)")


@dataclass(frozen=True, slots=True)
class McpSettings:
    """Settings ready for use. ``timeout`` in seconds; ``headers`` are all that sign in, a token's included."""

    url: str
    auth: Auth
    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    prefix: str
    tools: Picks
    resources: Picks
    prompts: Picks
    timeout: float
    max_bytes: int

    @property
    def signing(self) -> list[tuple[str, str]]:
        """The headers that sign a request in."""
        bearer = [("Authorization", f"Bearer {self.token}")] if self.token else []
        return [*bearer, *self.headers.items()]

    @property
    def secrets(self) -> list[str]:
        """What may stand in nothing that is shown. Longest first: one may be the beginning of another."""
        secrets = [each for each in (self.token, *self.headers.values()) if len(each) >= 6]
        return sorted(secrets, key=len, reverse=True)


def read_settings(settings: Mapping[str, Any]) -> McpSettings:
    """Parse and check everything. Raises ``InvalidInput`` with every fault at once."""
    faults: Faults = [
        {"path": str(name)[:80], "message": "There is no such setting."}
        for name in settings
        if name not in _PROPERTIES and name not in (CATALOG, KEPT)
    ]
    url = read_text(settings, "url", _PROPERTIES["url"], faults)
    if fault := address_fault(url):
        faults.append({"path": "url", "message": fault})
    token = read_text(settings, "token", _PROPERTIES["token"], faults, secret=True)
    headers = _read_headers(settings.get("headers"), faults)
    auth = _read_auth(settings, token, headers, faults)
    prefix = read_text(settings, "prefix", _PROPERTIES["prefix"], faults)
    if prefix and not _PREFIX.fullmatch(prefix):
        message = "It begins with a letter or digit, and has letters, digits, dots, hyphens and underscores."
        faults.append({"path": "prefix", "message": message})
    checked = McpSettings(
        url=url,
        auth=auth,
        token=token,
        headers=headers,
        prefix=prefix,
        tools=_read_picks(settings, "tools", faults),
        resources=_read_picks(settings, "resources", faults),
        prompts=_read_picks(settings, "prompts", faults),
        timeout=float(read_number(settings, "timeout", _PROPERTIES["timeout"], faults)),
        max_bytes=int(read_number(settings, "max_bytes", _PROPERTIES["max_bytes"], faults)),
    )
    if faults:
        raise InvalidInput("The settings of the data source are not valid.", errors=faults)
    return checked


def clean_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are stored: checked, with every default written out, and nothing that is empty."""
    checked = read_settings(settings)
    kept = {
        "token": checked.token,
        "headers": dict(checked.headers),
        "prefix": checked.prefix,
        "tools": list(checked.tools.patterns),
        "resources": list(checked.resources.patterns),
        "prompts": list(checked.prompts.patterns),
    }
    return {
        "url": checked.url,
        "auth": checked.auth,
        **{name: value for name, value in kept.items() if value},
        "timeout": settings.get("timeout") or _PROPERTIES["timeout"]["default"],
        "max_bytes": checked.max_bytes,
    }


def address_fault(url: str) -> str:
    """Why no MCP server is asked at this address; empty where one may be."""
    if not url:
        return "Give the address of the server's MCP endpoint: https://mcp.example.com/mcp."
    if not url.isascii() or not _PRINTABLE.fullmatch(url) or "\\" in url:
        return "The address holds a space, a backslash or a sign that is not ASCII. Leave it out."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "The address cannot be read. Write it as https://mcp.example.com/mcp."
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "The address begins with https:// or http:// and names a host."
    if "@" in parts.netloc:
        return "The address holds a user name or password. Signing in is a setting of its own."
    if "#" in url or _UPWARDS.search(parts.path):
        return "The address holds a # or leads upwards (..). Leave it out."
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc.removesuffix(":")
    if not _HOST.fullmatch(host) or port == 0:
        return "The host is no name or IP address; write an international name in its xn-- form."
    return ""


def _read_auth(settings: Mapping[str, Any], token: str, headers: Mapping[str, str], faults: Faults) -> Auth:
    given = settings.get("auth")
    if given is None:
        # Whoever pastes a token or headers means them to be sent.
        given = "bearer" if token else "headers" if headers else "none"
    if not isinstance(given, str) or given not in _TAKEN:
        faults.append({"path": "auth", "message": f"It is one of {', '.join(_TAKEN)}."})
        return "none"
    auth: Auth = given  # type: ignore[assignment]  # it is one of them
    present = {"token": bool(token), "headers": bool(headers)}
    if auth == "bearer" and not token:
        faults.append({"path": "token", "message": "Signing in by bearer needs it."})
    if auth == "headers" and not headers:
        faults.append({"path": "headers", "message": "Signing in by headers needs at least one."})
    for name in sorted(SECRETS - _TAKEN[auth]):
        if present[name]:
            users = " or ".join(each for each, taken in _TAKEN.items() if name in taken)
            message = f"auth is {auth}: leave this out, or set auth to {users}."
            faults.append({"path": name, "message": message})
    if token and not _PRINTABLE.fullmatch(token):
        message = "It holds a space, a line break or another sign that none has."
        faults.append({"path": "token", "message": message})
    if token and any(name.lower() == "authorization" for name in headers):
        message = "The token is sent in this header. Leave one of the two out."
        faults.append({"path": "headers.Authorization", "message": message})
    return auth


def _read_headers(given: Any, faults: Faults) -> dict[str, str]:
    if given in (None, ""):
        return {}
    if not isinstance(given, Mapping) or len(given) > MAX_HEADERS:
        message = f'Give an object of at most {MAX_HEADERS} headers: {{"X-API-Key": "…"}}.'
        faults.append({"path": "headers", "message": message})
        return {}
    headers: dict[str, str] = {}
    for name, value in given.items():
        message = _header_fault(name)
        if not message and (
            not isinstance(value, str) or len(value) > 8_192 or not _HEADER_VALUE.fullmatch(value)
        ):
            message = "Give a text of plain ASCII characters, with no space at its ends."
        elif not message and name.lower() in {each.lower() for each in headers}:
            message = "It is there twice."
        if message:
            faults.append({"path": f"headers.{str(name)[:80]}", "message": message})
        else:
            headers[name] = value
    return headers


def _header_fault(name: Any) -> str:
    if not isinstance(name, str) or not _HEADER.fullmatch(name):
        return "A header's name has letters, digits and hyphens."
    lower = name.lower()
    if lower in _OWN_HEADERS or lower.startswith(("mcp-", "proxy-", "sec-")):
        return "Marina writes this header itself."
    return ""


def _read_picks(settings: Mapping[str, Any], name: str, faults: Faults) -> Picks:
    given = settings.get(name)
    found = pick_faults(given)
    faults.extend({"path": f"{name}{path}", "message": message} for path, message in found)
    return Picks(() if found or given in (None, "") else tuple(given))
