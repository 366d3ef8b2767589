"""Ties each browser session to its row of sign-ins, and holds it to what that opens. Checks no password.

A session that came by a team's identity provider alone is somebody in that team, and nobody everywhere else: so no
page has to think of it. Those that may know such a person without a team in their address are listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import rotate_token

from core.clientaddress import address_of_meta
from core.errors import NotFound
from tenants.arrivals import BY_PASSWORD, Arrival, Proof, arrival_of_request
from tenants.models import User
from tenants.services.signins import SESSION_KEY, add_proof, begin_sign_in, end_sign_in, see_sign_in

_BESIDE_TEAMS: Final = frozenset(
    {
        "app/",
        "app/sign-out",
        "app/sign-in/<str:team>/",
        "app/sign-in/<str:team>/back",
        "app/account/",
        "app/account/sign-ins/end",
        "app/account/sign-ins/<uuid:sign_in_id>/end",
        "api/v1/tenants",
    }
)
"""Routes of no team that know who came by a team's provider. Each asks ``arrival_of_request`` what to show."""

STRANGERS_SECONDS: Final = 3 * 3600
"""How long a session is kept that nobody is signed in to: anyone can have one made by each request."""

_BACKEND: Final = "django.contrib.auth.backends.ModelBackend"


class SignInMiddleware:
    """Ends a session whose sign-in has ended elsewhere, begins the row of one that has none yet, and confines those
    that a team's provider alone vouched for. What a stranger has begun is kept for some hours."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # A request without the cookie, of a client with a key for instance, must not be asked for a session.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and isinstance(request.user, User):
            _tie(request, request.user)
        response = self.get_response(request)
        session = request.session
        if session.modified and not session.is_empty() and auth.SESSION_KEY not in session:
            session.set_expiry(STRANGERS_SECONDS)
        return response

    def process_view(
        self, request: HttpRequest, view: Any, arguments: tuple[Any, ...], names: dict[str, Any]
    ) -> None:
        """Before any view, when it is known which team the address is of."""
        arrival = arrival_of_request(request)
        if arrival.by_password or not arrival.proofs:
            return
        match = request.resolver_match
        if "tenant" not in names and (match is None or match.route not in _BESIDE_TEAMS):
            request.user = AnonymousUser()


def visitor_address(request: HttpRequest) -> str:
    """The address that a request came from, past the operator's own proxies."""
    return address_of_meta(request.META, settings.ENV.trusted_proxies)


def drop_sign_in(request: HttpRequest) -> None:
    """End the sign-in that the session is tied to, if any: the person signs out, or signs in anew.

    A session that came by a team's provider is left whole: whoever gives their password begins another.
    """
    sign_in, user_id = request.session.pop(SESSION_KEY, None), request.session.get(auth.SESSION_KEY)
    if sign_in is not None and user_id is not None:
        with suppress(NotFound):  # ended already, elsewhere
            end_sign_in(sign_in, int(user_id))
    if arrival_of_request(request).proofs:
        request.session.flush()


def enter_by_provider(request: HttpRequest, user: User, proof: Proof) -> None:
    """Sign the person in by what a team's provider said, under a new session key.

    Where the session is theirs already, this adds to it. Otherwise it begins one that reaches that team alone. Their
    ``last_login`` stays as it is: it says that they have shown the account to be theirs.
    """
    sign_in = request.session.get(SESSION_KEY)
    if request.user == user and sign_in is not None:
        add_proof(sign_in, user.pk, proof)
        request.session.cycle_key()
    else:
        drop_sign_in(request)
        request.session.flush()
        name_person(request.session, user)
        _begin_row(request, user, proof)
        request.user = user
    rotate_token(request)


def enter_by_password(request: HttpRequest, user: User) -> None:
    """Sign the person in, who has proven all that they can, under a new session key.

    The row begins with the session: one that nobody used yet can be seen, and ended, as well.
    """
    drop_sign_in(request)
    auth.login(request, user, backend=_BACKEND)  # begins anew over another person's session
    request.session.set_expiry(None)
    _begin_row(request, user)


def name_person(session: SessionBase, user: User) -> None:
    """Make the session this person's, as Django knows whose one is."""
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = _BACKEND
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()


def _begin_row(request: HttpRequest, user: User, proof: Proof | None = None) -> None:
    browser = request.headers.get("User-Agent", "")
    row = begin_sign_in(user.pk, address=visitor_address(request), browser=browser, proof=proof)
    request.session[SESSION_KEY] = str(row.pk)


def _tie(request: HttpRequest, user: User) -> None:
    sign_in = request.session.get(SESSION_KEY)
    arrival: Arrival | None = BY_PASSWORD
    if sign_in is None:
        _begin_row(request, user)
    else:
        arrival = see_sign_in(sign_in, user.pk, address=visitor_address(request))
    if arrival is None:
        auth.logout(request)
    else:
        request.arrival = arrival  # type: ignore[attr-defined]
