"""Pages of outside issuers: list, trust, change, test with a token, switch off, remove."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict
from frontend.access import note_refusal, tenant_page
from frontend.confirm import confirmed
from frontend.forms.issuers import IssuerForm, TokenForm, entered
from frontend.pages import form_status, page
from frontend.switch import turned_on
from tenants.access import Caller
from tenants.models import TrustedIssuer
from tenants.oauth_addresses import resource
from tenants.roles import Action
from tenants.services.outside_issuers import (
    Judgement,
    change_issuer,
    create_issuer,
    get_issuer,
    judge_token,
    list_issuers,
    remove_issuer,
)


@require_safe
@tenant_page(Action.KEYS_READ)
def issuer_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every outside issuer, with those that are switched off greyed."""
    return page(request, caller, "issuers.html", "issuers", {"rows": list_issuers(caller=caller)})


@sensitive_post_parameters("client_secret")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.KEYS_CHANGE)
def issuer_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for another issuer."""
    form = IssuerForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            row = create_issuer(form.given(), caller=caller)
            messages.success(request, f"{row.name} is trusted from now on. Test it with a token.")
            return redirect("frontend:issuer", caller.tenant_slug, row.pk)
    context = {"form": form, "resource": resource(caller.tenant_slug)}
    return page(request, caller, "issuer_new.html", "issuers", context, status=form_status(form))


@sensitive_post_parameters("client_secret")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.KEYS_READ)
def issuer_page(request: HttpRequest, caller: Caller, issuer_id: UUID) -> HttpResponse:
    """One issuer: changing and testing it, and the danger zone."""
    row = get_issuer(issuer_id, caller=caller)
    if request.method != "POST":
        return _issuer_page(request, caller, row)
    caller.require(Action.KEYS_CHANGE)
    form = IssuerForm(request.POST, has_secret=row.has_secret)
    if form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            change_issuer(issuer_id, form.given(), caller=caller)
            messages.success(request, "Saved. Every process judges by it within five seconds.")
            return redirect("frontend:issuer", caller.tenant_slug, issuer_id)
    return _issuer_page(request, caller, row, form=form)


@sensitive_post_parameters()
@require_POST
@tenant_page(Action.KEYS_CHANGE)
def issuer_test(request: HttpRequest, caller: Caller, issuer_id: UUID) -> HttpResponse:
    """Judge a token. The page that answers does not hold it."""
    row = get_issuer(issuer_id, caller=caller)
    form = TokenForm(request.POST)
    judged = None
    if form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            judged = judge_token(issuer_id, form.cleaned_data["token"], caller=caller)
            form = TokenForm()
    return _issuer_page(request, caller, row, test=form, judged=judged)


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def issuer_enabled(request: HttpRequest, caller: Caller, issuer_id: UUID) -> HttpResponse:
    """Switch an issuer on or off."""
    on = turned_on(request)
    try:
        row = change_issuer(issuer_id, {"enabled": on}, caller=caller)
        messages.success(
            request,
            f"{row.name} is trusted {'again' if on else 'no more: its tokens are refused from now on'}.",
        )
    except Conflict as refusal:
        messages.error(request, refusal.message)
    return redirect("frontend:issuer", caller.tenant_slug, issuer_id)


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def issuer_remove(request: HttpRequest, caller: Caller, issuer_id: UUID) -> HttpResponse:
    """Remove an issuer whose name was typed."""
    row = get_issuer(issuer_id, caller=caller)
    if not confirmed(request, row.name, nothing="The issuer is not removed"):
        return redirect("frontend:issuer", caller.tenant_slug, issuer_id)
    remove_issuer(issuer_id, caller=caller)
    messages.success(request, f"{row.name} is removed. Its tokens are refused from now on.")
    return redirect("frontend:issuers", caller.tenant_slug)


def _issuer_page(
    request: HttpRequest,
    caller: Caller,
    row: TrustedIssuer,
    *,
    form: IssuerForm | None = None,
    test: TokenForm | None = None,
    judged: Judgement | None = None,
) -> HttpResponse:
    context = {
        "row": row,
        "form": form or IssuerForm(initial=entered(row), has_secret=row.has_secret),
        "test": test or TokenForm(),
        "judged": judged,
        "resource": resource(caller.tenant_slug),
    }
    status = max(form_status(form), form_status(test))
    return page(request, caller, "issuer.html", "issuers", context, status=status)
