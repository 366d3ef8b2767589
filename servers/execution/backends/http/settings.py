"""The settings of an HTTP source: what an admin may give, their limits, and what may be shown. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from core.errors import InvalidInput
from servers.execution.backends.http.definitions import METHODS, header_fault
from servers.execution.backends.http.paths import PLACEHOLDER, BadAddress, path_faults, read_base_url
from servers.execution.parameters import Faults
from servers.execution.settings import read_flag, read_number, read_text

Auth = Literal["none", "bearer", "api_key", "basic", "oauth"]

MAX_ENDPOINTS: Final = 200
MAX_HEADERS: Final = 50
DEFAULT_KEY_HEADER: Final = "X-API-Key"

SECRETS: Final = frozenset({"token", "password", "client_secret"})

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "base_url": {
            "type": "string",
            "title": "Base address",
            "description": "Every request goes to this address or below it, and nowhere else: "
            "https://api.example.com/v1. Empty: the one that the OpenAPI document names.",
            "maxLength": 2_048,
        },
        "openapi": {
            "title": "OpenAPI document",
            "description": "Its address, or the document itself (3.0 or 3.1, JSON or YAML): each operation becomes a "
            "tool. Empty: a few tools that ask for any path.",
            "maxLength": 2_000_000,
            "x-document": True,
        },
        "operations": {
            "type": "array",
            "title": "Operations",
            "description": "Of the OpenAPI document: operationIds, GET /path, or tag:name. Empty: all.",
            "items": {"type": "string", "maxLength": 2_048},
            "maxItems": 2_000,
        },
        "auth": {
            "enum": ["none", "bearer", "api_key", "basic", "oauth"],
            "title": "How Marina signs in",
            "description": "bearer: a token. api_key: a key in a header. basic: user name and password. oauth: a "
            "token of its own by client credentials, renewed before it expires.",
            "default": "none",
        },
        "token": {
            "x-matters-for": {"auth": ["bearer", "api_key"]},
            "type": "string",
            "title": "Token or API key",
            "description": "For bearer and api_key.",
            "maxLength": 8_192,
            "writeOnly": True,
        },
        "key_header": {
            "x-matters-for": {"auth": ["api_key"]},
            "type": "string",
            "title": "Header of the API key",
            "description": f"For api_key. {DEFAULT_KEY_HEADER} where none is given.",
            "maxLength": 128,
        },
        "username": {
            "x-matters-for": {"auth": ["basic"]},
            "type": "string",
            "title": "User name",
            "description": "For basic.",
            "maxLength": 255,
        },
        "password": {
            "x-matters-for": {"auth": ["basic"]},
            "type": "string",
            "title": "Password",
            "description": "For basic.",
            "maxLength": 1_024,
            "writeOnly": True,
        },
        "token_url": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Address of the token endpoint",
            "description": "For oauth.",
            "maxLength": 2_048,
        },
        "client_id": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Client id",
            "description": "For oauth.",
            "maxLength": 512,
        },
        "client_secret": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Client secret",
            "description": "For oauth.",
            "maxLength": 1_024,
            "writeOnly": True,
        },
        "scope": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Scopes",
            "description": "For oauth: separated by spaces.",
            "maxLength": 1_024,
        },
        "client_auth": {
            "x-matters-for": {"auth": ["oauth"]},
            "enum": ["header", "body"],
            "title": "Where the client secret is sent",
            "description": "For oauth: in the Authorization header (client_secret_basic), or in the body "
            "(client_secret_post).",
            "default": "header",
        },
        "headers": {
            "type": "object",
            "title": "Headers of every request",
            "description": 'Such as {"Accept-Language": "en"}. They are shown: no secrets here.',
            "additionalProperties": {"type": "string"},
            "maxProperties": MAX_HEADERS,
        },
        "endpoints": {
            "type": "array",
            "title": "Endpoints",
            "description": "What may be asked for by name. Empty: anything below the base address. "
            '[{"name": "orders", "path": "/orders/{id}", "method": "GET", "description": "One order"}]',
            "maxItems": MAX_ENDPOINTS,
            "items": {
                "type": "object",
                "required": ["name", "path"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 64},
                    "path": {"type": "string", "minLength": 1, "maxLength": 2_048},
                    "method": {"enum": list(METHODS)},
                    "description": {"type": "string", "maxLength": 1_000},
                },
            },
        },
        "allow_writes": {
            "type": "boolean",
            "title": "Allow writes",
            "description": "Without it, nothing but GET and HEAD is sent.",
            "default": False,
        },
        "health_path": {
            "type": "string",
            "title": "Path that tells whether it works",
            "description": "Asked for when the source is tested. Empty: the base address, and any answer will do "
            "that is no fault of the server.",
            "maxLength": 2_048,
        },
        "requests_per_minute": {
            "type": "integer",
            "title": "Most requests a minute, for each process",
            "minimum": 1,
            "maximum": 60_000,
            "default": 600,
        },
        "timeout": {
            "type": "number",
            "title": "Time limit of a request, seconds",
            "minimum": 1,
            "maximum": 30,
            "default": 10,
        },
        "max_bytes": {
            "type": "integer",
            "title": "Most bytes in one answer",
            "minimum": 1_024,
            "maximum": 4_194_304,
            "default": 1_048_576,
        },
        "pool_max": {
            "type": "integer",
            "title": "Most connections, for each process",
            "minimum": 1,
            "maximum": 20,
            "default": 10,
        },
    },
}

_PROPERTIES: Final[Mapping[str, Any]] = SETTINGS_SCHEMA["properties"]
_NEEDED: Final[Mapping[Auth, tuple[str, ...]]] = {
    "none": (),
    "bearer": ("token",),
    "api_key": ("token",),
    "basic": ("username", "password"),
    "oauth": ("token_url", "client_id", "client_secret"),
}
_TAKEN: Final[Mapping[Auth, frozenset[str]]] = {
    "none": frozenset(),
    "bearer": frozenset({"token"}),
    "api_key": frozenset({"token", "key_header"}),
    "basic": frozenset({"username", "password"}),
    "oauth": frozenset({"token_url", "client_id", "client_secret", "scope", "client_auth"}),
}
_OF_AUTH: Final = frozenset().union(*_TAKEN.values()) - {"client_auth"}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SECRET_HEADER: Final = re.compile(r"(?i)(?:^|[-_])(?:api-?key|token|secret|password|auth|authorization)$")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place below the base address with a name. ``path`` may hold ``{parameters}``; no ``method``: any."""

    name: str
    path: str
    method: str | None
    description: str


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Settings ready for use. Times in seconds, sizes in bytes; ``base_url`` has no slash at its end."""

    base_url: str
    auth: Auth
    token: str = field(repr=False)
    key_header: str
    username: str
    password: str = field(repr=False)
    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str
    secret_in_body: bool
    headers: Mapping[str, str]
    endpoints: Mapping[str, Endpoint]
    allow_writes: bool
    health_path: str
    requests_per_minute: int
    timeout: float
    max_bytes: int
    pool_max: int


def read_settings(settings: Mapping[str, Any]) -> HttpSettings:
    """Parse and check everything. Raises ``InvalidInput`` with every fault at once."""
    faults: Faults = [
        {"path": str(name)[:80], "message": "There is no such setting."}
        for name in settings
        if name not in _PROPERTIES
    ]
    texts = {
        name: read_text(settings, name, rule, faults, secret=name in SECRETS)
        for name, rule in _PROPERTIES.items()
        if rule.get("type") == "string"
    }
    auth = _read_choice(settings, "auth", faults)
    client_auth = _read_choice(settings, "client_auth", faults)
    _check_auth(auth, texts, faults)
    base_url = _read_address(texts, "base_url", faults)
    token_url = _read_address(texts, "token_url", faults) if auth == "oauth" and texts["token_url"] else ""
    if token_url and texts["token_url"].endswith("/"):
        token_url += "/"  # below an address, a slash more or less is the same; at one it is not
    if texts["health_path"]:
        for fault in path_faults(texts["health_path"]) or _placeholders(texts["health_path"]):
            faults.append({"path": "health_path", "message": fault["message"]})
    numbers = {
        name: read_number(settings, name, rule, faults)
        for name, rule in _PROPERTIES.items()
        if rule.get("type") in ("integer", "number")
    }
    checked = HttpSettings(
        base_url=base_url,
        auth=auth,
        token=texts["token"],
        key_header=texts["key_header"] or DEFAULT_KEY_HEADER,
        username=texts["username"],
        password=texts["password"],
        token_url=token_url,
        client_id=texts["client_id"],
        client_secret=texts["client_secret"],
        scope=texts["scope"],
        secret_in_body=client_auth == "body",
        headers=_read_headers(settings, faults),
        endpoints=_read_endpoints(settings, faults),
        allow_writes=read_flag(settings, "allow_writes", faults),
        health_path=texts["health_path"],
        requests_per_minute=int(numbers["requests_per_minute"]),
        timeout=float(numbers["timeout"]),
        max_bytes=int(numbers["max_bytes"]),
        pool_max=int(numbers["pool_max"]),
    )
    if faults:
        raise InvalidInput("The settings of the data source are not valid.", errors=faults)
    return checked


def clean_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are stored: checked, with every default written out, and no part of signing in to spare."""
    checked = read_settings(settings)
    kept: dict[str, Any] = {
        name: getattr(checked, name)
        for name in sorted(_TAKEN[checked.auth] & _OF_AUTH)
        if getattr(checked, name)
    }
    if checked.auth == "oauth":
        kept["client_auth"] = "body" if checked.secret_in_body else "header"
    if checked.health_path:
        kept["health_path"] = checked.health_path
    return {
        "base_url": checked.base_url,
        "auth": checked.auth,
        **kept,
        "headers": dict(checked.headers),
        "endpoints": [_shown(endpoint) for endpoint in checked.endpoints.values()],
        "allow_writes": checked.allow_writes,
        "requests_per_minute": checked.requests_per_minute,
        "timeout": settings.get("timeout") or _PROPERTIES["timeout"]["default"],
        "max_bytes": checked.max_bytes,
        "pool_max": checked.pool_max,
    }


def _shown(endpoint: Endpoint) -> dict[str, str]:
    shown = {"name": endpoint.name, "path": endpoint.path}
    if endpoint.method:
        shown["method"] = endpoint.method
    if endpoint.description:
        shown["description"] = endpoint.description
    return shown


def _check_auth(auth: Auth, texts: Mapping[str, str], faults: Faults) -> None:
    for name in _NEEDED[auth]:
        if not texts[name]:
            faults.append({"path": name, "message": f"Signing in by {auth} needs it."})
    for name in sorted(_OF_AUTH - _TAKEN[auth]):
        if texts[name]:
            users = " or ".join(each for each, taken in _TAKEN.items() if name in taken)
            faults.append(
                {"path": name, "message": f"auth is {auth}: leave this out, or set auth to {users}."}
            )
    for name in ("token", "client_id", "client_secret"):
        if texts[name] and not (_PRINTABLE if name == "token" else _HEADER_VALUE).fullmatch(texts[name]):
            faults.append(
                {"path": name, "message": "It holds a space, a line break or another sign that none has."}
            )
    for name in ("username", "password"):
        if any(ord(character) < 0x20 or ord(character) == 0x7F for character in texts[name]):
            faults.append({"path": name, "message": "It holds an invisible character. Leave it out."})
    if ":" in texts["username"]:
        faults.append({"path": "username", "message": "A user name for basic has no colon (RFC 7617)."})
    if texts["key_header"] and (fault := header_fault(texts["key_header"])):
        faults.append({"path": "key_header", "message": fault})


def _read_address(texts: Mapping[str, str], name: str, faults: Faults) -> str:
    try:
        return read_base_url(texts[name])
    except BadAddress as fault:
        faults.append({"path": name, "message": str(fault)})
        return ""


def _placeholders(path: str) -> list[dict[str, str]]:
    return [{"message": "It has no {parameters}: fill them in."}] if PLACEHOLDER.search(path) else []


def _read_headers(settings: Mapping[str, Any], faults: Faults) -> dict[str, str]:
    given = settings.get("headers") or {}
    if not isinstance(given, Mapping) or len(given) > MAX_HEADERS:
        message = f'Give an object of at most {MAX_HEADERS} headers: {{"Accept-Language": "en"}}.'
        faults.append({"path": "headers", "message": message})
        return {}
    headers: dict[str, str] = {}
    for name, value in given.items():
        message = header_fault(name)
        if not message and _SECRET_HEADER.search(str(name)):
            message = (
                "That looks like a secret, and headers are shown. Set auth to api_key, with this key_header."
            )
        elif not message and (not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value)):
            message = "Give a text of plain ASCII characters, with no space at its ends."
        elif not message and str(name).lower() in {each.lower() for each in headers}:
            message = "It is there twice."
        if message:
            faults.append({"path": f"headers.{str(name)[:80]}", "message": message})
        else:
            headers[str(name)] = value
    return headers


def _read_endpoints(settings: Mapping[str, Any], faults: Faults) -> dict[str, Endpoint]:
    given = settings.get("endpoints") or []
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > MAX_ENDPOINTS:
        message = f'Give a list of at most {MAX_ENDPOINTS}: [{{"name": "orders", "path": "/orders"}}].'
        faults.append({"path": "endpoints", "message": message})
        return {}
    endpoints: dict[str, Endpoint] = {}
    for index, each in enumerate(given):
        at = f"endpoints.{index}"
        if not isinstance(each, Mapping):
            faults.append({"path": at, "message": "Give an object with a name and a path."})
            continue
        rule = _PROPERTIES["endpoints"]["items"]["properties"]
        for key in each.keys() - rule.keys():
            faults.append({"path": f"{at}.{str(key)[:80]}", "message": "There is no such key."})
        name, path = each.get("name"), each.get("path")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in endpoints:
            message = "Give a name of letters, digits, dots, hyphens and underscores that no other has."
            faults.append({"path": f"{at}.name", "message": message})
        for fault in path_faults(path):
            faults.append({"path": f"{at}.path", "message": fault["message"]})
        method, description = each.get("method"), each.get("description") or ""
        if method is not None and method not in METHODS:
            faults.append({"path": f"{at}.method", "message": f"It is one of {', '.join(METHODS)}."})
        if not isinstance(description, str) or len(description) > rule["description"]["maxLength"]:
            faults.append({"path": f"{at}.description", "message": "Give a text of at most 1000 characters."})
        endpoints[str(name)] = Endpoint(str(name), str(path), method, str(description))
    return endpoints


def _read_choice(settings: Mapping[str, Any], name: str, faults: Faults) -> Any:
    rule = _PROPERTIES[name]
    value = settings.get(name)
    if value is None:
        return rule["default"]
    if not isinstance(value, str) or value not in rule["enum"]:
        faults.append({"path": name, "message": f"It is one of {', '.join(rule['enum'])}."})
        return rule["default"]
    return value
