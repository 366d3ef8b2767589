"""What the things that teams store may be called, and how large they may be. Reads and stores nothing."""

from __future__ import annotations

from typing import Any, Final

from servers.execution.contract import Offered, OfferedPrompt, OfferedResource
from servers.models import NAME_PATTERN
from tenants.services.inputs import as_json, clean_text, matching

MAX_DEFINITION_BYTES: Final = 128 * 1024
MAX_SCHEMA_BYTES: Final = 64 * 1024
"""Schemas travel to every client with each list, and to every model: they stay small."""

MAX_EXTRAS_BYTES: Final = 64 * 1024
"""Of a resource's or prompt's lists and icons together as JSON: they travel with each list too."""

_MAX_DESCRIPTION: Final = 8_000


def check_name(name: object, path: str = "name") -> None:
    """Raise ``InvalidInput`` unless a tool, a prompt or a data source may be called so."""
    matching(name, path, NAME_PATTERN, "must be 1 to 64 letters, digits, dots, hyphens and underscores.")


def check_prefix(prefix: object, path: str = "prefix") -> None:
    """Raise ``InvalidInput`` unless the names of what a data source brings may begin so."""
    rule = "must be 1 to 64 letters, digits, dots, hyphens and underscores, the last an underscore."
    matching(prefix, path, r"^[A-Za-z0-9_.-]{0,63}_$", rule)


def clean_title(title: object, path: str = "title") -> str:
    """A title as it is stored. Raises ``InvalidInput``."""
    return clean_text(title, path, longest=200, empty=True)


def clean_description(description: object, path: str = "description") -> str:
    """A description as it is stored. Raises ``InvalidInput``."""
    return clean_text(description, path, longest=_MAX_DESCRIPTION, empty=True, lines=True)


def offered_fields(
    offered: Offered | OfferedResource | OfferedPrompt, path: str, description: str
) -> dict[str, Any]:
    """What is stored alike of whatever a source brings. Raises ``InvalidInput`` with ``path`` and what is below it."""
    operation = offered.operation
    return {
        "title": clean_title(offered.title, f"{path}.title"),
        "description": clean_description(description, f"{path}.description"),
        "kind": clean_text(operation.kind, f"{path}.kind", longest=32),
        "definition": as_json(dict(operation.definition), path, largest=MAX_DEFINITION_BYTES),
    }
