"""Pages of scheduled exports: the list, one with its runs, its form, run now, delete, put there once more."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.export_schedules import ScheduleForm
from frontend.pages import form_status, page
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.export_schedules import (
    change_schedule,
    create_schedule,
    delete_schedule,
    deliver_again,
    get_schedule,
    list_runs,
    list_schedules,
    run_schedule,
)
from tenants.services.export_times import describe_times
from tenants.services.exports import describe_export
from tenants.tasks import enqueue_delivery, enqueue_export

_SECTION = "exports"


@require_safe
@tenant_page(Action.AUDIT_READ)
def schedules(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every schedule, when it is due and where it goes."""
    rows = [(row, describe_times(row)) for row in list_schedules(caller=caller)]
    return page(request, caller, "export_schedules.html", _SECTION, {"rows": rows})


@sensitive_post_parameters("secret_key")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.AUDIT_READ, Action.SECRETS_CHANGE)
def schedule_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for another one."""
    form = ScheduleForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            row = create_schedule(form.given({}), caller=caller)
            messages.success(request, f"{row.name} is set up. Its first run is of the whole log so far.")
            return redirect("frontend:schedule", caller.tenant_slug, row.pk)
    return page(
        request, caller, "export_schedule_new.html", _SECTION, {"form": form}, status=form_status(form)
    )


@sensitive_post_parameters("secret_key")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.AUDIT_READ)
def schedule(request: HttpRequest, caller: Caller, schedule_id: UUID) -> HttpResponse:
    """One schedule: its runs and what became of them and, for who may change it, its form."""
    row = get_schedule(schedule_id, caller=caller)
    form = ScheduleForm(request.POST or None, row=row) if caller.may(Action.SECRETS_CHANGE) else None
    if request.method == "POST":
        caller.require(Action.SECRETS_CHANGE)
        if form is not None and form.is_valid():
            with form.refusals():
                changed = change_schedule(schedule_id, form.given(row.filters), caller=caller)
                messages.success(request, f"{changed.name} is changed.")
                return redirect("frontend:schedule", caller.tenant_slug, schedule_id)
    context = {
        "row": row,
        "words": describe_times(row),
        "runs": [(each, describe_export(each)) for each in list_runs(schedule_id, caller=caller)],
        "form": form,
        "delete_url": reverse("frontend:schedule_delete", args=[caller.tenant_slug, row.pk]),
    }
    return page(request, caller, "export_schedule.html", _SECTION, context, status=form_status(form))


@require_POST
@tenant_page(Action.AUDIT_READ, Action.SECRETS_CHANGE)
def schedule_run(request: HttpRequest, caller: Caller, schedule_id: UUID) -> HttpResponse:
    """Begin a run now."""
    enqueue_export(run_schedule(schedule_id, caller=caller))
    messages.success(request, "A run has begun, of what came into the log since the last one.")
    return redirect("frontend:schedule", caller.tenant_slug, schedule_id)


@require_POST
@tenant_page(Action.AUDIT_READ, Action.SECRETS_CHANGE)
def schedule_delete(request: HttpRequest, caller: Caller, schedule_id: UUID) -> HttpResponse:
    """Delete it, once its name was typed."""
    row = get_schedule(schedule_id, caller=caller)
    if not confirmed(request, row.name):
        return redirect("frontend:schedule", caller.tenant_slug, schedule_id)
    delete_schedule(schedule_id, caller=caller)
    messages.success(request, f"{row.name} is deleted. What it exported stays.")
    return redirect("frontend:schedules", caller.tenant_slug)


@require_POST
@tenant_page(Action.AUDIT_READ, Action.SECRETS_CHANGE)
def export_deliver(request: HttpRequest, caller: Caller, export_id: UUID) -> HttpResponse:
    """Try once more to put an export into its bucket."""
    try:
        row = deliver_again(export_id, caller=caller)
    except Conflict as refusal:
        messages.error(request, refusal.message)
    else:
        enqueue_delivery(row)
        messages.success(request, "It is tried once more.")
    return redirect("frontend:export", caller.tenant_slug, export_id)
