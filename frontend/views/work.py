"""Pages of long work: the team's tasks, live, and one of them with its progress, its result and what can be done."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from core.errors import Conflict, Forbidden, InvalidInput, MarinaError
from frontend.access import tenant_page
from frontend.numbers import read_uuid
from frontend.pages import fragment, page
from servers.services.long_work import (
    STATUSES,
    WorkPage,
    cancel_work,
    get_work,
    list_work,
    run_again,
)
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.roles import Action

CLIENT: Final = "Marina dashboard"


@require_safe
@tenant_page(Action.TASKS_READ)
def work(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The newest tasks that match, and how to go to older ones."""
    found, error = WorkPage([], None), None
    try:
        found = _found(request, caller)
    except InvalidInput as refusal:
        error = refusal
    context = {
        **_list(request, found),
        "error": error,
        "statuses": STATUSES,
        "tools": [tool.name for tool in list_tools(caller=caller)] if caller.may(Action.TOOLS_READ) else [],
    }
    return page(request, caller, "work.html", "work", context, status=200 if error is None else 400)


@require_safe
@tenant_page(Action.TASKS_READ)
def work_part(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The list alone, asked for again while something in it has not ended."""
    try:
        found = _found(request, caller)
    except InvalidInput:
        found = WorkPage([], None)
    return fragment(request, caller, "work.html", _list(request, found))


@require_safe
@tenant_page(Action.TASKS_READ)
def task(request: HttpRequest, caller: Caller, task_id: UUID) -> HttpResponse:
    """One task."""
    return page(request, caller, "task.html", "work", {"found": get_work(task_id, caller=caller)})


@require_safe
@tenant_page(Action.TASKS_READ)
def task_part(request: HttpRequest, caller: Caller, task_id: UUID) -> HttpResponse:
    """What changes of a task while it goes on. Once it has ended, the whole page is asked for."""
    found = get_work(task_id, caller=caller)
    response = fragment(request, caller, "task.html", {"found": found})
    if found.item.ended:
        response["HX-Refresh"] = "true"
    return response


@require_POST
@tenant_page(Action.TASKS_MANAGE)
def task_cancel(request: HttpRequest, caller: Caller, task_id: UUID) -> HttpResponse:
    """Have a task stopped."""
    try:
        cancel_work(task_id, caller=caller)
    except Conflict as refusal:
        messages.error(request, refusal.message)
    else:
        messages.success(request, "The task is told to stop.")
    return redirect("frontend:task", caller.tenant_slug, task_id)


@require_POST
@tenant_page(Action.TASKS_MANAGE)
def task_again(request: HttpRequest, caller: Caller, task_id: UUID) -> HttpResponse:
    """Make an ended task's call once more, as the person's own."""
    # Whoever is not let see the task is told so by the page; what the call itself is refused for, here.
    get_work(task_id, caller=caller)
    try:
        begun = run_again(task_id, caller=caller, client=CLIENT)
    except Forbidden:
        raise
    except MarinaError as refusal:
        messages.error(request, f"It did not begin: {refusal.message}")
        return redirect("frontend:task", caller.tenant_slug, task_id)
    messages.success(request, "The call is made again, as this new task of yours.")
    return redirect("frontend:task", caller.tenant_slug, begun)


def _found(request: HttpRequest, caller: Caller) -> WorkPage:
    given = request.GET
    return list_work(
        caller=caller,
        status=given.get("status", ""),
        tool=given.get("tool", "").strip(),
        before=read_uuid(given.get("before", "")),
    )


def _list(request: HttpRequest, found: WorkPage) -> dict[str, Any]:
    given = request.GET
    return {
        "found": found,
        "given": given,
        "filtered": bool(given.get("status") or given.get("tool", "").strip()),
        # Older pages stand still: what is read there must not move away.
        "live": found.any_open and "before" not in given,
    }
