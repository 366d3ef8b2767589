"""Says whether a client could use a server right now, from Marina's side. Calls no tool, records nothing."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import NotFound
from core.loop import run_async
from servers.models import DataSource
from servers.services.runtime import get_runtime
from servers.services.surfaces import Surface
from servers.services.validators import find_fault
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope


@dataclass(frozen=True, slots=True)
class Readiness:
    """What stands between a client and a good call: ``problems`` are sentences, empty when nothing does."""

    tools: tuple[str, ...]
    problems: tuple[str, ...]


def check_connection(server_slug: str, *, caller: Caller) -> Readiness:
    """Load what the server offers, as the endpoint would, and look at what it stands on. Raises ``NotFound``."""
    caller.require(Action.SERVERS_READ)
    surface, accepting = run_async(_load(caller.tenant_id, server_slug), timeout=15)
    if surface is None:
        raise NotFound("There is no such server in this team.", code="server_not_found")
    problems = []
    if not accepting:
        problems.append("The log cannot be written, so calls are refused. Ask the operator.")
    sources = [
        *(tool.source for tool in surface.tools),
        *(resource.source for resource in (*surface.resources, *surface.templates)),
        *(prompt.source for prompt in surface.prompts),
    ]
    if not sources:
        problems.append("This server offers nothing. Add a data source to it, or turn a tool on.")
    faults = ((tool.name, find_fault(tool)) for tool in surface.tools)
    problems += [f"Tool {name}: {fault}" for name, fault in faults if fault]
    used = {source.id for source in sources if source is not None}
    with tenant_scope(caller.tenant_id):
        away = list(DataSource.objects.filter(health__in=["unhealthy", "needs_sign_in"], id__in=used))
    problems += [
        f"Data source {source.name} {'needs a sign-in' if source.health == 'needs_sign_in' else 'is unhealthy'}: "
        f"{source.health_reason}"
        for source in away
    ]
    return Readiness(tuple(tool.name for tool in surface.tools), tuple(problems))


async def _load(tenant_id: int, server_slug: str) -> tuple[Surface | None, bool]:
    runtime = get_runtime()
    await runtime.start()
    return await runtime.surfaces.get(tenant_id, server_slug), runtime.writer.accepting
