"""A person's second factors, on their own pages. Every change wants a proof of who is there that is not old.

What changes signs every other browser out, as a changed password does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from core.errors import Conflict, NotFound, RateLimited, Unauthenticated
from frontend.ceremonies import ADDING, USING, begin, take
from frontend.forms.factors import ConfirmForm, PasskeyForm, TotpForm
from frontend.pages import form_status, own_page
from frontend.proof import note_proof, proven_page
from frontend.sessions import visitor_address
from frontend.targets import safe_target
from frontend.views.account import person_page
from frontend.waiting import asked_to_wait
from tenants.models import User
from tenants.services.factors import (
    add_totp,
    change_alone,
    list_factors,
    new_totp_secret,
    remove_totp,
    renew_codes,
    show_totp_secret,
    use_code,
)
from tenants.services.passkeys import (
    add_passkey,
    begin_adding,
    begin_using,
    remove_passkey,
    use_passkey,
    why_no_passkeys,
)
from tenants.services.sessions import claim_attempt, forgive_attempts, note_failure
from tenants.services.signins import SESSION_KEY

_PENDING: Final = "totp_pending"
"""Session key: the sealed secret that waits for its first code."""

_HOME: Final = "/app/account/"


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@person_page
def confirm(request: HttpRequest, user: User) -> HttpResponse:
    """Ask for a factor, or for the password of who has none. Wrong ones count as failed sign-ins."""
    factors = list_factors(user.pk)
    form = ConfirmForm(request.POST or None, second_factor=factors.any)
    context = {
        "form": form,
        "next": _back(request),
        "password": user.has_usable_password() and not factors.any,
        "codes": factors.any,
        "passkeys": bool(factors.passkeys) and not why_no_passkeys(),
    }
    if request.method == "POST" and form.is_valid():
        address = visitor_address(request)
        if wait := claim_attempt(user.email, address=address):
            return asked_to_wait(
                request, form, "confirm.html", wait, what="wrong answers were given", context=context
            )
        try:
            if _proves(request, user, form):
                forgive_attempts(user.email, address=address)
                note_proof(request)
                request.session.cycle_key()
                return HttpResponseRedirect(_back(request))
        except RateLimited as limited:
            words = "wrong codes were given for this account"
            return asked_to_wait(
                request, form, "confirm.html", limited.retry_after, what=words, context=context
            )
        note_failure(user.email, address=address)
        form.add_error(None, "This does not fit. Check it and try again.")
    return own_page(render(request, "marina/confirm.html", context, status=form_status(form)))


@require_POST
@person_page
def confirm_passkey(request: HttpRequest, user: User) -> HttpResponse:
    """What the browser is asked for, of the person who is to prove that it is them."""
    return begin(request, USING, lambda: begin_using(user))


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@person_page
@proven_page
def authenticator(request: HttpRequest, user: User) -> HttpResponse:
    """Set up an authenticator app: its QR code, its secret, its first code."""
    if list_factors(user.pk).totp is not None:
        return redirect("frontend:account")
    form = TotpForm(request.POST or None)
    pending = request.session.get(_PENDING)
    if pending is None:
        pending = request.session[_PENDING] = new_totp_secret(user.pk)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            codes = _change(request, user, lambda: add_totp(user, pending, form.cleaned_data["code"]))
            request.session.pop(_PENDING, None)
            return _done(request, codes, "Your authenticator app is set up.")
    context = {"form": form, "secret": show_totp_secret(user, pending)}
    return own_page(render(request, "marina/authenticator.html", context, status=form_status(form)))


@require_POST
@person_page
@proven_page
def authenticator_remove(request: HttpRequest, user: User) -> HttpResponse:
    """Turn the app off."""
    return _remove(request, user, lambda: remove_totp(user), "Your authenticator app is turned off.")


@require_POST
@person_page
@proven_page
def codes_renew(request: HttpRequest, user: User) -> HttpResponse:
    """New recovery codes, shown this once."""
    try:
        codes = _change(request, user, lambda: renew_codes(user))
    except Conflict as fault:
        messages.error(request, fault.message)
        return redirect("frontend:account")
    return _done(request, codes, "Your old recovery codes work no more.")


@require_http_methods(["GET", "HEAD", "POST"])
@person_page
@proven_page
def passkey_new(request: HttpRequest, user: User) -> HttpResponse:
    """Add a passkey that the browser makes."""
    form = PasskeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            name, answer = form.cleaned_data["name"], form.cleaned_data["credential"]
            state = take(request, ADDING)
            codes = _change(request, user, lambda: add_passkey(user, name, answer, state))
            return _done(request, codes, f"The passkey {name} is added.")
    context = {"form": form, "why_not": why_no_passkeys()}
    return own_page(render(request, "marina/passkey.html", context, status=form_status(form)))


@require_POST
@person_page
@proven_page
def passkey_begin(request: HttpRequest, user: User) -> HttpResponse:
    """What the browser is asked to make."""
    return begin(request, ADDING, lambda: begin_adding(user))


@require_POST
@person_page
@proven_page
def passkey_remove(request: HttpRequest, user: User, passkey_id: int) -> HttpResponse:
    """Remove a passkey."""
    return _remove(request, user, lambda: remove_passkey(user, passkey_id), "The passkey is removed.")


def _proves(request: HttpRequest, user: User, form: ConfirmForm) -> bool:
    """Whether one of the answers is this person's. Raises ``RateLimited``."""
    given = form.cleaned_data
    if "password" in given:
        return user.check_password(given["password"])
    if given["credential"]:
        try:
            use_passkey(user, given["credential"], take(request, USING))
        except Unauthenticated:
            return False
        return True
    return use_code(user, given["code"]) is not None


def _change(request: HttpRequest, user: User, change: Callable[[], list[str] | None]) -> list[str] | None:
    """Make a change; then no other browser is signed in, and this session has another key."""
    codes = change_alone(user, change, but=request.session.get(SESSION_KEY))
    request.session.cycle_key()
    return codes


def _remove(request: HttpRequest, user: User, change: Callable[[], Any], words: str) -> HttpResponse:
    try:
        _change(request, user, change)
        messages.success(request, f"{words} Every other browser is signed out.")
    except NotFound as gone:
        messages.error(request, gone.message)
    return redirect("frontend:account")


def _done(request: HttpRequest, codes: list[str] | None, words: str) -> HttpResponse:
    """Back to the account; by way of new recovery codes, which no other page shows."""
    told = f"{words} Every other browser is signed out."
    if codes is None:
        messages.success(request, told)
        return redirect("frontend:account")
    return own_page(render(request, "marina/recovery_codes.html", {"codes": codes, "words": told}))


def _back(request: HttpRequest) -> str:
    """Where to go once it is proven: a page of the account's."""
    return safe_target(request, within=(_HOME,), otherwise=_HOME)
