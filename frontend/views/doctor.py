"""Pages of the OAuth doctor: the clients that tried to connect, one client's steps, and the self-test."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.pages import fragment, page, wants_fragment
from servers.services.oauth_selftest import run_self_test
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.oauth_doctor import find_timeline, list_timelines


@require_safe
@tenant_page(Action.KEYS_READ)
def doctor(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Who tried to connect, newest first, and how far each came."""
    context = {"timelines": list_timelines(caller=caller)}
    if wants_fragment(request):
        return fragment(request, caller, "doctor.html", context)
    return page(request, caller, "doctor.html", "apps", context)


@require_safe
@tenant_page(Action.KEYS_READ)
def timeline(request: HttpRequest, caller: Caller, timeline_id: UUID) -> HttpResponse:
    """One client's steps, with what is wrong at each."""
    context = {"timeline": find_timeline(timeline_id, caller=caller)}
    if wants_fragment(request):
        return fragment(request, caller, "doctor_timeline.html", context)
    return page(request, caller, "doctor_timeline.html", "apps", context)


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def self_test(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Connect to this team as a client would, and say what came of each step."""
    context = {"tested": run_self_test(caller=caller)}
    if wants_fragment(request):
        return fragment(request, caller, "doctor_self_test.html", context)
    return page(request, caller, "doctor_tested.html", "apps", context)
