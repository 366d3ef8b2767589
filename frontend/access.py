"""The one way into a tenant's page: a signed-in member, resolved to a ``Caller``. Decides nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.cache import never_cache

from core.errors import Forbidden
from frontend.pages import wants_fragment
from tenants.access import Caller, SecondFactorNeeded, SignInNeededHere, caller_for_user
from tenants.arrivals import SignInNeeded, arrival_of_request
from tenants.models import User
from tenants.roles import Action
from tenants.services.recording import record_refusal
from tenants.services.sessions import record_session

P = ParamSpec("P")

View = Callable[..., HttpResponseBase]
LAST_TENANT = "tenant"
"""Session key: the slug of the tenant whose page was last open."""

OPENED = "opened"
"""Session key: the slugs of the tenants whose log knows of this session."""


def tenant_page(
    *needed: Action,
) -> Callable[[Callable[Concatenate[HttpRequest, Caller, P], HttpResponseBase]], View]:
    """Make a view of a tenant's page: it gets the ``Caller``, who may do everything in ``needed``.

    Without a session, or with one that was not signed in as the team wants it, the answer is the sign-in page that
    helps; without membership it is the 404 of an unknown tenant.
    """

    def decorate(view: Callable[Concatenate[HttpRequest, Caller, P], HttpResponseBase]) -> View:
        @wraps(view)
        def member_view(
            request: HttpRequest, tenant: str, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            user = signed_in(request)
            if user is None:
                return to_sign_in(request)
            try:
                caller = caller_for_user(user.pk, user.email, tenant, arrival=arrival_of_request(request))
            except SignInNeededHere as refusal:
                if not wants_fragment(request):
                    note_refusal(request, refusal.caller, refusal)
                raise
            _note_visit(request, caller)
            try:
                for action in needed:
                    caller.require(action)
                return view(request, caller, *args, **kwargs)
            except Forbidden as refusal:
                note_refusal(request, caller, refusal)
                raise

        return never_cache(member_view)

    return decorate


def note_refusal(request: HttpRequest, caller: Caller, refusal: Forbidden) -> None:
    """Record a refusal: of the page, or one that a view shows beside its form instead of raising it."""
    record_refusal("page", refusal, operation=_operation(request), caller=caller)


def _note_visit(request: HttpRequest, caller: Caller) -> None:
    """Remember the tenant as the last one; its log hears of the session, once.

    A switch to another tenant gives the session another key. Not at a part of a page: pages of two tenants that stand
    open side by side ask for parts all the time.
    """
    session = request.session
    last = session.get(LAST_TENANT)
    if last != caller.tenant_slug and not wants_fragment(request):
        if last is not None:
            session.cycle_key()
        session[LAST_TENANT] = caller.tenant_slug
    opened = session.get(OPENED, [])
    if caller.tenant_slug not in opened:
        record_session(caller=caller)
        session[OPENED] = [*opened, caller.tenant_slug]


def _operation(request: HttpRequest) -> str:
    """Method and route, in which no id stands."""
    match = request.resolver_match
    return f"{request.method} {match.route if match else ''}"


def signed_in(request: HttpRequest) -> User | None:
    """The signed-in person, if any."""
    return request.user if isinstance(request.user, User) else None


def to_second_factor(request: HttpRequest, needed: SecondFactorNeeded) -> HttpResponse:
    """Send to where a second factor is set up, and say what for."""
    url = f"{reverse('frontend:account')}#second-factor"
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(headers={"HX-Redirect": url})
    messages.warning(request, needed.message)
    return HttpResponseRedirect(url)


def to_needed_sign_in(request: HttpRequest, needed: SignInNeeded) -> HttpResponse:
    """Send to the single sign-on that would open this page, or to where the person gives their password."""
    return to_sign_in(request, f"{settings.LOGIN_URL}/{needed.team}/" if needed.team else settings.LOGIN_URL)


def to_sign_in(request: HttpRequest, where: str = settings.LOGIN_URL) -> HttpResponse:
    """Send to the sign-in page, and back here afterwards where that is a page that can be visited.

    Where htmx asked for a part (the session ended under an open page), the whole page goes there.
    """
    if request.headers.get("HX-Request") == "true":
        page = urlsplit(request.headers.get("HX-Current-URL", ""))
        back = page.path + (f"?{page.query}" if page.query else "")
        return HttpResponse(headers={"HX-Redirect": f"{where}?{urlencode({'next': back})}"})
    query = f"?{urlencode({'next': request.get_full_path()})}" if request.method == "GET" else ""
    return HttpResponseRedirect(f"{where}{query}")
