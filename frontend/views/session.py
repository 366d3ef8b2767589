"""Signing in and out, and finding the way to a team. Whether an account exists shows in no answer."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import authenticate, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.requestid import current_request_id
from frontend.access import LAST_TENANT, signed_in, to_sign_in
from frontend.entering import enter
from frontend.forms.people import SignInForm
from frontend.sessions import drop_sign_in, visitor_address
from frontend.targets import safe_target
from frontend.waiting import asked_to_wait
from tenants.access import ended_tenants_of_user, tenants_of_user
from tenants.arrivals import arrival_of_request
from tenants.models import User
from tenants.services.invitations import list_own_invitations
from tenants.services.passkeys import why_no_passkeys
from tenants.services.sessions import claim_attempt, note_failure

HOME = "/app/"
OPERATORS = "/operator/"
CONSENT = "/oauth/"
"""Where clients send a browser that may have to sign in first."""

FAILED: Final = "sign-ins failed for this e-mail or from your address"

_log = logging.getLogger(__name__)


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Ask for e-mail and password. A right pair gets a new session; anything else the same sentence."""
    target = target_of(request)
    if signed_in(request) is not None and request.method != "POST":
        return HttpResponseRedirect(target)
    form = SignInForm(request.POST or None)
    context = sign_in_context(form, target)
    if request.method == "POST" and form.is_valid():
        email = form.cleaned_data["email"].lower()
        address = visitor_address(request)
        if wait := claim_attempt(email, address=address):
            log_failure(address, throttled=True)
            return asked_to_wait(request, form, "sign_in.html", wait, what=FAILED, context=context)
        user = authenticate(request, username=email, password=form.cleaned_data["password"])
        if isinstance(user, User):
            return enter(request, user, target)
        note_failure(email, address=address)
        log_failure(address, throttled=False)
        form.add_error(None, "E-mail and password do not fit. Check both and try again.")
    return render(request, "marina/sign_in.html", context)


def log_failure(address: str, *, throttled: bool) -> None:
    """Tell the operator of a failed sign-in."""
    # Without the e-mail: people type passwords into the wrong field.
    told = {"request_id": current_request_id(), "address": address, "throttled": throttled}
    _log.warning("sign-in failed", extra=told)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    drop_sign_in(request)
    logout(request)
    return redirect("frontend:sign_in")


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Go to the person's last team, their only one, or let them choose."""
    user = signed_in(request)
    if user is None:
        return to_sign_in(request)
    arrival = arrival_of_request(request)
    teams = tenants_of_user(user.pk, arrival=arrival)
    slugs = [tenant.slug for tenant, _ in teams]
    last = request.session.get(LAST_TENANT)
    if last in slugs:
        return redirect("frontend:overview", last)
    if len(slugs) == 1:
        return redirect("frontend:overview", slugs[0])
    context = {
        "teams": teams,
        "ended": ended_tenants_of_user(user.pk) if arrival.by_password else [],
        "invitations": list_own_invitations(user.email) if arrival.by_password else [],
        "may_found": settings.ENV.signup == "open" and arrival.by_password,
    }
    return render(request, "marina/teams.html", context)


def target_of(request: HttpRequest) -> str:
    """Where to go after signing in."""
    return safe_target(request, within=(HOME, OPERATORS, CONSENT), otherwise=HOME)


def sign_in_context(form: SignInForm, target: str) -> dict[str, Any]:
    """What the sign-in page shows, whichever way in was tried on it."""
    return {"form": form, "next": target, "signup": settings.ENV.signup, "passkeys": not why_no_passkeys()}
