"""Turns refusals and faults of pages into pages that state cause, next step and request id.

The outer boundary of the dashboard. It leaves REST, health and the technical pages of debug mode alone.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from core.errors import MarinaError, Unauthenticated
from frontend.access import to_needed_sign_in, to_second_factor, to_sign_in
from frontend.errors import error_page, status_page
from tenants.access import SecondFactorNeeded
from tenants.arrivals import SignInNeeded

_NOT_PAGES: Final = ("/api/", "/mcp", "/static/", "/.well-known/", "/oauth/", "/health", "/ready", "/metrics")


class ErrorPageMiddleware:
    """Answers with a page of ours whatever goes wrong below ``/app/``, and for addresses that do not exist."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        ours = getattr(response, "is_page", False)
        plain = response.status_code >= HTTPStatus.BAD_REQUEST and not ours
        if plain and not settings.DEBUG and not request.path.startswith(_NOT_PAGES):
            return status_page(request, response.status_code)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Translate an error that was raised on purpose; others go to Django, which logs them."""
        if not isinstance(exception, MarinaError) or request.path.startswith(_NOT_PAGES):
            return None
        if isinstance(exception, Unauthenticated):
            return to_sign_in(request)
        if isinstance(exception, SecondFactorNeeded):
            return to_second_factor(request, exception)
        if isinstance(exception, SignInNeeded):
            return to_needed_sign_in(request, exception)
        return error_page(request, exception)
