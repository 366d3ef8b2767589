"""The second step of signing in, and signing in with a passkey alone. Nobody is signed in before either has succeeded.

A wrong answer counts as a failed sign-in; a right password before it forgives nothing.
"""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from core.errors import Forbidden, RateLimited, Unauthenticated
from frontend.ceremonies import USING, begin, take
from frontend.entering import HalfSignedIn, half_signed_in, open_session
from frontend.forms.factors import SecondStepForm
from frontend.forms.people import SignInForm
from frontend.pages import form_status, own_page
from frontend.sessions import visitor_address
from frontend.views.session import FAILED, log_failure, sign_in_context, target_of
from frontend.waiting import asked_to_wait
from tenants.factors import CODES
from tenants.models import User
from tenants.services.factors import list_factors, use_code
from tenants.services.passkeys import begin_using, use_passkey, why_no_passkeys
from tenants.services.person_log import record_refused_person
from tenants.services.sessions import claim_attempt, forgive_attempts, note_failure


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def second_step(request: HttpRequest) -> HttpResponse:
    """Ask for a code or a passkey of the person whose password was right."""
    half = half_signed_in(request)
    if half is None:
        return redirect("frontend:sign_in")
    form = SecondStepForm(request.POST or None)
    factors = list_factors(half.user.pk)
    context = {
        "form": form,
        "email": half.user.email,
        "app": factors.totp is not None,
        "passkeys": bool(factors.passkeys) and not why_no_passkeys(),
    }
    if request.method == "POST" and form.is_valid():
        address = visitor_address(request)
        if wait := claim_attempt(half.user.email, address=address):
            log_failure(address, throttled=True)
            return asked_to_wait(request, form, "second_step.html", wait, what=FAILED, context=context)
        try:
            return _finish(request, half, form)
        except RateLimited as limited:
            log_failure(address, throttled=True)
            words = "wrong codes were given for this account"
            return asked_to_wait(
                request, form, "second_step.html", limited.retry_after, what=words, context=context
            )
        except Unauthenticated as refusal:
            note_failure(half.user.email, address=address)
            log_failure(address, throttled=False)
            record_refused_person(
                "session.second_step",
                Forbidden(refusal.message, rule="factor:wrong", code=refusal.code),
                operation=f"sign in from {address}",
                user=half.user,
            )
            form.add_error(None if form.cleaned_data["credential"] else "code", refusal.message)
    return own_page(render(request, "marina/second_step.html", context, status=form_status(form)))


@never_cache
@require_POST
def second_step_passkey(request: HttpRequest) -> HttpResponse:
    """What the browser is asked for, of the person whose password was right."""
    half = half_signed_in(request)
    if half is None:
        return redirect("frontend:sign_in")
    return begin(request, USING, lambda: begin_using(half.user))


@never_cache
@require_POST
def passkey_begin(request: HttpRequest) -> HttpResponse:
    """What the browser is asked for, of whoever has a passkey."""
    return begin(request, USING, lambda: begin_using(None))


@sensitive_post_parameters()
@never_cache
@require_POST
def passkey_sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with a passkey alone: it is both, what somebody has and what they know or are."""
    target = target_of(request)
    form = SignInForm()
    context = sign_in_context(form, target)
    form.cleaned_data = {}
    address = visitor_address(request)
    answer = request.POST.get("credential", "")
    # There is no e-mail to count by; an answer begins with its passkey's id.
    named = f"passkey {answer[:80]}"
    if wait := claim_attempt(named, address=address):
        log_failure(address, throttled=True)
        return asked_to_wait(request, form, "sign_in.html", wait, what=FAILED, context=context)
    try:
        user = use_passkey(None, answer, take(request, USING))
    except Unauthenticated as refusal:
        note_failure(named, address=address)
        log_failure(address, throttled=False)
        form.add_error(None, refusal.message)
        return own_page(render(request, "marina/sign_in.html", context, status=400))
    forgive_attempts(named, address=address)
    return open_session(request, user, target)


def _finish(request: HttpRequest, half: HalfSignedIn, form: SecondStepForm) -> HttpResponse:
    """Sign in. Raises ``Unauthenticated`` for what is no factor of theirs, and ``RateLimited``."""
    answer = form.cleaned_data["credential"]
    if answer:
        use_passkey(half.user, answer, take(request, USING))
        return open_session(request, half.user, half.target)
    used = use_code(half.user, form.cleaned_data["code"])
    if used is None:
        raise Unauthenticated(
            "This code does not fit, or was used already. Wait for the app's next one and try again.",
            code="code_wrong",
        )
    response = open_session(request, half.user, half.target)
    if used == CODES:
        _tell_of_codes(request, half.user)
    return response


def _tell_of_codes(request: HttpRequest, user: User) -> None:
    left = list_factors(user.pk).codes_left
    messages.warning(
        request, f"You used a recovery code; {left} are left. Your account's page makes new ones."
    )
