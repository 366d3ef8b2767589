"""Where a member decides whether a client may act for them. Begun and answered in one browser session.

What was asked for is kept in the session, under an id that the form names: nothing that the form sends back can
change it, and a form of another browser answers nothing.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import Final
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from core.errors import InvalidInput, MarinaError, NotFound, RateLimited
from frontend.access import signed_in, to_needed_sign_in, to_second_factor, to_sign_in
from frontend.begun import awaited, finish, keep
from frontend.errors import error_page
from frontend.oauth.answers import record_fault, tenant_named
from frontend.oauth.noting import note, pad_of
from frontend.oauth.registration import learn_client
from frontend.pages import own_page
from frontend.targets import SeeOther
from servers.services.servers import has_server
from tenants.access import Caller, SecondFactorNeeded, caller_for_user
from tenants.arrivals import SignInNeeded, arrival_of_request
from tenants.models import User
from tenants.oauth_steps import Kind, mark_of
from tenants.roles import OAUTH_SCOPES, Action
from tenants.services.oauth_clients import is_document_address, leads_to_program, shown_target, stays_here
from tenants.services.oauth_flow import (
    Asked,
    check_authorization,
    deny,
    grant,
    is_trusted,
    led_back,
    offered_scopes,
)
from tenants.services.oauth_parameters import OAuthFault, read_parameters
from tenants.services.teams import get_tenant

PENDING: Final = "oauth"
"""Session key: requests that wait for their member's answer, by id."""


class _Ended(InvalidInput):
    """A client's request that leads nowhere: no form of the member's was wrong."""

    title = "This request ends here"


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def authorize(request: HttpRequest, tenant: str) -> HttpResponse:
    """The authorization endpoint (RFC 6749 section 3.1), for members of the tenant alone."""
    user = signed_in(request)
    if user is None:
        _note_stranger(request, tenant, ok=True, status=302, told="Sent to the sign-in page.")
        return to_sign_in(request)
    try:
        try:
            caller = caller_for_user(user.pk, user.email, tenant, arrival=arrival_of_request(request))
        except NotFound:
            _note_stranger(request, tenant, ok=False, status=404, code="not_a_member")
            raise
        return _answer_member(request, caller, user)
    except SecondFactorNeeded as needed:
        _note_stranger(request, tenant, ok=True, status=302, told="Sent to set a second factor up.")
        return to_second_factor(request, needed)
    except SignInNeeded as needed:
        _note_stranger(request, tenant, ok=True, status=302, told="Sent to sign in another way.")
        return to_needed_sign_in(request, needed)
    except MarinaError as error:
        return error_page(request, error)


def _answer_member(request: HttpRequest, caller: Caller, user: User) -> HttpResponse:
    pad = pad_of(request)
    # Forms come with a token of the session: what one says is a member's.
    pad.known, pad.member = True, user.email
    try:
        return _decide(request, caller, user) if request.method == "POST" else _ask(request, caller)
    except RateLimited as refusal:
        _note_refusal(request, caller, refusal.status, refusal.code, refusal.message)
        raise
    except OAuthFault as fault:
        status = fault.status if fault.location is None else SeeOther.status_code
        _note_refusal(request, caller, status, fault.code, fault.description)
        record_fault(fault, tenant_id=caller.tenant_id, tenant_slug=caller.tenant_slug, actor=caller.actor)
        if fault.location is not None:
            return _lead_back(request, fault, fault.location, caller)
        raise _Ended(fault.description, code=fault.code) from None


def _ask(request: HttpRequest, caller: Caller) -> HttpResponse:
    pad = pad_of(request)
    parameters = read_parameters(_query(request))
    pad.take_parameters(parameters)
    pad.kind = Kind.CLIENT_DOCUMENT
    if learn_client(parameters.get("client_id", ""), caller=caller):
        note(request, caller.tenant_id, Kind.CLIENT_DOCUMENT, ok=True, status=200)
    pad.kind = None
    asked = check_authorization(parameters, caller=caller)
    _require_server(asked, caller)
    offered = offered_scopes(asked, caller)
    if not offered:
        fault = OAuthFault("invalid_scope", "The member's role allows none of the scopes asked for.")
        raise led_back(fault, asked.redirect_uri, asked.parameters, caller)
    number = secrets.token_urlsafe(16)
    begun = {"parameters": dict(asked.parameters), "tenant": caller.tenant_slug, "user": caller.user_id}
    keep(request, PENDING, number, begun)
    pad.consent_mark = mark_of(number)
    note(
        request, caller.tenant_id, Kind.AUTHORIZATION, ok=True, status=200, told="The consent page is shown."
    )
    return _page(request, asked, caller, number, offered)


def _decide(request: HttpRequest, caller: Caller, user: User) -> HttpResponse:
    number = request.POST.get("request", "")
    pad = pad_of(request)
    pad.consent_mark = mark_of(number)
    kept = awaited(request, PENDING).get(number)
    if kept is None or kept["tenant"] != caller.tenant_slug or kept["user"] != caller.user_id:
        raise OAuthFault(
            "request_unknown",
            "This request was answered already, is older than ten minutes, or began in another browser. Begin again "
            "in the client.",
        )
    pad.take_parameters(kept["parameters"])
    asked = check_authorization(kept["parameters"], caller=caller)
    _require_server(asked, caller)
    if request.POST.get("decision") != "allow":
        finish(request, PENDING, number)
        note(request, caller.tenant_id, Kind.CONSENT, ok=False, status=303, code="access_denied")
        return SeeOther(deny(asked, caller=caller))
    chosen = request.POST.getlist("scopes")
    offered = offered_scopes(asked, caller)
    if not set(chosen) & set(offered):
        words = "Leave at least one of the rights ticked, or refuse."
        note(request, caller.tenant_id, Kind.CONSENT, ok=False, status=400, code="nothing_ticked")
        return _page(request, asked, caller, number, offered, problem=words)
    finish(request, PENDING, number)
    location, authorization = grant(asked, chosen, caller=caller, user=user)
    pad.take_location(location)
    pad.grant = str(authorization.pk)
    pad.asked["agreed to"] = " ".join(authorization.scopes)
    note(request, caller.tenant_id, Kind.CONSENT, ok=True, status=303)
    return SeeOther(location)


def _note_stranger(
    request: HttpRequest, tenant: str, *, ok: bool, status: int, code: str = "", told: str = ""
) -> None:
    """Take down a visit of whoever is no member, as far as it is known, of a team that there is."""
    tenant_id = tenant_named(tenant)
    if tenant_id is None or request.method == "POST":
        return
    with contextlib.suppress(OAuthFault):
        pad_of(request).take_parameters(read_parameters(_query(request)))
    note(request, tenant_id, Kind.AUTHORIZATION, ok=ok, status=status, code=code, told=told)


def _note_refusal(request: HttpRequest, caller: Caller, status: int, code: str, told: str) -> None:
    kind = Kind.CONSENT if request.method == "POST" else Kind.AUTHORIZATION
    note(request, caller.tenant_id, kind, ok=False, status=status, code=code, told=told)


def _page(
    request: HttpRequest,
    asked: Asked,
    caller: Caller,
    number: str,
    offered: list[str],
    *,
    problem: str = "",
) -> HttpResponse:
    context = {
        "asked": asked,
        "number": number,
        "caller": caller,
        "team": get_tenant(caller=caller),
        "host": shown_target(asked.redirect_uri),
        "stays_here": stays_here(asked.redirect_uri),
        "verified_host": urlsplit(asked.client_id).netloc if is_document_address(asked.client_id) else "",
        "rights": [(scope, OAUTH_SCOPES[scope]) for scope in offered],
        "withheld": [scope for scope in asked.scopes if scope in OAUTH_SCOPES and scope not in offered],
        "tools": [scope.removeprefix("tool:") for scope in asked.scopes if scope.startswith("tool:")],
        "problem": problem,
    }
    response = own_page(render(request, "marina/consent.html", context, status=400 if problem else 200))
    # A browser holds the form to this also when its answer leads on to the client.
    response.form_targets = [_origin(asked.redirect_uri)]  # type: ignore[attr-defined]
    return response


def _lead_back(request: HttpRequest, fault: OAuthFault, location: str, caller: Caller) -> HttpResponse:
    """To the client with a fault; at once only where the member knows the client (RFC 9700 section 4.11.2).

    Otherwise any address that somebody registers could have browsers sent to it by a link that names Marina.
    """
    if is_trusted(fault.client_id, caller=caller):
        return SeeOther(location)
    context = {
        "fault": fault,
        "location": location,
        "host": shown_target(location),
        "stays_here": stays_here(location),
    }
    return own_page(render(request, "marina/consent_refused.html", context, status=400))


def _require_server(asked: Asked, caller: Caller) -> None:
    """Raise ``OAuthFault`` unless the team has the server that the resource names."""
    if not caller.may(Action.SERVERS_READ) or not has_server(asked.server, caller=caller):
        fault = OAuthFault("invalid_target", "The team has no such server, or the member may not see it.")
        raise led_back(fault, asked.redirect_uri, asked.parameters, caller)


def _query(request: HttpRequest) -> list[tuple[str, str]]:
    return [(name, value) for name, values in request.GET.lists() for value in values]


def _origin(redirect_uri: str) -> str:
    """A redirect URI's origin, as a source of the content security policy: which has no words for IPv6."""
    parts = urlsplit(redirect_uri)
    if leads_to_program(redirect_uri) or "[" in parts.netloc:
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"
