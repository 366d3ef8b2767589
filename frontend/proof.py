"""Whether somebody has just proven who they are, which their ways of signing in change after only. Checks no proof."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from tenants.models import User

P = ParamSpec("P")

LASTS_SECONDS: Final = 600
_KEY: Final = "proven"


def note_proof(request: HttpRequest) -> None:
    """The person of this session has proven who they are, now."""
    request.session[_KEY] = time.time()


def is_proven(request: HttpRequest) -> bool:
    """Whether they have within the last ten minutes."""
    proven_at: float = request.session.get(_KEY, 0)
    return time.time() - proven_at < LASTS_SECONDS


def proven_page(
    view: Callable[Concatenate[HttpRequest, User, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, User, P], HttpResponse]:
    """Make a view of a person's own that is only for who has just proven that it is them; others are asked to."""

    @wraps(view)
    def proven_view(request: HttpRequest, user: User, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if is_proven(request):
            return view(request, user, *args, **kwargs)
        # A form that comes too late is sent again by its person, once they are back at its page.
        back = request.path if request.method in {"GET", "HEAD"} else reverse("frontend:account")
        return HttpResponseRedirect(f"{reverse('frontend:confirm')}?{urlencode({'next': back})}")

    return proven_view
