"""The page that says how long the log is kept: the policy, legal holds, and what was removed."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from core.errors import Conflict
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.keeping import HoldForm, RetentionForm
from frontend.pages import form_status, page
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.retention import get_hold, lift_hold, place_hold, read_keeping, set_retention


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.AUDIT_READ)
def keeping(request: HttpRequest, caller: Caller) -> HttpResponse:
    """How the log is kept; for an owner, the form that changes it."""
    if request.method != "POST":
        return _page(request, caller)
    caller.require(Action.TENANT_CHANGE)
    form = RetentionForm(request.POST)
    if form.is_valid():
        days = form.cleaned_data["days"]
        if days is not None and not confirmed(request, caller.tenant_slug, nothing="Nothing was changed"):
            return _page(request, caller, retention=form)
        with form.refusals():
            set_retention(days, caller=caller)
            kept = "for ever" if days is None else f"for {days} days, and what is older is removed"
            messages.success(request, f"Records are kept {kept}.")
            return redirect("frontend:keeping", caller.tenant_slug)
    return _page(request, caller, retention=form)


@require_POST
@tenant_page(Action.AUDIT_READ, Action.TENANT_CHANGE)
def hold_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Place a legal hold."""
    form = HoldForm(request.POST)
    if form.is_valid():
        with form.refusals():
            place_hold(**form.cleaned_data, caller=caller)
            messages.success(request, "The legal hold stands: nothing of it is removed until it is lifted.")
            return redirect("frontend:keeping", caller.tenant_slug)
    return _page(request, caller, hold=form)


@require_POST
@tenant_page(Action.AUDIT_READ, Action.TENANT_CHANGE)
def hold_lift(request: HttpRequest, caller: Caller, hold_id: UUID) -> HttpResponse:
    """Lift a legal hold."""
    get_hold(hold_id, caller=caller)
    if confirmed(request, caller.tenant_slug, nothing="The hold still stands"):
        try:
            lift_hold(hold_id, caller=caller)
        except Conflict as late:
            messages.error(request, late.message)
        else:
            messages.success(request, "The legal hold is lifted.")
    return redirect("frontend:keeping", caller.tenant_slug)


def _page(
    request: HttpRequest,
    caller: Caller,
    *,
    retention: RetentionForm | None = None,
    hold: HoldForm | None = None,
) -> HttpResponse:
    found = read_keeping(caller=caller)
    context = {
        "keeping": found,
        "retention": retention or RetentionForm(initial={"days": found.days}),
        "hold": hold or HoldForm(),
    }
    status = max(form_status(retention), form_status(hold))
    return page(request, caller, "keeping.html", "log", context, status=status)
