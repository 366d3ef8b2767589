"""Signing in to what a data source stands on: the way to its authorization server, the one way back, and the end.

What was begun is kept in the browser's session under its ``state``, and taken out when the browser comes back: once,
from the same browser, of the same person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_POST, require_safe

from core.errors import Conflict, Forbidden, MarinaError, SourceError
from core.outbound import AddressRule
from frontend.access import note_refusal, signed_in, tenant_page
from frontend.begun import keep, read_return, take
from frontend.pages import own_page, page
from frontend.targets import SeeOther
from servers.models import DataSource
from servers.services.sign_ins.addresses import client_document
from servers.services.sign_ins.browsing import ELSEWHERE, begin_sign_in, finish_sign_in, sign_out
from servers.services.source_checks import test_source
from servers.services.sources import get_source
from tenants.access import Caller, caller_for_user
from tenants.arrivals import arrival_of_request
from tenants.roles import Action

PENDING: Final = "upstream"
"""Session key: sign-ins that were begun at an authorization server, by their ``state``."""

_OWN_MACHINE: Final = "127.0.0.1"


@require_POST
@tenant_page(Action.SOURCES_READ)
def source_sign_in(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """Send the browser to where people sign in to this source."""
    try:
        begun = begin_sign_in(source_id, caller=caller, agreed=request.POST.get("agreed", ""))
    except (Conflict, SourceError) as fault:
        if fault.code == ELSEWHERE:
            return _ask(request, caller, source_id, fault.data)
        messages.error(request, f"Nobody could be sent there. {fault.message}")
        return redirect("frontend:source", caller.tenant_slug, source_id)
    keep(request, PENDING, begun.state, begun.kept)
    return SeeOther(begun.url)


@require_POST
@tenant_page(Action.SOURCES_READ)
def source_sign_out(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """End the team's sign-in, or the person's own."""
    try:
        given_back = sign_out(source_id, caller=caller)
    except Conflict as fault:
        messages.error(request, fault.message)
    else:
        there = "and given back there" if given_back else "the server there was not told, or takes none back"
        messages.success(request, f"Signed out: the tokens are deleted here, {there}.")
    return redirect("frontend:source", caller.tenant_slug, source_id)


@never_cache
@require_safe
def back(request: HttpRequest) -> HttpResponse:
    """Where every authorization server sends browsers back to."""
    user, parameters = signed_in(request), read_return(request)
    kept = None
    if user is not None and parameters is not None:
        kept = take(request, PENDING, parameters.get("state", ""))
    if user is None or parameters is None or kept is None or kept["person"] != user.pk:
        notice = {
            "title": "Nothing to finish here",
            "words": "This sign-in was finished already, is older than ten minutes, or began in another browser. Begin "
            "again on the page of the data source.",
        }
        return own_page(render(request, "marina/gate_notice.html", notice, status=400))
    caller = caller_for_user(user.pk, user.email, kept["team"], arrival=arrival_of_request(request))
    try:
        source = finish_sign_in(kept, parameters, caller=caller)
    except Forbidden as refusal:
        note_refusal(request, caller, refusal)
        raise
    except (Conflict, SourceError) as fault:
        messages.error(request, f"Nobody is signed in by this. {fault.message}")
        return redirect("frontend:source", caller.tenant_slug, kept["source"])
    _tell(request, source, caller)
    return redirect("frontend:source", caller.tenant_slug, source.id)


@cache_control(public=True, max_age=3600)
@require_safe
def client_json(request: HttpRequest) -> HttpResponse:
    """Marina's metadata document, by which authorization servers know it."""
    return JsonResponse(client_document())


def sign_in_targets() -> list[str]:
    """Where a form may lead that begins a sign-in: no page knows beforehand where a server has its sign-ins."""
    own = AddressRule(settings.ENV.outbound_allow).allows(_OWN_MACHINE)
    return ["https:", *(["http://127.0.0.1:*", "http://localhost:*"] if own else [])]


def _ask(request: HttpRequest, caller: Caller, source_id: UUID, hosts: Mapping[str, Any]) -> HttpResponse:
    """Name the hosts, and ask whether to go on."""
    context = {"source": get_source(source_id, caller=caller), "hosts": hosts}
    response = page(request, caller, "sign_in_elsewhere.html", "sources", context)
    response.form_targets = sign_in_targets()  # type: ignore[attr-defined]
    return response


def _tell(request: HttpRequest, source: DataSource, caller: Caller) -> None:
    """Check the source, and say what came of it."""
    if not caller.may(Action.SOURCES_CHANGE):
        messages.success(request, f"You are signed in, and may use {source.name}.")
        return
    try:
        health = test_source(source.id, caller=caller)
    except MarinaError as fault:
        messages.warning(
            request, f"You are signed in, but {source.name} could not be checked. {fault.message}"
        )
        return
    if health.state == "healthy":
        messages.success(request, f"You are signed in, and {source.name} answers.")
    else:
        messages.warning(request, f"You are signed in. {health.reason}")
