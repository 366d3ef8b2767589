"""The overview: first steps that tick themselves, how much is called, and the newest calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from frontend.access import tenant_page
from frontend.pages import fragment, page
from servers.models import Server
from servers.services.servers import list_servers
from servers.services.sources import list_sources
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.audit.records import KIND_CALL
from tenants.roles import Action
from tenants.services.activity import find_beginnings, measure_usage
from tenants.services.log import search_records

RECENT: Final = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One step from nothing to the first call. ``done`` is a fact, never a tick by hand."""

    key: str
    title: str
    words: str
    done: bool
    url: str = ""
    action: str = ""
    waiting: bool = False
    next: bool = False


@require_safe
@tenant_page(Action.TENANT_READ)
def overview(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The whole page. Auditors, who configure nothing, have one of their own."""
    if not caller.may(Action.SOURCES_READ):
        return redirect("frontend:audit", caller.tenant_slug)
    public = [server for server in list_servers(caller=caller) if server.access == Server.Access.PUBLIC]
    context = {"public": public, **_checklist(caller), **_stats(caller), **_recent(caller)}
    return page(request, caller, "overview.html", "overview", context)


@require_safe
@tenant_page(Action.SOURCES_READ)
def part(request: HttpRequest, caller: Caller, name: str) -> HttpResponse:
    """One part, asked for again when calls arrive."""
    build = {"checklist": _checklist, "stats": _stats, "recent": _recent}.get(name)
    if build is None:
        raise Http404
    return fragment(request, caller, f"{name}.html", build(caller))


def _checklist(caller: Caller) -> dict[str, Any]:
    sources = list_sources(caller=caller)
    healthy = [source.name for source in sources if source.health == "healthy"]
    tools = [tool for tool in list_tools(caller=caller) if tool.enabled]
    beginnings = find_beginnings(caller=caller)
    called = beginnings.first_call_at is not None
    slug = caller.tenant_slug
    steps = [
        Step(
            key="source",
            title="Add a data source",
            words=_source_words([source.name for source in sources], healthy),
            done=bool(healthy),
            url=reverse("frontend:source_new" if not sources else "frontend:sources", args=[slug]),
            action="Check it" if sources else "Add a data source",
        ),
        Step(
            key="tool",
            title="Have a tool ready",
            words=f"{_count(len(tools), 'tool')} offered."
            if tools
            else "A data source brings its first tools along.",
            done=bool(tools),
            url=reverse("frontend:tools", args=[slug]),
            action="See tools",
        ),
        Step(
            key="key",
            title="Issue an API key",
            words="At least one key is live."
            if beginnings.has_key
            else "Clients prove with it who they are.",
            done=beginnings.has_key,
            url=reverse("frontend:keys", args=[slug]) if caller.may(Action.KEYS_CHANGE) else "",
            action="Issue a key",
        ),
        Step(
            key="call",
            title="Receive the first call",
            words="A client has called a tool." if called else "Waiting for the first request…",
            done=called,
            url=reverse("frontend:connect", args=[slug]),
            action="Connect a client",
            waiting=True,
        ),
    ]
    undone = next((at for at, step in enumerate(steps) if not step.done), None)
    if undone is not None:
        first = steps[undone]
        steps[undone] = Step(
            first.key, first.title, first.words, first.done, first.url, first.action, first.waiting, next=True
        )
    return {"steps": steps, "done_count": sum(step.done for step in steps), "steps_done": undone is None}


def _source_words(names: list[str], healthy: list[str]) -> str:
    if healthy:
        return f"{', '.join(healthy[:3])}{' and more' if len(healthy) > 3 else ''} answered the last check."
    if names:
        return "Added, but no check has succeeded yet."
    return "A PostgreSQL database, reached with a role that may only read."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _stats(caller: Caller) -> dict[str, Any]:
    return {"usage": measure_usage(caller=caller)}


def _recent(caller: Caller) -> dict[str, Any]:
    if not caller.may(Action.AUDIT_READ):
        return {"recent": []}
    return {"recent": search_records(caller=caller, kind=KIND_CALL, limit=RECENT, settled=True).records}
