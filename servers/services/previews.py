"""What a tool would be, before it is saved. Stores nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

from core.errors import NotFound
from servers.execution.contract import Draft, Offered
from servers.models import DataSource
from servers.services.kinds import backend_of
from servers.services.on_source import find_source
from servers.services.sources import execution_source
from servers.services.tools import compile_tool, find_offered
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text

MAX_PASTED: Final = 65_536


def preview_tool(
    source: str, kind: str, definition: Mapping[str, Any], name: str = "", *, caller: Caller
) -> Offered:
    """The schemas and hints that a definition gives. Raises ``InvalidInput`` (a path a fault), ``NotFound``."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = DataSource.objects.filter(name=source).first()
        if row is None:
            raise NotFound("There is no such data source in this team.", code="source_not_found")
        return compile_tool(row.kind, kind, definition, name)


def find_callable(names: Collection[str], *, caller: Caller) -> dict[str, Offered]:
    """The team's tools of these names that a definition may call, by name: what they take, and what they give."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        return find_offered(names)


def draft_tool(source_id: UUID, kind: str, text: str, *, caller: Caller) -> Draft:
    """A definition for a tool on this source, made of what was pasted. Raises ``InvalidInput`` and ``NotFound``."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = find_source(source_id)
        source = execution_source(row)
    return backend_of(row.kind).draft(
        kind, clean_text(text, "text", longest=MAX_PASTED, lines=True), source.settings
    )
