"""Keeps a passkey's ceremony in the session between its two requests, each for one use. Checks no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse

from core.errors import MarinaError
from frontend.pages import own_page
from tenants.services.passkeys import Ceremony

ADDING: Final = "passkey_adding"
USING: Final = "passkey_using"


def begin(request: HttpRequest, kind: str, start: Callable[[], Ceremony]) -> HttpResponse:
    """Begin one, in place of any that was begun before, and give the page's script what the browser is asked for."""
    try:
        ceremony = start()
    except MarinaError as error:
        return own_page(JsonResponse({"problem": error.message}, status=error.status))
    request.session[kind] = ceremony.state
    return JsonResponse(ceremony.options)


def take(request: HttpRequest, kind: str) -> dict[str, Any] | None:
    """What was kept, once."""
    state: dict[str, Any] | None = request.session.pop(kind, None)
    return state
