"""Pages of schedules of tools: the list, one with its history, its form, run now, pause and resume, delete."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict, InvalidInput
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.tool_schedules import ToolScheduleForm
from frontend.numbers import read_uuid
from frontend.pages import form_status, fragment, page
from servers.services.servers import list_servers
from servers.services.tool_schedules import (
    ScheduleView,
    change_schedule,
    create_schedule,
    delete_schedule,
    describe_times,
    get_schedule,
    list_runs,
    list_schedules,
    run_now,
)
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.keys import list_keys

_SECTION = "work"
_SET_UP = (Action.TASKS_MANAGE, Action.TOOLS_CALL)


@require_safe
@tenant_page(Action.TASKS_READ)
def schedules(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every schedule, when it is due and what became of its last run."""
    return page(request, caller, "tool_schedules.html", _SECTION, {"rows": list_schedules(caller=caller)})


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(*_SET_UP)
def schedule_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for another one."""
    form = _form(request, caller)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            row = create_schedule(form.given(), caller=caller)
            messages.success(request, f"{row.name} is set up.")
            return redirect("frontend:tool_schedule", caller.tenant_slug, row.pk)
    context = {"form": form, **_choices(caller)}
    return page(request, caller, "tool_schedule_new.html", _SECTION, context, status=form_status(form))


@require_safe
@tenant_page(*_SET_UP)
def times(request: HttpRequest, caller: Caller) -> HttpResponse:
    """When the line of cron in a form is due, as far as it is one."""
    zone = request.GET.get("time_zone", "")
    try:
        words, next_at = describe_times(request.GET.get("cron", ""), zone)
    except InvalidInput as refusal:
        fault = f"{refusal.errors[0]['path'].replace('_', ' ')} {refusal.errors[0]['message']}"
        return fragment(request, caller, "schedule_times.html", {"fault": fault.capitalize()})
    return fragment(
        request, caller, "schedule_times.html", {"words": words, "next_at": next_at, "zone": zone}
    )


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TASKS_READ)
def schedule(request: HttpRequest, caller: Caller, tool_schedule_id: UUID) -> HttpResponse:
    """One schedule: its runs and what became of them and, for who may change it, its form."""
    found = get_schedule(tool_schedule_id, caller=caller)
    manages = all(caller.may(action) for action in _SET_UP)
    form = _form(request, caller, found) if manages else None
    if request.method == "POST":
        for action in _SET_UP:
            caller.require(action)
        if form is not None and form.is_valid():
            with form.refusals():
                row = change_schedule(tool_schedule_id, form.given(), caller=caller)
                messages.success(request, f"{row.name} is changed. It runs as {row.actor}.")
                return redirect("frontend:tool_schedule", caller.tenant_slug, tool_schedule_id)
    context = {
        **_history(request, caller, found),
        "form": form,
        "delete_url": reverse("frontend:tool_schedule_delete", args=[caller.tenant_slug, tool_schedule_id]),
        **(_choices(caller) if manages else {}),
    }
    return page(request, caller, "tool_schedule.html", _SECTION, context, status=form_status(form))


@require_safe
@tenant_page(Action.TASKS_READ)
def runs_part(request: HttpRequest, caller: Caller, tool_schedule_id: UUID) -> HttpResponse:
    """The history alone, asked for again while the page is open."""
    context = _history(request, caller, get_schedule(tool_schedule_id, caller=caller))
    return fragment(request, caller, "tool_schedule_runs.html", context)


def _history(request: HttpRequest, caller: Caller, found: ScheduleView) -> dict[str, Any]:
    before = read_uuid(request.GET.get("before"))
    runs = list_runs(found.row.id, before=before, caller=caller)
    # Older pages stand still: what is read there must not move away.
    return {"found": found, "runs": runs, "older": before is not None}


@require_POST
@tenant_page(*_SET_UP)
def run(request: HttpRequest, caller: Caller, tool_schedule_id: UUID) -> HttpResponse:
    """Have a run made now."""
    try:
        run_now(tool_schedule_id, caller=caller)
    except Conflict as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, "A run is made now: it is the first in the history.")
    return redirect("frontend:tool_schedule", caller.tenant_slug, tool_schedule_id)


@require_POST
@tenant_page(*_SET_UP)
def switch(request: HttpRequest, caller: Caller, tool_schedule_id: UUID) -> HttpResponse:
    """Pause it, or resume it."""
    on = request.POST.get("enabled") == "true"
    try:
        row = change_schedule(tool_schedule_id, {"enabled": on}, caller=caller)
    except InvalidInput as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, f"{row.name} {'runs again when it is due' if on else 'is paused'}.")
    return redirect("frontend:tool_schedule", caller.tenant_slug, tool_schedule_id)


@require_POST
@tenant_page(*_SET_UP)
def delete(request: HttpRequest, caller: Caller, tool_schedule_id: UUID) -> HttpResponse:
    """Delete it, once its name was typed."""
    row = get_schedule(tool_schedule_id, caller=caller).row
    if not confirmed(request, row.name):
        return redirect("frontend:tool_schedule", caller.tenant_slug, tool_schedule_id)
    delete_schedule(tool_schedule_id, caller=caller)
    messages.success(request, f"{row.name} is deleted. The records of its runs stay.")
    return redirect("frontend:tool_schedules", caller.tenant_slug)


def _form(request: HttpRequest, caller: Caller, found: ScheduleView | None = None) -> ToolScheduleForm:
    keys = list_keys(caller=caller) if caller.may(Action.KEYS_CHANGE) else []
    data = request.POST if request.method == "POST" else None
    return ToolScheduleForm(data, found=found, keys=[key for key in keys if key.revoked_at is None])


def _choices(caller: Caller) -> dict[str, object]:
    readable = caller.may(Action.TOOLS_READ)
    return {
        "tools": [tool.name for tool in list_tools(caller=caller)] if readable else [],
        "servers": (
            [server.slug for server in list_servers(caller=caller)] if caller.may(Action.SERVERS_READ) else []
        ),
    }
