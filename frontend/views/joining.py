"""Signing up, accepting an invitation, making a team. Whether an account exists shows in no answer to a stranger.

A mailed link's token goes into the session, or its hash does, and out of the address at once.
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from core.errors import Conflict, Forbidden, MarinaError, NotFound
from frontend.access import signed_in
from frontend.forms.people import ROLE_WORDS, NewAccountForm, NewTeamForm, SignUpForm
from frontend.pages import form_status, own_page
from frontend.proof import note_proof
from frontend.sessions import enter_by_password, visitor_address
from frontend.views.account import person_page
from frontend.waiting import asked_to_wait
from servers.services.onboarding import found_own_tenant
from tenants.models import Invitation, User
from tenants.roles import Role
from tenants.services.accounts import (
    create_account,
    has_account,
    make_sign_up_token,
    may_sign_up,
    read_sign_up_token,
    require_sign_up,
)
from tenants.services.invitations import (
    accept_invitation,
    check_invitation,
    find_invitation,
    note_forwarded,
    token_digest,
)
from tenants.services.letters import known_letter, sign_up_letter
from tenants.services.mail import claim_letter, public_link, send_soon

_EMAIL = "sign_up"
"""Session key: the address that a sign-up link has confirmed."""

_INVITATION = "invitation"
"""Session key: the hash of the token of the invitation that was opened last, in hexadecimal."""


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """Ask for the address, and mail a link to it. Known or not, invited or not, what follows is the same page."""
    require_sign_up()
    if signed_in(request) is not None:
        return redirect("frontend:home")
    form, context = SignUpForm(request.POST or None), {"signup": settings.ENV.signup}
    if request.method == "POST" and form.is_valid():
        email = form.cleaned_data["email"].lower()
        if wait := claim_letter(email, address=visitor_address(request)):
            asked = "letters were asked for"
            return asked_to_wait(request, form, "sign_up.html", wait, what=asked, context=context)
        known, expected = has_account(email), may_sign_up(email)
        if known:
            links = public_link("sign-in"), public_link("password/forgotten")
            send_soon(known_letter(email, *links))
        elif expected:
            send_soon(sign_up_letter(email, public_link(f"sign-up/{make_sign_up_token(email)}")))
        return redirect("frontend:sign_up_sent")
    return own_page(
        render(request, "marina/sign_up.html", {"form": form, **context}, status=form_status(form))
    )


@require_safe
def sign_up_sent(request: HttpRequest) -> HttpResponse:
    """Say where to look for the link."""
    invited = "" if settings.ENV.signup == "open" else " If a team has invited this address,"
    words = f"{invited} a link to finish with is on its way. It works for a day.".strip()
    context = {"title": "Look into your mail", "words": words[:1].upper() + words[1:]}
    return render(request, "marina/gate_notice.html", context)


@never_cache
@require_safe
def sign_up_link(request: HttpRequest, token: str) -> HttpResponse:
    """Where the mailed link leads."""
    email = read_sign_up_token(token)
    if email is None or has_account(email):
        words = "It was used, is older than a day, or was not copied whole. Sign in, or ask for a new one."
        context = {"title": "This link works no more", "words": words, "sign_in": True}
        return own_page(render(request, "marina/gate_notice.html", context, status=400))
    request.session[_EMAIL] = email
    return redirect("frontend:sign_up_finish")


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_up_finish(request: HttpRequest) -> HttpResponse:
    """Name and password; then the account is there, and its person signed in."""
    email = request.session.get(_EMAIL)
    if email is None:
        return redirect("frontend:sign_up")
    form = NewAccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            user = create_account(email, form.cleaned_data["name"], form.cleaned_data["password"])
            _sign_in(request, user)
            return redirect("frontend:home")
    context = {"form": form, "email": email}
    return own_page(render(request, "marina/sign_up_finish.html", context, status=form_status(form)))


@never_cache
@require_safe
def invitation_link(request: HttpRequest, token: str) -> HttpResponse:
    """Where a letter of invitation leads. That it was forwarded is for the team's log."""
    digest = token_digest(token)
    user = signed_in(request)
    if user is not None:
        try:
            found = find_invitation(digest)
            check_invitation(found, email=user.email)
        except Forbidden as refusal:
            note_forwarded(found, refusal, email=user.email)
        except (Conflict, NotFound):
            pass  # said on the page that follows
    request.session[_INVITATION] = digest.hex()
    return redirect("frontend:invitation")


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest) -> HttpResponse:
    """The invitation that was opened: join, sign in to join, sign up and join, or why none of these can be."""
    user = signed_in(request)
    if request.method == "POST" and user is not None and "invitation" in request.POST:
        return _join(request, user, _uuid(request.POST["invitation"]))
    try:
        found = find_invitation(bytes.fromhex(request.session.get(_INVITATION, "")))
        check_invitation(found, email=None if user is None else user.email)
    except MarinaError as refusal:
        title = "You cannot join with this link"
        context = {"title": title, "words": refusal.message, "signed_in": user is not None}
        return own_page(render(request, "marina/gate_notice.html", context, status=refusal.status))
    way = _way(found, user)
    form = NewAccountForm(request.POST or None) if way == "sign_up" else None
    if form is not None and request.method == "POST" and form.is_valid():
        with form.refusals():
            created = create_account(found.email, form.cleaned_data["name"], form.cleaned_data["password"])
            _sign_in(request, created)
            return _join(request, created, found.pk)
    words = ROLE_WORDS[Role(found.role)]
    context = {"invitation": found, "way": way, "form": form, "email": found.email, "role_words": words}
    return own_page(render(request, "marina/invitation.html", context, status=form_status(form)))


@require_http_methods(["GET", "HEAD", "POST"])
@person_page
def new_team(request: HttpRequest, user: User) -> HttpResponse:
    """A team of one's own, where sign-up is open."""
    form = NewTeamForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals(lambda _refusal: None):  # there is no team yet whose log could hear of it
            team = found_own_tenant(form.cleaned_data["slug"], form.cleaned_data["name"], user.pk)
            return redirect("frontend:overview", team.slug)
    return own_page(render(request, "marina/new_team.html", {"form": form}, status=form_status(form)))


def _way(found: Invitation, user: User | None) -> str:
    """How whoever holds the link comes in. They read the mail of the address, so may know of its account."""
    if user is not None:
        return "join"
    if has_account(found.email):
        return "sign_in"
    return "closed" if settings.ENV.signup == "closed" else "sign_up"


def _join(request: HttpRequest, user: User, invitation_id: UUID) -> HttpResponse:
    try:
        caller = accept_invitation(invitation_id, user_id=user.pk, email=user.email)
    except MarinaError as refusal:
        context = {"title": "You cannot join", "words": refusal.message, "signed_in": True}
        return own_page(render(request, "marina/gate_notice.html", context, status=refusal.status))
    request.session.pop(_INVITATION, None)
    messages.success(request, f"You are a member of {caller.tenant_slug} now.")
    return redirect("frontend:overview", caller.tenant_slug)


def _sign_in(request: HttpRequest, user: User) -> None:
    """A new session for a new account; what was opened before stays in it."""
    opened = request.session.get(_INVITATION)
    request.session.pop(_EMAIL, None)
    enter_by_password(request, user)
    note_proof(request)
    if opened is not None:
        request.session[_INVITATION] = opened


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)
