"""The endpoints that clients ask themselves: tokens, revocation, and introspection for resource servers."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from core.crypto import derive_text
from frontend.oauth.answers import json_answer, program_endpoint, read_form, record_fault, take_turn
from frontend.oauth.noting import pad_of
from tenants.oauth_steps import Kind
from tenants.services.oauth_flow import Answered, introspect_token, issue_tokens, revoke_token
from tenants.services.oauth_parameters import OAuthFault, read_parameters


@program_endpoint(Kind.TOKEN)
def token(request: HttpRequest, tenant_id: int, tenant_slug: str) -> HttpResponse:
    """RFC 6749 section 3.2."""
    return _answer(issue_tokens, request, tenant_id, tenant_slug)


@program_endpoint(Kind.REVOCATION)
def revoke(request: HttpRequest, tenant_id: int, tenant_slug: str) -> HttpResponse:
    """RFC 7009."""
    return _answer(revoke_token, request, tenant_id, tenant_slug)


@program_endpoint(None)
def introspect(request: HttpRequest, tenant_id: int, tenant_slug: str) -> HttpResponse:
    """RFC 7662, for resource servers of this installation alone: a client learns nothing of others' tokens."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _is_introspection_secret(secret.strip(), tenant_slug):
        # A resource server asks for each token that it is shown; who has not its secret asks for none.
        take_turn(request, tenant_id, tenant_slug)
        raise OAuthFault("invalid_client", "Introspection is for Marina's own resource servers.", status=401)
    parameters = read_parameters(read_form(request))
    if not parameters.get("token"):
        raise OAuthFault("invalid_request", "Send the token.")
    return json_answer(introspect_token(parameters["token"], tenant_id=tenant_id, tenant_slug=tenant_slug))


def introspection_secret(tenant_slug: str) -> str:
    """What a resource server of this installation shows to ask about a tenant's tokens; made of the master key."""
    return _introspection_secret(settings.ENV.master_key, tenant_slug)


def _is_introspection_secret(secret: str, tenant_slug: str) -> bool:
    """Also one that was made of a key which is still readable: resource servers are told the new one later."""
    keys = (settings.ENV.master_key, *settings.ENV.readable_keys)
    known = [_introspection_secret(key, tenant_slug).encode() for key in keys]
    return any(hmac.compare_digest(secret.encode(), each) for each in known)


def _introspection_secret(key: bytes, tenant_slug: str) -> str:
    return derive_text(key, f"oauth-introspection:{tenant_slug}")


def _read(request: HttpRequest) -> dict[str, str]:
    """The parameters, noted without their secrets. Raises ``OAuthFault``."""
    pad = pad_of(request)
    scheme = request.headers.get("Authorization", "").partition(" ")[0]
    if scheme:
        pad.asked["authorization header"] = scheme
    parameters = read_parameters(read_form(request))
    pad.take_parameters(parameters)
    if parameters.get("grant_type") == "refresh_token":
        pad.kind = Kind.REFRESH
    return parameters


def _answer(
    ask: Callable[..., Answered], request: HttpRequest, tenant_id: int, tenant_slug: str
) -> HttpResponse:
    """What the service that is asked says to a client that may prove itself in a header."""
    take_turn(request, tenant_id, tenant_slug)
    answered = ask(
        _read(request),
        authorization=request.headers.get("Authorization"),
        tenant_id=tenant_id,
        tenant_slug=tenant_slug,
    )
    pad = pad_of(request)
    pad.take_answer(answered)
    if pad.fault is not None:
        record_fault(pad.fault, tenant_id=tenant_id, tenant_slug=tenant_slug, actor=answered.actor)
    if answered.status == 200 and not answered.body:
        return HttpResponse(status=200)
    return json_answer(answered.body, status=answered.status, headers=answered.headers)
