"""Signing in through a team's identity provider: the team's own door, the way there, and the way back.

What was begun is kept in the browser's session under its ``state``, and taken out when the browser comes back: once,
from the same browser, at the same team's address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from frontend.access import LAST_TENANT, OPENED, signed_in
from frontend.begun import keep, read_return, take
from frontend.forms.single_sign_on import FindTeamForm
from frontend.pages import form_status, own_page
from frontend.sessions import enter_by_provider
from frontend.targets import SeeOther, safe_target
from tenants.arrivals import arrival_of_request
from tenants.models import IdentityProvider, Tenant
from tenants.services.sso_admission import Admitted, admit_person, record_refused_sign_in
from tenants.services.sso_exchange import (
    SsoRefused,
    begin_at_provider,
    finish_at_provider,
    provider_closed,
)
from tenants.services.sso_providers import find_open_providers

PENDING: Final = "sso"
"""Session key: sign-ins that were begun at a provider, by their ``state``."""


@require_safe
def find_team(request: HttpRequest) -> HttpResponse:
    """Ask for the team. By its name alone: a domain of e-mail addresses says nothing about who may speak for it."""
    form = FindTeamForm(request.GET if "team" in request.GET else None)
    if form.is_valid():
        return redirect("frontend:team_sign_in", form.cleaned_data["team"])
    return own_page(render(request, "marina/find_team.html", {"form": form}, status=form_status(form)))


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def team_sign_in(request: HttpRequest, team: str) -> HttpResponse:
    """The team's door: its providers, or that there is none, which is said alike of a team that does not exist."""
    tenant, providers = find_open_providers(team)
    target = _target(request, team)
    if tenant is None or not providers:
        words = "No team of this name has single sign-on here. Check the name, or sign in with e-mail and password."
        notice = {"title": "No single sign-on", "words": words}
        return own_page(render(request, "marina/gate_notice.html", notice, status=404))
    if request.method == "POST":
        provider = _named(providers, request.POST.get("provider"))
        if provider is None:
            return _refused(request, provider_closed(), tenant, None)
        try:
            begun = begin_at_provider(provider, team, target=target)
        except SsoRefused as refusal:
            return _refused(request, refusal, tenant, provider)
        keep(request, PENDING, begun.state, begun.kept)
        return SeeOther(begun.url)
    user = signed_in(request)
    context = {"team": tenant, "providers": providers, "next": target, "here": user.email if user else ""}
    response = own_page(render(request, "marina/team_sign_in.html", context))
    # The form's answer leads on to the provider. There is no field on this page but a token of ours.
    response.form_targets = ["https:"]  # type: ignore[attr-defined]
    return response


@never_cache
@require_safe
def team_sign_in_back(request: HttpRequest, team: str) -> HttpResponse:
    """Where a provider sends the browser back to."""
    tenant, providers = find_open_providers(team)
    if tenant is None:
        return redirect("frontend:team_sign_in", team)
    provider = None
    try:
        parameters = _parameters(request)
        kept = _take(request, parameters.get("state", ""), team)
        provider = _named(providers, kept["provider"])
        if provider is None:
            raise provider_closed()
        asserted = finish_at_provider(provider, kept, parameters)
        admitted = admit_person(
            provider.pk,
            asserted,
            tenant_id=tenant.pk,
            tenant_slug=team,
            password_user=_password_user(request),
        )
    except SsoRefused as refusal:
        return _refused(request, refusal, tenant, provider)
    _enter(request, admitted)
    return HttpResponseRedirect(kept["target"])


def _enter(request: HttpRequest, admitted: Admitted) -> None:
    enter_by_provider(request, admitted.user, admitted.proof)
    slug = admitted.proof.tenant_slug
    request.session[LAST_TENANT] = slug
    # The team's log has this sign-in already.
    request.session[OPENED] = list({*request.session.get(OPENED, []), slug})


def _named(providers: Iterable[IdentityProvider], number: str | None) -> IdentityProvider | None:
    return next((row for row in providers if str(row.pk) == number), None)


def _refused(
    request: HttpRequest, refusal: SsoRefused, tenant: Tenant, provider: IdentityProvider | None
) -> HttpResponse:
    record_refused_sign_in(refusal, provider, tenant_id=tenant.pk)
    user = signed_in(request)
    context = {
        "here": user.email if user else "",
        "words": refusal.message,
        "team": tenant,
        "link_needed": refusal.code == "sso_link_needed",
        "back": reverse("frontend:team_sign_in", args=[tenant.slug]),
    }
    return own_page(render(request, "marina/team_sign_in_refused.html", context, status=refusal.status))


def _parameters(request: HttpRequest) -> dict[str, str]:
    """What the provider sent along. Raises ``SsoRefused``."""
    parameters = read_return(request)
    if parameters is None:
        raise SsoRefused("The provider's answer is not one that can be read. Begin again.", "answer_unsound")
    return parameters


def _take(request: HttpRequest, state: str, team: str) -> Mapping[str, Any]:
    """Take what was kept of the sign-in with this ``state`` out of the session. Raises ``SsoRefused``."""
    kept = take(request, PENDING, state)
    if kept is None or kept["team"] != team:
        raise SsoRefused(
            "This sign-in was finished already, is older than ten minutes, or began in another browser. Begin again.",
            "state_unknown",
        )
    return kept


def _password_user(request: HttpRequest) -> int | None:
    """Whose password opened this session, if one did."""
    user = signed_in(request)
    return user.pk if user is not None and arrival_of_request(request).by_password else None


def _target(request: HttpRequest, team: str) -> str:
    """Where to go afterwards: a page of this team, never an address elsewhere."""
    home = reverse("frontend:overview", args=[team])
    return safe_target(request, within=(home, f"/oauth/{team}/"), otherwise=home)
