"""The auditors' start page: what they may see, how the log stands, what was exported, how to verify it offline.

For everybody who may read the log; owners set there how much of results the log keeps.
"""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.forms.auditing import KeepingForm
from frontend.pages import form_status, page
from frontend.views.log_checks import read_checks
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.checkpoints import list_checkpoints
from tenants.services.exports import describe_export, list_exports
from tenants.services.log import read_extent
from tenants.services.looks import OPENED, SEARCHED
from tenants.services.teams import change_tenant, get_tenant
from tenants.services.verifications import describe_verification, list_verifications

LISTED: Final = 5

LOOKS: Final = (
    (SEARCHED, "Searches of the log"),
    (OPENED, "Records that were opened"),
    ("record.revealed", "Arguments and results that were revealed"),
    ("record.confirmed", "Originals that were confirmed"),
    ("export.created", "Exports"),
    ("export.downloaded", "Downloads"),
)
"""What auditors do, as the log has it, and in words."""


@require_safe
@tenant_page(Action.AUDIT_READ)
def audit(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The page."""
    return _audit_page(request, caller)


@require_POST
@tenant_page(Action.TENANT_CHANGE)
def keeping(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Set how much of a result's beginning the log keeps."""
    form = KeepingForm(request.POST)
    if form.is_valid():
        with form.refusals():
            kept = change_tenant(
                preview_characters=form.cleaned_data["preview_characters"], caller=caller
            ).preview_characters
            words = f"the first {kept} character{'' if kept == 1 else 's'}" if kept else "nothing"
            messages.success(request, f"From now on the log keeps {words} of each result.")
            return redirect("frontend:audit", caller.tenant_slug)
    return _audit_page(request, caller, form=form)


def _audit_page(request: HttpRequest, caller: Caller, *, form: KeepingForm | None = None) -> HttpResponse:
    kept = get_tenant(caller=caller).preview_characters
    context: dict[str, Any] = {
        "extent": read_extent(caller=caller),
        "checks": read_checks(caller),
        "checkpoints": list_checkpoints(caller=caller, limit=LISTED).checkpoints,
        "exports": [(row, describe_export(row)) for row in list_exports(caller=caller)[:LISTED]],
        "verifications": [
            (row, describe_verification(row)) for row in list_verifications(caller=caller)[:LISTED]
        ],
        "looks": LOOKS,
        "kept": kept,
        "form": form or KeepingForm(initial={"preview_characters": kept}),
    }
    return page(request, caller, "audit.html", "audit", context, status=form_status(form))
