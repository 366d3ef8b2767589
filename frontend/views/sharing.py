"""Where a tool's calls run and how they share results, on the tool's page. The page itself is in ``tools``."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from frontend.access import tenant_page
from frontend.forms.running import RunningForm
from frontend.forms.sharing import SharingForm
from frontend.views.tools import show_tool
from servers.services.caching import change_caching, clear_cache, get_caching
from servers.services.tool_running import change_running, get_running
from tenants.access import Caller
from tenants.roles import Action


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def tool_cache(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """Set for how long results are kept, and whether calls made at once run once."""
    if request.method != "POST":
        return show_tool(request, caller, tool_id)
    form = SharingForm(request.POST, caching=get_caching(tool_id, caller=caller))
    if form.is_valid():
        with form.refusals():
            change_caching(tool_id, **form.cleaned_data, caller=caller)
            messages.success(request, "Saved. It holds for the next call.")
            return redirect("frontend:tool", caller.tenant_slug, tool_id)
    return show_tool(request, caller, tool_id, form)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def tool_cache_clear(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """Forget every kept result of a tool."""
    clear_cache(tool_id, caller=caller)
    messages.success(request, "The cache is cleared. The next call of each kind runs.")
    return redirect("frontend:tool", caller.tenant_slug, tool_id)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def tool_running(request: HttpRequest, caller: Caller, tool_id: UUID) -> HttpResponse:
    """Set where calls run, and how long a run may take."""
    if request.method != "POST":
        return show_tool(request, caller, tool_id)
    form = RunningForm(request.POST, running=get_running(tool_id, caller=caller))
    if form.is_valid():
        with form.refusals():
            wanted = form.cleaned_data
            change_running(
                tool_id,
                runs=wanted["runs"],
                deadline=wanted["deadline"] or 0,
                priority=wanted["priority"] or None,
                caller=caller,
            )
            messages.success(request, "Saved. It holds for the next call.")
            return redirect("frontend:tool", caller.tenant_slug, tool_id)
    return show_tool(request, caller, tool_id, running_form=form)
