"""Middleware of the whole site: request ids and the content security policy. Knows no tenant."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from core.requestid import REQUEST_ID, serving_request

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""No inline script, no inline style, nothing from elsewhere."""


class RequestIdMiddleware:
    """Gives each request an id (``request.request_id``) and sends it back as ``X-Request-ID``.

    An id that a proxy set is kept when it is well formed, so that both logs agree.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        with serving_request(request_id):
            response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


class ContentSecurityPolicyMiddleware:
    """Sends the policy with every answer.

    A page whose form leads on to elsewhere names where in ``response.form_targets``: browsers hold redirects to it too.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        targets = " ".join(("form-action 'self'", *getattr(response, "form_targets", ())))
        response.setdefault("Content-Security-Policy", _POLICY.replace("form-action 'self'", targets))
        return response
