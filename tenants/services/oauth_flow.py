"""Authorizing a client, and what its tokens become: each use case one function, one transaction and its record.

Knows no page. The rules are ``oauth_server``'s; what a request may look like, ``oauth_parameters``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from oauthlib.common import add_params_to_uri
from oauthlib.oauth2.rfc6749 import errors

from core.errors import Unauthenticated
from core.requestid import current_request_id
from tenants.access import Caller, tenant_not_found
from tenants.audit.append import append_entry
from tenants.audit.records import Entry, Reason
from tenants.changes import announce_change
from tenants.models import Membership, OAuthAuthorization, OAuthClient, User, lasting
from tenants.oauth_addresses import issuer
from tenants.roles import OAUTH_SCOPES, within_role
from tenants.scoping import tenant_scope
from tenants.services.oauth_clients import shown_target
from tenants.services.oauth_ending import shown_authorization
from tenants.services.oauth_parameters import (
    OAuthFault,
    check_challenge,
    check_grant_type,
    check_response,
    check_verifier,
    read_server,
)
from tenants.services.oauth_server import IssuerServer, TenantValidator
from tenants.services.oauth_words import worded, words_at_authorization, words_on_the_page
from tenants.services.recording import record_change
from tenants.tokens import actor_of, find_live_token

_OF_REVOCATIONS: Final = ("token", "token_type_hint", "client_id", "client_secret")
_OF_TOKEN_REQUESTS: Final = frozenset(
    {
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "refresh_token",
        "scope",
        "client_id",
        "client_secret",
    }
)

_OUTSIDE: Final = {"invalid_grant": "verifier_malformed", "invalid_target": "resource_wrong"}
"""What a token request breaks before anything is looked up, by its error's code."""

_NOWHERE: Final = "https://issuer.invalid/"
"""oauthlib reads a request's URI; nothing is ever asked of this one."""

_REPLAYED: Final = {
    "code_replayed": "An authorization code was used twice: somebody else may have it. Everything that came of it "
    "has ended; the client has to be authorized again.",
    "refresh_token_replayed": "A refresh token was used twice: somebody else may have it. Everything that came of "
    "its authorization has ended; the client has to be authorized again.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A sound authorization request: what the member is to decide about."""

    parameters: Mapping[str, str] = field(repr=False)
    client_name: str
    client_id: str
    redirect_uri: str
    server: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of an endpoint that programs ask. ``actor`` is who it was, as far as known, for a refusal's record.

    ``client_id`` and ``grant`` are the client and the authorization that are known here, and ``why`` says more of a
    refusal than the client may learn: for the team's own eyes.
    """

    status: int
    body: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    actor: str = "unknown client"
    client_id: str = ""
    grant: str = ""
    why: str = ""

    @property
    def fault(self) -> OAuthFault | None:
        """What was wrong, where something was."""
        if self.status < 400:
            return None
        return OAuthFault(str(self.body.get("error")), str(self.body.get("error_description", "")))


def check_authorization(parameters: Mapping[str, str], *, caller: Caller) -> Asked:
    """Judge an authorization request of a signed-in member's browser.

    Raises ``OAuthFault``: without a ``location`` when client or redirect URI are not to be trusted.
    """
    with tenant_scope(caller.tenant_id):
        return _check(parameters, caller)


def grant(
    asked: Asked, chosen: Iterable[str], *, caller: Caller, user: User
) -> tuple[str, OAuthAuthorization]:
    """The member agrees. Where the browser goes with the code. Raises ``OAuthFault``."""
    agreed = frozenset(chosen).intersection(offered_scopes(asked, caller))
    scopes = [scope for scope in asked.scopes if scope not in OAUTH_SCOPES or scope in agreed]
    if not any(scope in OAUTH_SCOPES for scope in scopes):
        raise OAuthFault("invalid_scope", "Leave at least one of the rights ticked, or refuse.")
    with tenant_scope(caller.tenant_id):
        # Once more: minutes passed, and the client may have been revoked meanwhile, or the member removed.
        _require_member(caller)
        # Nobody deletes it before there is something that hangs on it.
        list(OAuthClient.objects.select_for_update(no_key=True).filter(client_id=asked.client_id))
        again = _check(asked.parameters, caller)
        validator = TenantValidator(server=again.server, resource=asked.parameters["resource"])
        headers, _, _ = IssuerServer(validator).create_authorization_response(
            f"{_NOWHERE}?{urlencode(asked.parameters)}", scopes=scopes, credentials={"user": user}
        )
        authorization = validator.authorization
        if authorization is None:
            raise OAuthFault("server_error", "The request could not be granted. Begin again.")
        record_change(
            "oauth.consented",
            caller=caller,
            after={**shown_authorization(authorization), "redirect_host": shown_target(asked.redirect_uri)},
            server=asked.server,
        )
    return _with_issuer(headers["Location"], caller.tenant_slug), authorization


def deny(asked: Asked, *, caller: Caller) -> str:
    """The member refuses. Where the browser goes with that."""
    with tenant_scope(caller.tenant_id):
        record_change(
            "oauth.denied",
            caller=caller,
            after={"name": asked.client_name, "client_id": asked.client_id, "scopes": list(asked.scopes)},
            server=asked.server,
        )
    refused = OAuthFault("access_denied", "The member refused.")
    return _location_of(refused, asked.redirect_uri, asked.parameters, caller)


def offered_scopes(asked: Asked, caller: Caller) -> list[str]:
    """Those of the scopes asked for that the member's role lets them hand on."""
    if caller.role is None:
        return []
    allowed = within_role(OAUTH_SCOPES, caller.role)
    return [scope for scope in asked.scopes if scope in allowed]


def is_trusted(client_id: str, *, caller: Caller) -> bool:
    """Whether a browser may be sent to the client's address before its member was asked (RFC 9700 section 4.11.2).

    Anyone can register an address, so one that came that way is trusted by those alone who have let its client in.
    """
    with tenant_scope(caller.tenant_id):
        client = OAuthClient.objects.filter(client_id=client_id).first()
        if client is None:
            return False
        if client.registration_source == OAuthClient.RegistrationSource.MANUAL:
            return True
        own = OAuthAuthorization.objects.filter(client=client, user_id=caller.user_id or 0)
        return own.filter(revoked_at=None).exists()


def led_back(
    fault: OAuthFault, redirect_uri: str, parameters: Mapping[str, str], caller: Caller
) -> OAuthFault:
    """The fault, with the way on which a browser takes it to the client that asked."""
    return OAuthFault(
        fault.code,
        fault.description,
        location=_location_of(fault, redirect_uri, parameters, caller),
        client_id=parameters.get("client_id", ""),
    )


def issue_tokens(
    parameters: Mapping[str, str], *, authorization: str | None, tenant_id: int, tenant_slug: str
) -> Answered:
    """Answer a token request (RFC 6749 sections 4.1.3, 4.4.2 and 6). Never raises for what the client sent."""
    try:
        check_grant_type(parameters)
        check_verifier(parameters)
        server = read_server(parameters, tenant_slug)
    except OAuthFault as fault:
        body = {"error": fault.code, "error_description": fault.description}
        return Answered(fault.status, body, why=_OUTSIDE.get(fault.code, ""))
    validator = TenantValidator(server=server, resource=parameters["resource"])
    # No other names: oauthlib takes any parameter for an attribute of its request.
    asked = {name: value for name, value in parameters.items() if name in _OF_TOKEN_REQUESTS}
    with tenant_scope(tenant_id):
        try:
            headers, text, status = IssuerServer(validator).create_token_response(
                _NOWHERE, body=urlencode(asked), headers=_headers(authorization)
            )
        except errors.OAuth2Error as error:
            headers, text, status = error.headers, error.json, error.status_code
        _record_outcome(validator, tenant_id=tenant_id, tenant_slug=tenant_slug)
        seen = validator.seen
        actor = "unknown client" if seen is None else actor_of(seen)
    why = _why(validator, status)
    return Answered(
        status,
        worded(orjson.loads(text), why),
        dict(headers),
        actor=actor,
        client_id="" if validator.asking is None else validator.asking.client_id,
        grant="" if seen is None else str(seen.pk),
        why=why,
    )


def revoke_token(
    parameters: Mapping[str, str], *, authorization: str | None, tenant_id: int, tenant_slug: str
) -> Answered:
    """Answer a revocation request (RFC 7009): 200 also where the token is none of the client's."""
    validator = TenantValidator()
    with tenant_scope(tenant_id):
        headers, text, status = IssuerServer(validator).create_revocation_response(
            _NOWHERE,
            body=urlencode({name: parameters[name] for name in _OF_REVOCATIONS if name in parameters}),
            headers=_headers(authorization),
        )
        ended = validator.revoked
        if ended is not None:
            record_change(
                "oauth.revoked",
                caller=_caller_of(ended, tenant_id, tenant_slug),
                before=shown_authorization(ended),
                server=ended.server,
            )
            announce_change(tenant_id)
    return Answered(
        status,
        worded(orjson.loads(text), "") if text else {},
        dict(headers),
        client_id="" if validator.asking is None else validator.asking.client_id,
        grant="" if ended is None else str(ended.pk),
    )


def introspect_token(token: str, *, tenant_id: int, tenant_slug: str) -> dict[str, Any]:
    """What a resource server is told of an access token (RFC 7662); of any other, that it is not active."""
    with tenant_scope(tenant_id):
        try:
            row, role, _ = find_live_token(token)
        except Unauthenticated:
            return {"active": False}
    authorization = row.authorization
    scopes = within_role(row.scope.split(), role)
    return {
        "active": True,
        "scope": " ".join(scope for scope in row.scope.split() if scope in scopes),
        "client_id": authorization.client.client_id,
        "token_type": "Bearer",
        "exp": int(row.expires.timestamp()),
        "iat": int(row.created.timestamp()),
        "sub": str(authorization.user_id or authorization.client.client_id),
        "aud": authorization.resource,
        "iss": issuer(tenant_slug),
    }


def _require_member(caller: Caller) -> None:
    """Raise as for an outsider unless the caller is a member, and keep them one until the transaction ends.

    Whoever removes them waits, and then ends what they agreed to here.
    """
    own = Membership.objects.select_for_update(no_key=True).filter(lasting(), user_id=caller.user_id or 0)
    if not list(own.values_list("pk")):
        raise tenant_not_found()


def _check(parameters: Mapping[str, str], caller: Caller) -> Asked:
    query = {name: value for name, value in parameters.items() if name != "resource"}
    validator = TenantValidator()
    try:
        scopes, found = IssuerServer(validator).validate_authorization_request(
            f"{_NOWHERE}?{urlencode(query)}", "GET"
        )
    except errors.FatalClientError as error:
        code, words = words_on_the_page(error)
        raise OAuthFault(code, words) from None
    except errors.OAuth2Error as error:
        fault = OAuthFault(error.error, words_at_authorization(error))
        raise led_back(fault, error.redirect_uri, parameters, caller) from None
    client: OAuthClient = found["request"].client
    redirect_uri: str = found["redirect_uri"]
    try:
        check_response(parameters)
        check_challenge(parameters)
        server = read_server(parameters, caller.tenant_slug)
    except OAuthFault as fault:
        raise led_back(fault, redirect_uri, parameters, caller) from None
    return Asked(
        parameters=dict(parameters),
        client_name=client.shown_name,
        client_id=client.client_id,
        redirect_uri=redirect_uri,
        server=server,
        scopes=tuple(dict.fromkeys(scopes)),
    )


def _location_of(fault: OAuthFault, redirect_uri: str, parameters: Mapping[str, str], caller: Caller) -> str:
    """Where a browser goes with a fault: the client's redirect URI, with ``iss`` (RFC 9207)."""
    told = [("error", fault.code), ("error_description", fault.description)]
    if state := parameters.get("state"):
        told.append(("state", state))
    return _with_issuer(str(add_params_to_uri(redirect_uri, told)), caller.tenant_slug)


def _with_issuer(location: str, tenant_slug: str) -> str:
    return str(add_params_to_uri(location, [("iss", issuer(tenant_slug))]))


def _headers(authorization: str | None) -> dict[str, str]:
    # The toolkit looks for the header by its name in WSGI.
    return {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}


def _why(validator: TenantValidator, status: int) -> str:
    if status == 401 and validator.asking is None:
        return "client_unknown"
    return validator.why if status >= 400 else ""


def _record_outcome(validator: TenantValidator, *, tenant_id: int, tenant_slug: str) -> None:
    issued, replayed = validator.issued, validator.replayed
    if replayed is not None:
        _record_replay(replayed, validator.why, tenant_id=tenant_id)
        announce_change(tenant_id)
    elif issued is not None:
        record_change(
            "oauth.token_refreshed" if validator.refreshed else "oauth.token_issued",
            caller=_caller_of(issued, tenant_id, tenant_slug),
            after=shown_authorization(issued),
            server=issued.server,
        )


def _record_replay(authorization: OAuthAuthorization, code: str, *, tenant_id: int) -> None:
    append_entry(
        Entry(
            kind="oauth",
            outcome="refused",
            actor=actor_of(authorization),
            credential_id=authorization.id,
            server=authorization.server,
            reason=Reason(code=code, rule=f"oauth:{code}", message=_REPLAYED[code]),
            request_id=current_request_id(),
        ),
        tenant_id=tenant_id,
    )


def _caller_of(authorization: OAuthAuthorization, tenant_id: int, tenant_slug: str) -> Caller:
    return Caller(
        tenant_id=tenant_id,
        tenant_slug=tenant_slug,
        actor=actor_of(authorization),
        user_id=authorization.user_id,
        credential_id=authorization.id,
    )
