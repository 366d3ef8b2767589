"""Pages of single sign-on: the team's identity providers, whom they know, and whether it takes nothing else."""

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
from frontend.forms.single_sign_on import ProviderForm
from frontend.pages import form_status, page
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.mail import public_link
from tenants.services.sso_diagnosis import diagnose_provider
from tenants.services.sso_exchange import redirect_uri
from tenants.services.sso_providers import (
    change_provider,
    create_provider,
    delete_provider,
    forget_identity,
    get_provider,
    is_required,
    list_identities,
    list_providers,
    require_single_sign_on,
)


@require_safe
@tenant_page(Action.MEMBERS_READ)
def provider_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The team's providers, its door, and whether there is another."""
    rows = list_providers(caller=caller)
    context = {
        "rows": rows,
        "required": is_required(caller=caller),
        "usable": any(row.enabled for row in rows),
        "door": public_link(f"sign-in/{caller.tenant_slug}/"),
    }
    return page(request, caller, "single_sign_on.html", "single_sign_on", context)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def requirement(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Require single sign-on, of whose consequence the team's slug was typed, or require it no more."""
    wanted = request.POST.get("required") == "yes"
    if wanted and not confirmed(request, caller.tenant_slug, nothing="Nothing was changed"):
        return redirect("frontend:single_sign_on", caller.tenant_slug)
    try:
        require_single_sign_on(wanted, caller=caller)
    except Conflict as refusal:
        messages.error(request, refusal.message)
        return redirect("frontend:single_sign_on", caller.tenant_slug)
    if wanted:
        messages.warning(
            request, "From now on members act in this team through single sign-on alone. Owners aside."
        )
    else:
        messages.success(request, "Members may sign in with their passwords again.")
    return redirect("frontend:single_sign_on", caller.tenant_slug)


@sensitive_post_parameters("client_secret")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.MEMBERS_CHANGE)
def provider_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for another provider."""
    form = ProviderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            row = create_provider(form.settings(), caller=caller)
            messages.success(
                request, f"{row.name} is added. Test the connection, then sign in through it once."
            )
            return redirect("frontend:provider", caller.tenant_slug, row.pk)
    context = {"form": form, "redirect_uri": redirect_uri(caller.tenant_slug)}
    return page(request, caller, "provider_new.html", "single_sign_on", context, status=form_status(form))


@sensitive_post_parameters("client_secret")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.MEMBERS_READ)
def provider(request: HttpRequest, caller: Caller, provider_id: UUID) -> HttpResponse:
    """One provider: its settings, and whom it knows."""
    if request.method == "POST":
        caller.require(Action.MEMBERS_CHANGE)
    return _provider_page(request, caller, provider_id)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def provider_test(request: HttpRequest, caller: Caller, provider_id: UUID) -> HttpResponse:
    """Ask the provider, and show what it says above its settings."""
    findings = diagnose_provider(provider_id, caller=caller)
    return _provider_page(request, caller, provider_id, {"findings": findings}, bound=False)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def provider_delete(request: HttpRequest, caller: Caller, provider_id: UUID) -> HttpResponse:
    """Delete a provider whose name was typed."""
    row = get_provider(provider_id, caller=caller)
    if not confirmed(request, row.name):
        return redirect("frontend:provider", caller.tenant_slug, provider_id)
    try:
        delete_provider(provider_id, caller=caller)
    except Conflict as refusal:
        messages.error(request, refusal.message)
        return redirect("frontend:provider", caller.tenant_slug, provider_id)
    messages.success(request, f"{row.name} is deleted, and signs nobody in any more. Members stay members.")
    return redirect("frontend:single_sign_on", caller.tenant_slug)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def identity_forget(
    request: HttpRequest, caller: Caller, provider_id: UUID, identity_id: UUID
) -> HttpResponse:
    """Have the provider no longer know somebody."""
    forget_identity(provider_id, identity_id, caller=caller)
    messages.success(request, "Forgotten. Sessions of theirs that came by this provider are over.")
    return redirect("frontend:provider", caller.tenant_slug, provider_id)


def _provider_page(
    request: HttpRequest,
    caller: Caller,
    provider_id: UUID,
    more: dict[str, object] | None = None,
    *,
    bound: bool = True,
) -> HttpResponse:
    row = get_provider(provider_id, caller=caller)
    form = ProviderForm(request.POST if bound and request.method == "POST" else None, row=row)
    if form.is_bound and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            saved = change_provider(provider_id, form.chosen(), caller=caller)
            messages.success(request, f"{saved.name} is saved.")
            return redirect("frontend:provider", caller.tenant_slug, provider_id)
    context = {
        "provider": row,
        "form": form,
        "identities": list_identities(provider_id, caller=caller),
        "redirect_uri": redirect_uri(caller.tenant_slug),
        **(more or {}),
    }
    return page(request, caller, "provider.html", "single_sign_on", context, status=form_status(form))
