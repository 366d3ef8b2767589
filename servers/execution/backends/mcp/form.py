"""The form of an upstream MCP server's settings, as JSON Schema: what people are shown, and the limits of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from servers.execution.backends.mcp.overrides import MAX_OVERRIDES
from servers.execution.backends.mcp.picks import MAX_PICKS

MAX_HEADERS: Final = 30
MAX_PREFIX: Final = 32
MAX_ARGS: Final = 50
MAX_ENV: Final = 50
MAX_REPLICAS: Final = 15

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
            "description": "Of the server's MCP endpoint: https://mcp.example.com/mcp.",
            "maxLength": 2_048,
        },
        "replicas": {
            "type": "array",
            "title": "Further addresses",
            "description": "Of copies of the same server, which are asked with the same credentials. One that does not "
            "answer is left out until it does again.",
            "items": {"type": "string", "maxLength": 2_048},
            "maxItems": MAX_REPLICAS,
        },
        "balance": {
            "enum": ["round_robin", "least_busy"],
            "title": "Which of them is asked",
            "description": "round_robin: each in turn. least_busy: the one with the fewest calls under way. A caller's "
            "session stays where it began.",
            "default": "round_robin",
        },
        "transport": {
            "enum": ["auto", "http", "sse"],
            "title": "Transport",
            "description": "http: streamable HTTP. sse: the former HTTP+SSE. auto: that where the server does not know "
            "the other.",
            "default": "auto",
        },
        "auth": {
            "enum": ["none", "bearer", "headers", "oauth"],
            "title": "How Marina signs in",
            "description": "bearer: a token. headers: headers of your own, such as an API key. oauth: at the server's "
            "authorization server, by a browser. A caller's own token is never passed on.",
            "default": "none",
        },
        "sign_in": {
            "x-matters-for": {"auth": ["oauth"]},
            "enum": ["team", "member", "client"],
            "title": "Who signs in",
            "description": "For oauth. team: one person, for everybody who calls. member: each member for themselves; "
            "API keys are refused. client: Marina itself, by client id and secret.",
            "default": "team",
        },
        "client_id": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Client id",
            "description": "For oauth, where the authorization server gave you one. Else Marina makes itself known.",
            "maxLength": 2_048,
        },
        "client_secret": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Client secret",
            "description": "Of the client id, where it has one.",
            "maxLength": 4_096,
            "writeOnly": True,
        },
        "issuer": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Authorization server",
            "description": "Whose client id it is: its issuer, such as https://login.example.com. The secret is sent "
            "there, and nowhere else.",
            "maxLength": 2_048,
        },
        "scope": {
            "x-matters-for": {"auth": ["oauth"]},
            "type": "string",
            "title": "Scopes",
            "description": "For oauth, separated by spaces. Empty: those that the server asks for.",
            "maxLength": 2_000,
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
        "overrides": {
            "type": "object",
            "title": "Overrides of its tools",
            "description": "By the server's own names: name, title, description, defaults (values of arguments that "
            "are not given), hidden (arguments that nobody sees), annotations. What is left out stays the server's.",
            "additionalProperties": {"type": "object"},
            "maxProperties": MAX_OVERRIDES,
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

_OF_ADDRESSES: Final = {"x-matters-for": {"transport": ["auto", "http", "sse"]}}
_OF_COMMANDS: Final = {"x-matters-for": {"transport": ["stdio"]}}
_COMMAND: Final[Mapping[str, Any]] = {
    "command": {
        **_OF_COMMANDS,
        "type": "string",
        "title": "Command",
        "maxLength": 64,
    },
    "args": {
        **_OF_COMMANDS,
        "type": "array",
        "title": "Further arguments",
        "description": "Where the operator allows any.",
        "items": {"type": "string", "maxLength": 4_096},
        "maxItems": MAX_ARGS,
    },
    "env": {
        **_OF_COMMANDS,
        "type": "object",
        "title": "Environment",
        "description": 'What the command finds in its environment: {"API_KEY": "…"}.',
        "additionalProperties": {"type": "string"},
        "maxProperties": MAX_ENV,
        "writeOnly": True,
    },
}
PROPERTIES: Final[Mapping[str, Any]] = {**SETTINGS_SCHEMA["properties"], **_COMMAND}
"""Those of all sources, whatever the operator allows."""


def schema_with(commands: Mapping[str, str]) -> Mapping[str, Any]:
    """The schema of the settings where the operator allows commands: each name with what it is."""
    if not commands:
        return SETTINGS_SCHEMA
    plain = SETTINGS_SCHEMA["properties"]
    told = "; ".join(f"{name}: {note.rstrip('.')}" if note else name for name, note in commands.items())
    transport = {
        **plain["transport"],
        "enum": [*plain["transport"]["enum"], "stdio"],
        "description": f"{plain['transport']['description']} stdio: a command that Marina runs, in a sandbox.",
    }
    command = {**_COMMAND["command"], "description": f"One that the operator allows: {told}."}
    address = {**_OF_ADDRESSES, **plain["url"]}
    rest = {
        name: {**_OF_ADDRESSES, **plain[name]} if name in ("auth", "balance", "replicas") else plain[name]
        for name in plain
    }
    return {
        **{name: value for name, value in SETTINGS_SCHEMA.items() if name != "required"},
        "properties": {
            "transport": transport,
            "url": address,
            **_COMMAND,
            "command": command,
            **{name: rule for name, rule in rest.items() if name not in ("transport", "url")},
        },
    }
