"""Writes a team's configuration as a file: without secrets, and always the same bytes. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from textwrap import indent
from typing import Any, Final

from core.errors import Forbidden
from core.yamltext import write_yaml
from servers.models import DataSource
from servers.services.configuration.form import SECTIONS, VERSION
from servers.services.configuration.settings import written_settings
from servers.services.configuration.states import State, describe_state, load_state
from servers.services.visibility import servers_left, tools_left
from tenants.access import Caller
from tenants.scoping import tenant_scope

_HEAD: Final = """\
# The configuration of a team in Marina. No secrets are in it: what stands as {kept: true} stays as it is where it is
# stored, and has to be given where it is not. Members, keys and the log are not part of it.
"""
_MAX_COMMENT: Final = 200


def export_configuration(*, caller: Caller) -> str:
    """The file of all that the team has configured, as YAML. Raises ``Forbidden``."""
    require_whole(caller)
    with tenant_scope(caller.tenant_id):
        return write_file(load_state(caller=caller))


def name_file(slug: str) -> str:
    """What the file of a team is called."""
    return f"{slug}.marina.yaml"


def require_whole(caller: Caller) -> None:
    """Raise ``Forbidden`` for a credential that sees a part of the team only: a file is of all of it."""
    if servers_left(caller) is None and tools_left(caller) is None:
        return
    raise Forbidden(
        "This credential is narrowed to some servers or tools, and a configuration is of the whole team. Use a key "
        "without scopes that begin with server: or tool:.",
        rule="scope:narrowed",
        code="insufficient_scope",
    )


def write_file(state: State) -> str:
    """The text of a state."""
    sections = describe_state(state)
    parts = [_HEAD, write_yaml({"marina": VERSION})]
    for section in SECTIONS:
        entries = sections[section]
        if not entries:
            parts.append(write_yaml({section: {}}))
            continue
        parts.append(f"{section}:\n")
        for name, entry in entries.items():
            comment = _about(state.sources[name]) if section == "sources" else ""
            parts.append(f"  # {comment}\n" if comment else "")
            parts.append(indent(write_yaml({name: in_order(entry)}), "  "))
    return "".join(parts)


def in_order(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its members in the order that they were put in, and all below them by name."""
    return {name: _by_name(value) for name, value in entry.items()}


def _by_name(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _by_name(value[name]) for name in sorted(value)}
    return [_by_name(each) for each in value] if isinstance(value, list | tuple) else value


def _about(row: DataSource) -> str:
    """What may be shown of settings that are not in the file: where a connection string leads, which document it is."""
    written = written_settings(row)
    shown: dict[str, Any] = {}
    for name, value in row.settings.items():
        if name not in written:
            shown[name] = value
        elif isinstance(value, Mapping) and value.get("digest"):
            shown[name] = f"{value.get('title', '')} {value.get('version', '')}".strip()
    return ", ".join(f"{name}: {json.dumps(value)}" for name, value in sorted(shown.items()))[:_MAX_COMMENT]
