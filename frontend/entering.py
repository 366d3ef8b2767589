"""From a right password, or what takes its place, to a session: at once, or after the second factor.

Until then the session is nobody's: it holds whose password was right, and every page takes its visitor for a stranger.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare

from frontend.access import OPENED, signed_in
from frontend.proof import note_proof
from frontend.sessions import drop_sign_in, enter_by_password, visitor_address
from tenants.models import User
from tenants.services.factors import as_it_stands
from tenants.services.sessions import forgive_attempts

HALF: Final = "half_signed_in"
"""Session key: whose password was right, when, and where they wanted to go."""

HALF_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class HalfSignedIn:
    """Somebody whose second factor is awaited."""

    user: User
    target: str


def enter(request: HttpRequest, user: User, target: str) -> HttpResponse:
    """Go on to ``target`` as this person, by way of their second factor where they have one."""
    with as_it_stands(user) as has_factor:
        if not has_factor:
            return open_session(request, user, target)
    drop_sign_in(request)
    if signed_in(request) is not None:
        logout(request)
    request.session[HALF] = {
        "user": user.pk,
        "password": user.get_session_auth_hash(),
        "at": time.time(),
        "target": target,
    }
    request.session.cycle_key()
    return redirect("frontend:second_step")


def half_signed_in(request: HttpRequest) -> HalfSignedIn | None:
    """Whose second factor this session waits for. Nobody's once ten minutes or their password have passed."""
    kept = request.session.get(HALF)
    if kept is None or time.time() - kept["at"] > HALF_SECONDS:
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True).first()
    if user is None or not constant_time_compare(user.get_session_auth_hash(), kept["password"]):
        return None
    return HalfSignedIn(user, kept["target"])


def open_session(request: HttpRequest, user: User, target: str) -> HttpResponse:
    """Sign this person in, who has proven all that they can, and go on to ``target``."""
    forgive_attempts(user.email, address=visitor_address(request))
    request.session.pop(HALF, None)
    enter_by_password(request, user)
    # Who signs in again over a session that lasts is new to every team's log.
    request.session.pop(OPENED, None)
    note_proof(request)
    return HttpResponseRedirect(target)
