"""What a configuration file looks like: its version, its sections, and its JSON Schema. Reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from servers.models import MAX_CACHE_SECONDS, MAX_DEADLINE, Tool
from servers.services.tasks.priorities import NORMAL, PRIORITIES

VERSION: Final = 1
"""Stands in each file as ``marina``. It grows when what is there changes its meaning, not when something is added."""

MAX_BYTES: Final = 8 * 1024 * 1024

KEPT: Final[Mapping[str, Any]] = {"kept": True}
"""Stands in a file for a setting that is not written into files: a secret, or a document that was given whole."""

Section = str
SECTIONS: Final[Mapping[Section, str]] = {
    "sources": "source",
    "tools": "tool",
    "resources": "resource",
    "prompts": "prompt",
    "servers": "server",
}
"""The sections in the order of a file, each with what one of it is called."""

_KEPT_WORDS: Final = (
    "A setting that is not written into files stands as {kept: true}: it stays as it is while the others do, and has "
    "to be given where there is none yet."
)


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _entries(description: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "description": description, "additionalProperties": entry}


def _entry(required: list[str], properties: Mapping[str, Any], *, closed: bool = True) -> dict[str, Any]:
    shape = {"type": "object", "required": required, "properties": dict(properties)}
    return {**shape, "additionalProperties": False} if closed else shape


_ENABLED: Final = {"type": "boolean", "default": True, "description": "false: no server offers it."}
_SHARING: Final[Mapping[str, Any]] = {
    "cache_seconds": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_CACHE_SECONDS,
        "default": 0,
        "description": "How long a result is kept for the same call; 0: not at all.",
    },
    "collapses": {
        "type": "boolean",
        "default": True,
        "description": "false: the same call, made several times at once, runs each time.",
    },
}
_RUNNING: Final[Mapping[str, Any]] = {
    "runs": {
        "type": "string",
        "enum": list(Tool.Runs.values),
        "default": "automatic",
        "description": "Where its calls run: within their requests (inline), or at a worker, as tasks.",
    },
    "deadline": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_DEADLINE,
        "description": "Seconds that a run may take. Left out: as long as one of its way of running may.",
    },
    "priority": {
        "type": "string",
        "enum": list(PRIORITIES),
        "default": NORMAL,
        "description": "How urgent its tasks are among the team's.",
    },
}
_ON: Final = _text("The name of the data source that it stands on.")
_TITLE: Final = _text("What people read. Left out: none, or what the definition says.")
_DESCRIPTION: Final = _text("What models read. Left out: none, or what the definition says.")
_OBJECT: Final = {"type": "object"}

_BROUGHT: Final = _entry(
    [],
    {
        "tools": _entries(
            "By name.",
            _entry(
                [],
                {
                    "enabled": _ENABLED,
                    "title": _TITLE,
                    "description": _DESCRIPTION,
                    **_SHARING,
                    **_RUNNING,
                    "definition": _OBJECT,
                },
            ),
        ),
        "resources": _entries("By URI.", _entry([], {"enabled": _ENABLED})),
        "prompts": _entries("By name.", _entry([], {"enabled": _ENABLED})),
    },
)

SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Marina configuration",
    "description": "The configuration of one team, without secrets. Members, roles, API keys, OAuth clients and the "
    "log are not in it. A section that is left out is not touched.",
    "type": "object",
    "required": ["marina"],
    "additionalProperties": False,
    "properties": {
        "marina": {"const": VERSION, "description": "The version of this form."},
        "sources": _entries(
            "Data sources, by name.",
            _entry(
                ["kind"],
                {
                    "kind": _text("Its kind, such as postgres or http."),
                    "prefix": _text(
                        "What the names of its tools and prompts begin with. Left out: nothing, or the source's name "
                        "where names are taken. It cannot be changed."
                    ),
                    "settings": {
                        **_OBJECT,
                        "description": f"All settings of its kind; what is left out is as by default. {_KEPT_WORDS}",
                    },
                    "brought": {
                        **_BROUGHT,
                        "description": "What came with it and is not as it came, by the names that it has here.",
                    },
                },
            ),
        ),
        "tools": _entries(
            "The team's own tools, by name.",
            _entry(
                ["source", "kind", "definition"],
                {
                    "source": _ON,
                    "kind": _text("The kind of tool, such as sql."),
                    "title": _TITLE,
                    "description": _DESCRIPTION,
                    "enabled": _ENABLED,
                    **_SHARING,
                    **_RUNNING,
                    "definition": {**_OBJECT, "description": "As the editor and the REST API have it."},
                },
            ),
        ),
        "resources": _entries(
            "The team's own resources and templates, by URI; their members are those of the REST API.",
            _entry(["source"], {"source": _ON, "enabled": _ENABLED}, closed=False),
        ),
        "prompts": _entries(
            "The team's own prompts, by name; their members are those of the REST API.",
            _entry(["source"], {"source": _ON, "enabled": _ENABLED}, closed=False),
        ),
        "servers": _entries(
            "MCP servers, by the last part of their URL.",
            _entry(
                ["title"],
                {
                    "title": _text("What people read."),
                    "access": {"enum": ["private", "public"], "default": "private"},
                    "instructions": _text("What clients are told."),
                    "sources": {
                        "type": ["string", "array"],
                        "pattern": "^all$",
                        "items": {"type": "string"},
                        "default": "all",
                        "description": "all, or the names of the data sources that it offers.",
                    },
                },
            ),
        ),
    },
}
