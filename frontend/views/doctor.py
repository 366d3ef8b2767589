"""Pages of the OAuth doctor: the clients that tried to connect, one client's steps, and the self-test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.pages import fragment, page, wants_fragment
from servers.services.oauth_selftest import run_self_test
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.oauth_doctor import Timeline, find_timeline, list_timelines


@require_safe
@tenant_page(Action.KEYS_READ)
def doctor(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Who tried to connect, newest first, and how far each came."""
    context = {"rows": [(_moment(each.attempt.ended_at), each) for each in list_timelines(caller=caller)]}
    if wants_fragment(request):
        return fragment(request, caller, "doctor.html", context)
    return page(request, caller, "doctor.html", "apps", context)


@require_safe
@tenant_page(Action.KEYS_READ)
def timeline(request: HttpRequest, caller: Caller, timeline_id: UUID) -> HttpResponse:
    """One client's steps, with what is wrong at each."""
    found = find_timeline(timeline_id, caller=caller)
    context = _shown(found)
    if wants_fragment(request):
        return fragment(request, caller, "doctor_timeline.html", context)
    return page(request, caller, "doctor_timeline.html", "apps", context)


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def self_test(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Connect to this team as a client would, and say what came of each step."""
    context: dict[str, Any] = {"tested": run_self_test(caller=caller)}
    if wants_fragment(request):
        return fragment(request, caller, "doctor_self_test.html", context)
    return page(request, caller, "doctor_tested.html", "apps", context)


def _shown(found: Timeline) -> dict[str, Any]:
    return {
        "timeline": found,
        "began_at": _moment(found.attempt.began_at),
        "steps": [
            (_moment(each.step.at), [(name, text) for name, text in each.step.asked.items()], each)
            for each in found.steps
        ],
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
