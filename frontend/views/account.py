"""A person's own pages: their teams, where they are signed in, their password. Of no team, so without a ``Caller``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import NotFound
from frontend.access import View, signed_in, to_sign_in
from frontend.browsers import browser_words
from frontend.forms.people import ChangePasswordForm
from frontend.pages import form_status, own_page
from frontend.sessions import visitor_address
from frontend.waiting import asked_to_wait
from tenants.access import tenants_of_user
from tenants.arrivals import arrival_of_request, read_proofs
from tenants.models import SignIn, User
from tenants.services.factors import list_factors
from tenants.services.invitations import list_own_invitations
from tenants.services.passkeys import why_no_passkeys
from tenants.services.sessions import claim_attempt, forgive_attempts, note_failure
from tenants.services.signins import SESSION_KEY, end_sign_in, end_sign_ins, list_sign_ins

P = ParamSpec("P")


def person_page(
    view: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> View:
    """Make a view of a person's own page: it gets the signed-in ``User``; others are sent to sign in."""

    @never_cache
    @wraps(view)
    def person_view(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        user = signed_in(request)
        return to_sign_in(request) if user is None else view(request, user, *args, **kwargs)

    return person_view


@require_safe
@person_page
def account(request: HttpRequest, user: User) -> HttpResponse:
    """Teams, password and sign-ins."""
    here, arrival = request.session.get(SESSION_KEY), arrival_of_request(request)
    context = {
        "arrival": arrival,
        "teams": tenants_of_user(user.pk, arrival=arrival),
        "invitations": list_own_invitations(user.email) if arrival.by_password else [],
        "may_found": settings.ENV.signup == "open" and arrival.by_password,
        "factors": list_factors(user.pk) if arrival.by_password else None,
        "why_no_passkeys": why_no_passkeys(),
        "sign_ins": [
            (row, browser_words(row.browser), _ways(row), str(row.pk) == here)
            for row in list_sign_ins(user.pk, arrival=arrival)
        ],
    }
    return render(request, "marina/account.html", context)


def _ways(row: SignIn) -> list[str]:
    """In words, how this browser was signed in."""
    ways = [f"{each.provider} ({each.tenant_slug})" for each in read_proofs(row.proofs)]
    return ["password or passkey", *ways] if row.by_password else ways


@require_POST
@person_page
def sign_in_end(request: HttpRequest, user: User, sign_in_id: UUID) -> HttpResponse:
    """End one of the person's other sign-ins, of those that they see here."""
    seen = {row.pk for row in list_sign_ins(user.pk, arrival=arrival_of_request(request))}
    try:
        end_sign_in(sign_in_id if sign_in_id in seen else UUID(int=0), user.pk)
        messages.success(request, "That browser is signed out.")
    except NotFound as gone:
        messages.error(request, gone.message)
    return redirect("frontend:account")


@require_POST
@person_page
def sign_ins_end(request: HttpRequest, user: User) -> HttpResponse:
    """End all of the person's sign-ins that they see here, but this one."""
    seen = [row.pk for row in list_sign_ins(user.pk, arrival=arrival_of_request(request))]
    count = end_sign_ins(user.pk, but=request.session.get(SESSION_KEY), among=seen)
    messages.success(request, f"{count} other browser{'s are' if count != 1 else ' is'} signed out.")
    return redirect("frontend:account")


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@person_page
def password(request: HttpRequest, user: User) -> HttpResponse:
    """Change the password, which ends every other sign-in. Guesses at the old one count as failed sign-ins."""
    form = ChangePasswordForm(user, request.POST or None)
    if request.method == "POST":
        address = visitor_address(request)
        if wait := claim_attempt(user.email, address=address):
            return asked_to_wait(request, form, "password.html", wait, what="wrong passwords were given")
        if form.is_valid():
            forgive_attempts(user.email, address=address)
            form.save()
            update_session_auth_hash(request, user)  # cycles the session's key too
            end_sign_ins(user.pk, but=request.session.get(SESSION_KEY))
            messages.success(request, "Your password is changed. Every other browser is signed out.")
            return redirect("frontend:account")
        if "old_password" in form.errors:
            note_failure(user.email, address=address)
        else:
            forgive_attempts(user.email, address=address)
    return own_page(render(request, "marina/password.html", {"form": form}, status=form_status(form)))
