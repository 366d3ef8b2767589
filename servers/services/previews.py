"""What a tool would be, before it is saved. Stores nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import NotFound
from servers.execution.contract import Offered
from servers.models import DataSource
from servers.services.tools import compile_tool
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope


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
