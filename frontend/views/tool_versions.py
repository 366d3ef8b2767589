"""Pages of a tool's versions: one version with what differs, publishing, rolling back, and who is offered which."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict, InvalidInput
from frontend.access import tenant_page
from frontend.arguments import argument_fields
from frontend.forms.versions import ServeForm
from frontend.listing import offering_servers, offers
from frontend.numbers import read_number
from frontend.pages import form_status, page
from frontend.views.defined_tools import is_defined_kind
from servers.services.served_versions import list_served_of, serve_version, stop_serving
from servers.services.servers import list_servers
from servers.services.tool_versions import (
    can_publish,
    compare_versions,
    discard_draft,
    get_version,
    list_versions,
    publish_version,
    roll_back,
)
from servers.services.tools import get_tool
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.keys import list_keys
from tenants.services.oauth_apps import list_clients
from tenants.services.outside_issuers import list_issuers


@require_safe
@tenant_page(Action.TOOLS_READ)
def tool_version(request: HttpRequest, caller: Caller, tool_id: UUID, number: int) -> HttpResponse:
    """One version of a tool: how it differs from another, and what can be done with it."""
    tool = get_tool(tool_id, caller=caller)
    version = get_version(tool_id, number, caller=caller)
    others = [each for each in list_versions(tool_id, caller=caller) if each.number != number]
    numbers = {each.number for each in others}
    other = read_number(request.GET.get("against")) or 0
    if other not in numbers and others:
        other = _nearest(numbers, number, tool.current.number if tool.current else 0)
    context = {
        "tool": tool,
        "version": version,
        "others": others,
        "against": other,
        "comparison": compare_versions(tool_id, other, number, caller=caller) if others else None,
        "is_current": version.pk == tool.current_id,
        "can_publish": can_publish(version, tool),
        "can_return": tool.current is not None
        and version.state == "published"
        and number < tool.current.number,
        "fields": argument_fields(version.input_schema),
        "servers": offering_servers(list_servers(caller=caller), tool.source_id),
        "try_version": number,
        "editable": not tool.brought and is_defined_kind(version.kind),
    }
    return page(request, caller, "tool_version.html", "tools", context)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_publish(request: HttpRequest, caller: Caller, tool_id: UUID, number: int) -> HttpResponse:
    """Make a version the current one."""

    def publish() -> None:
        tool = publish_version(tool_id, number, caller=caller)
        messages.success(request, f"{tool.name} is at version {number}, on every server that pins no other.")

    return _done(request, caller, tool_id, publish)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_discard(request: HttpRequest, caller: Caller, tool_id: UUID, number: int) -> HttpResponse:
    """Put a draft aside."""

    def discard() -> None:
        discard_draft(tool_id, number, caller=caller)
        messages.success(request, f"The draft {number} is discarded.")

    return _done(request, caller, tool_id, discard)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_rollback(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """Make the version current that was published before, or the one that is named."""
    to = read_number(request.POST.get("to"))

    def return_to() -> None:
        tool = roll_back(tool_id, to=to, caller=caller)
        number = tool.current.number if tool.current else 0
        messages.success(request, f"{tool.name} is back at version {number}, everywhere within seconds.")

    return _done(request, caller, tool_id, return_to)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SERVERS_CHANGE)
def tool_serve(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """The form that pins a version on a server, offers it beside the current one, or to some."""
    tool = get_tool(tool_id, caller=caller)
    servers = [each for each in list_servers(caller=caller) if offers(each, tool.source_id)]
    versions = [
        (each.number, f"{each.number} ({each.state})")
        for each in list_versions(tool_id, caller=caller)
        if each.state in ("published", "draft")
    ]
    form = ServeForm(
        request.POST or None,
        servers=[(str(each.pk), each.slug) for each in servers],
        versions=versions,
        credentials=_credentials(caller),
        initial={"version": request.GET.get("version", "")},
    )
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            served = serve_version(
                UUID(form.cleaned_data["server"]), tool.name, **form.given(), caller=caller
            )
            words = f"Version {served.version.number} is offered on {served.server.slug}."
            messages.success(request, words)
            return redirect("frontend:tool", caller.tenant_slug, tool_id)
    context = {"tool": tool, "form": form, "any_server": bool(servers)}
    return page(request, caller, "tool_serve.html", "tools", context, status=form_status(form))


@require_POST
@tenant_page(Action.SERVERS_CHANGE)
def tool_served_end(request: HttpRequest, caller: Caller, tool_id: UUID, served_id: UUID) -> HttpResponse:
    """End a pin, a version beside, or a canary."""
    tool = get_tool(tool_id, caller=caller)
    found = next((each for each in list_served_of(tool_id, caller=caller) if each.pk == served_id), None)

    def end() -> None:
        stop_serving(found.server_id if found else served_id, served_id, caller=caller)
        messages.success(request, f"The server follows {tool.name} again.")

    return _done(request, caller, tool_id, end)


def _done(request: HttpRequest, caller: Caller, tool_id: UUID, act: Callable[[], None]) -> HttpResponse:
    """Do it, or say why it cannot be, on the tool's page."""
    try:
        act()
    except (Conflict, InvalidInput) as refusal:
        messages.error(request, refusal.message)
    return redirect("frontend:tool", caller.tenant_slug, tool_id)


def _nearest(numbers: set[int], number: int, current: int) -> int:
    """The version that one is compared with unless another was chosen: the current one, else the one before it."""
    if current in numbers and current != number:
        return current
    return max((each for each in numbers if each < number), default=min(numbers))


def _credentials(caller: Caller) -> list[tuple[str, str]]:
    """What a canary may name, for those who may see it."""
    if not caller.may(Action.KEYS_READ):
        return []
    keys = [each for each in list_keys(caller=caller) if each.revoked_at is None]
    clients = [each for each in list_clients(caller=caller) if each.revoked_at is None]
    return [
        *((str(each.pk), f"key: {each.name} ({each.public_part})") for each in keys),
        *((str(each.pk), f"app: {each.shown_name}") for each in clients),
        *((str(each.pk), f"issuer: {each.name}") for each in list_issuers(caller=caller)),
    ]
