"""Pages of one record of the log: all its fields, what of it is hidden, and an original that is to be confirmed."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.forms.auditing import ConfirmForm, RevealForm
from frontend.pages import form_status, fragment, page, wants_fragment
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.log import LogRecord, get_record, list_calls_within, reveal_record
from tenants.services.originals import confirm_original


@require_safe
@tenant_page(Action.AUDIT_READ)
def record(request: HttpRequest, caller: Caller, seq: int) -> HttpResponse:
    """Every field of one record: in the drawer, or as a page of its own."""
    return _shown(request, caller, get_record(seq, caller=caller))


@require_POST
@tenant_page(Action.AUDIT_READ, Action.AUDIT_REVEAL)
def reveal(request: HttpRequest, caller: Caller, seq: int) -> HttpResponse:
    """Show what is hidden of a record, this once."""
    form = RevealForm(request.POST)
    found = get_record(seq, caller=caller)
    if found.payload_hidden and form.is_valid():
        with form.refusals():
            found = reveal_record(seq, form.cleaned_data["reason"], caller=caller)
            return _shown(request, caller, found, revealed=True)
    return _shown(request, caller, found, reveal_form=form if found.payload_hidden else None)


@require_POST
@tenant_page(Action.AUDIT_READ)
def confirm(request: HttpRequest, caller: Caller, seq: int) -> HttpResponse:
    """Whether a call was given just what somebody says."""
    form = ConfirmForm(request.POST)
    told = None
    if form.is_valid():
        with form.refusals():
            told = confirm_original(seq, form.cleaned_data["arguments"], caller=caller)
    return _shown(request, caller, get_record(seq, caller=caller), confirm_form=form, confirmation=told)


def _shown(
    request: HttpRequest,
    caller: Caller,
    found: LogRecord,
    *,
    reveal_form: RevealForm | None = None,
    confirm_form: ConfirmForm | None = None,
    **more: Any,
) -> HttpResponse:
    context = {
        "record": found,
        "calls": list_calls_within(found, caller=caller),
        "reveal_form": reveal_form or RevealForm(),
        "confirm_form": confirm_form or ConfirmForm(),
        **more,
    }
    if wants_fragment(request):
        # htmx puts no answer with an error's status into the page.
        return fragment(request, caller, "record.html", context)
    status = max(form_status(reveal_form), form_status(confirm_form))
    return page(request, caller, "record.html", "log", context, status=status)
