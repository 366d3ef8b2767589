"""Ties each browser session to its row of sign-ins, so that it can be listed and ended. Checks no password."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse

from core.clientaddress import address_of_meta
from core.errors import NotFound
from tenants.models import User
from tenants.services.signins import SESSION_KEY, begin_sign_in, end_sign_in, see_sign_in


class SignInMiddleware:
    """Ends a session whose sign-in has ended elsewhere, and begins the row of one that has none yet."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # A request without the cookie, of a client with a key for instance, must not be asked for a session.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and isinstance(request.user, User):
            _tie(request, request.user)
        return self.get_response(request)


def visitor_address(request: HttpRequest) -> str:
    """The address that a request came from, past the operator's own proxies."""
    return address_of_meta(request.META, settings.ENV.trusted_proxies)


def drop_sign_in(request: HttpRequest) -> None:
    """End the sign-in that the session is tied to, if any: the person signs out, or signs in anew."""
    sign_in = request.session.pop(SESSION_KEY, None)
    if sign_in is not None and isinstance(request.user, User):
        try:
            end_sign_in(sign_in, request.user.pk)
        except NotFound:
            return  # ended already, elsewhere


def _tie(request: HttpRequest, user: User) -> None:
    address = visitor_address(request)
    sign_in = request.session.get(SESSION_KEY)
    if sign_in is None:
        row = begin_sign_in(user.pk, address=address, browser=request.headers.get("User-Agent", ""))
        request.session[SESSION_KEY] = str(row.pk)
    elif not see_sign_in(sign_in, user.pk, address=address):
        logout(request)
