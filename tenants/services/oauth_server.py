"""The authorization server's rules (OAuth 2.1), on django-oauth-toolkit and oauthlib. Knows no page and no request.

Everything here runs inside the scope of the tenant whose issuer was asked, in one transaction a request. What the
toolkit does otherwise, and why it is not done so here, stands at each method.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc6749.endpoints import (
    AuthorizationEndpoint,
    RevocationEndpoint,
    TokenEndpoint,
)
from oauthlib.oauth2.rfc6749.grant_types import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)
from oauthlib.oauth2.rfc6749.grant_types.authorization_code import (
    code_challenge_method_s256,
)
from oauthlib.oauth2.rfc6749.tokens import BearerToken

from tenants.models import (
    OAuthAccessToken,
    OAuthAuthorization,
    OAuthClient,
    OAuthCode,
    OAuthRefreshToken,
)
from tenants.models_oauth import digest_of
from tenants.roles import NARROWING, OAUTH_DEFAULT, OAUTH_SCOPES, Role, within_role
from tenants.scopenames import NARROWED_TOOL
from tenants.services.oauth_ending import end_authorization
from tenants.tokens import ACCESS_PREFIX, REFRESH_PREFIX, membership_behind

ACCESS_SECONDS: Final = 3600
CODE_SECONDS: Final = 60
IDLE_DAYS: Final = 30
"""An authorization whose client stayed away so long is over, and with it its refresh tokens."""

MAX_SCOPES: Final = 64

_TOKEN_BYTES: Final = 32


def is_offered(scope: str) -> bool:
    """Whether an OAuth client may ask for the scope at all."""
    return scope in OAUTH_SCOPES or NARROWED_TOOL.fullmatch(scope) is not None


class TenantValidator(OAuth2Validator):  # type: ignore[misc]
    """The toolkit's validator for one request at one tenant's token endpoint or authorization endpoint.

    ``server`` is the server of the request's one ``resource`` and ``resource`` its identifier, both checked before.
    After a request, ``issued`` is the authorization that tokens were issued for, ``refreshed`` says whether it was by a
    refresh, ``replayed`` is one that a replay ended, and ``revoked`` one that its client ended. ``asking`` is the
    client and ``seen`` the authorization, as far as they are known, and ``why`` what a refusal does not tell.
    """

    def __init__(self, *, server: str = "", resource: str = "") -> None:
        self.server = server
        self.resource = resource
        self.authorization: OAuthAuthorization | None = None
        self.issued: OAuthAuthorization | None = None
        self.refreshed = False
        self.replayed: OAuthAuthorization | None = None
        self.revoked: OAuthAuthorization | None = None
        self.asking: OAuthClient | None = None
        self.seen: OAuthAuthorization | None = None
        self.why = ""

    # Clients

    def _load_application(self, client_id: str | None, request: Any) -> OAuthClient | None:
        """The toolkit would fetch a metadata document here, inside our transaction; we did so before, or not at all."""
        client: OAuthClient | None = request.client
        if not isinstance(client, OAuthClient) or client.client_id != client_id:
            # The Authorization header brings what no check of parameters saw: PostgreSQL takes no NUL.
            sound = bool(client_id) and "\x00" not in str(client_id)
            client = OAuthClient.objects.filter(client_id=client_id).first() if sound else None
        client = client if client is not None and client.is_usable(request) else None
        request.client = self.asking = client
        return client

    def _check_secret(self, provided_secret: str, stored_secret: str) -> bool:
        """The toolkit hashes secrets as passwords and lets an empty one fit an empty one."""
        return bool(stored_secret) and hmac.compare_digest(digest_of(provided_secret), stored_secret)

    def validate_scopes(
        self,
        client_id: str,
        scopes: Iterable[str],
        client: OAuthClient,
        request: Any,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        wanted = list(scopes)
        if len(wanted) > MAX_SCOPES or not all(is_offered(scope) for scope in wanted):
            return False
        if getattr(request, "grant_type", None) == "client_credentials":
            return set(wanted) <= set(client.scopes)
        return True

    def get_default_scopes(self, client_id: str, request: Any, *args: Any, **kwargs: Any) -> list[str]:
        if getattr(request, "grant_type", None) == "client_credentials":
            return list(request.client.scopes)
        return list(OAUTH_DEFAULT)

    # Codes: kept as hashes, and kept until they expire, so that a second use is known for what it is

    def save_authorization_code(
        self, client_id: str, code: dict[str, str], request: Any, *args: Any, **kwargs: Any
    ) -> None:
        authorization = OAuthAuthorization.objects.create(
            client=request.client,
            user=request.user,
            server=self.server,
            resource=self.resource,
            scopes=list(request.scopes),
            expires_at=timezone.now() + timedelta(days=IDLE_DAYS),
        )
        OAuthCode.objects.create(
            application=request.client,
            user=request.user,
            authorization=authorization,
            code=digest_of(code["code"]),
            expires=timezone.now() + timedelta(seconds=CODE_SECONDS),
            redirect_uri=request.redirect_uri,
            scope=" ".join(request.scopes),
            code_challenge=request.code_challenge,
            code_challenge_method=request.code_challenge_method,
            resource=[self.resource],
        )
        # Nobody asks a registration that a member consented to to come back.
        OAuthClient.objects.filter(pk=request.client.pk).update(expires_at=None)
        self.authorization = authorization

    def validate_code(
        self, client_id: str, code: str, client: OAuthClient, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Takes the authorization's row until the request ends, and looks at the code then: two uses of it take turns.

        A used code ends what came of it (RFC 6749 section 4.1.2). The toolkit deletes it and forgets.
        """
        digest = digest_of(code)
        authorization = _take_family(OAuthCode.objects.filter(code=digest, application=client))
        row = OAuthCode.objects.filter(code=digest).first()
        if authorization is None or row is None:
            self.why = "code_unknown"
            return False
        self.seen = authorization
        if row.used_at is not None:
            self.why = "code_replayed"
            self._end_replayed(authorization, "code_replayed")
            return False
        if row.is_expired() or not authorization.is_live(timezone.now()):
            self.why = "code_expired" if row.is_expired() else "authorization_ended"
            return False
        if list(row.resource) != [self.resource]:
            self.why = "resource_changed"
            raise _other_resource(request)
        request.user = row.user
        request.scopes = row.scope.split()
        request.marina_code = row
        # What is left to be wrong, unless something else says what it is.
        self.why = "verifier_wrong"
        self.authorization = authorization
        return True

    def get_code_challenge(self, code: str, request: Any) -> str | None:
        return request.marina_code.code_challenge or None

    def get_code_challenge_method(self, code: str, request: Any) -> str | None:
        return request.marina_code.code_challenge_method or None

    def confirm_redirect_uri(
        self, client_id: str, code: str, redirect_uri: str, client: OAuthClient, request: Any
    ) -> bool:
        """The toolkit would read the code once more; here it is the one that was just found valid."""
        return bool(request.marina_code.redirect_uri_allowed(redirect_uri))

    def invalidate_authorization_code(
        self, client_id: str, code: str, request: Any, *args: Any, **kwargs: Any
    ) -> None:
        OAuthCode.objects.filter(pk=request.marina_code.pk).update(used_at=timezone.now())

    # Tokens

    def validate_refresh_token(
        self, refresh_token: str, client: OAuthClient, request: Any, *args: Any, **kwargs: Any
    ) -> bool:
        """Takes the whole family's row first and looks at the token then: of parallel refreshes one finds it unused.

        The toolkit looks first and locks later, which left live tokens after a replay and answered 500.
        """
        digest = digest_of(refresh_token)
        authorization = _take_family(
            OAuthRefreshToken.objects.filter(token_checksum=digest, application=client)
        )
        row = OAuthRefreshToken.objects.filter(token_checksum=digest).first()
        if authorization is None or row is None:
            self.why = "refresh_token_unknown"
            return False
        self.seen = authorization
        if row.revoked is not None:
            self.why = "refresh_token_replayed" if authorization.revoked_at is None else "authorization_ended"
            self._end_replayed(authorization, "refresh_token_replayed")
            return False
        if not authorization.is_live(timezone.now()):
            self.why = "authorization_ended"
            return False
        if authorization.resource != self.resource:
            self.why = "resource_changed"
            raise _other_resource(request)
        request.user = row.user
        request.refresh_token_instance = row
        self.authorization = authorization
        return True

    def get_original_scopes(self, refresh_token: str, request: Any, *args: Any, **kwargs: Any) -> list[str]:
        return list(request.refresh_token_instance.scope.split())

    def _save_bearer_token(self, token: dict[str, Any], request: Any, *args: Any, **kwargs: Any) -> None:
        """The toolkit ties pairs of tokens together; here all of a consent's hang on its authorization."""
        now = timezone.now()
        authorization = self.authorization or self._own_authorization(request)
        self.seen, self.why = authorization, "rights_gone"
        scopes = _within_rights(token["scope"].split(), authorization, request)
        token["scope"] = " ".join(scopes)
        used = getattr(request, "refresh_token_instance", None)
        earlier = OAuthAccessToken.objects.filter(authorization=authorization)
        if used is None:
            earlier.filter(expires__lte=now).delete()
        else:
            OAuthRefreshToken.objects.filter(pk=used.pk).update(revoked=now, updated=now)
            # The pair that is replaced goes with the refresh token.
            earlier.delete()
            OAuthRefreshToken.objects.filter(
                authorization=authorization, revoked__lt=now - timedelta(days=IDLE_DAYS)
            ).delete()
        OAuthAccessToken.objects.create(
            user=authorization.user,
            application=request.client,
            authorization=authorization,
            token="",
            token_checksum=digest_of(token["access_token"]),
            scope=token["scope"],
            expires=now + timedelta(seconds=ACCESS_SECONDS),
            resource=[authorization.resource],
        )
        if "refresh_token" in token and authorization.user is not None:
            OAuthRefreshToken.objects.create(
                user=authorization.user,
                application=request.client,
                authorization=authorization,
                token="",
                token_checksum=digest_of(token["refresh_token"]),
                # What was agreed to, not what this token was narrowed to: the next may ask for all of it again.
                scope=" ".join(authorization.scopes),
                resource=[authorization.resource],
            )
        authorization.expires_at = now + timedelta(days=IDLE_DAYS)
        authorization.save(update_fields=["expires_at"])
        self.issued, self.refreshed, self.why = authorization, used is not None, ""

    def _own_authorization(self, request: Any) -> OAuthAuthorization:
        """The authorization of a client that acts for itself at this server; the same one as long as it is live."""
        # Two requests at once would both make one.
        client = OAuthClient.objects.select_for_update(no_key=True).get(pk=request.client.pk)
        own = OAuthAuthorization.objects.filter(client=client, user=None, server=self.server, revoked_at=None)
        live = own.select_related("client").first()
        scopes = list(client.scopes)
        ends = timezone.now() + timedelta(days=IDLE_DAYS)
        if live is None:
            return OAuthAuthorization.objects.create(
                client=client, server=self.server, resource=self.resource, scopes=scopes, expires_at=ends
            )
        live.resource, live.scopes = self.resource, scopes
        live.save(update_fields=["resource", "scopes"])
        return live

    def revoke_token(
        self, token: str, token_type_hint: str | None, request: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Either token ends the whole authorization: the other could be used to go on (RFC 7009 section 2.1)."""
        digest = digest_of(token)
        for kind in (OAuthAccessToken, OAuthRefreshToken):
            found = (
                kind.objects.filter(token_checksum=digest, application=request.client)
                .select_related("authorization__client", "authorization__user")
                .first()
            )
            if found is not None:
                if end_authorization(found.authorization, "client"):
                    self.revoked = found.authorization
                return

    def _end_replayed(self, authorization: OAuthAuthorization, why: str) -> None:
        if end_authorization(authorization, why):
            self.replayed = authorization


class IssuerServer(AuthorizationEndpoint, TokenEndpoint, RevocationEndpoint):  # type: ignore[misc]
    """oauthlib's endpoints with what OAuth 2.1 has left: codes with PKCE S256, refresh, client credentials."""

    def __init__(self, validator: TenantValidator) -> None:
        code = _S256CodeGrant(validator)
        bearer = BearerToken(
            validator,
            token_generator=lambda request: ACCESS_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES),
            refresh_token_generator=lambda request: REFRESH_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES),
            expires_in=ACCESS_SECONDS,
        )
        AuthorizationEndpoint.__init__(
            self, default_response_type="code", default_token_type=bearer, response_types={"code": code}
        )
        TokenEndpoint.__init__(
            self,
            default_grant_type="authorization_code",
            default_token_type=bearer,
            grant_types={
                "authorization_code": code,
                "refresh_token": RefreshTokenGrant(validator),
                "client_credentials": ClientCredentialsGrant(validator),
            },
        )
        RevocationEndpoint.__init__(self, validator)


class _S256CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    """oauthlib takes a challenge without a method for ``plain``."""

    _code_challenge_methods = {"S256": code_challenge_method_s256}

    def create_authorization_code(self, request: Any) -> dict[str, str]:
        """As oauthlib does, but for its logging of the code."""
        code = {"code": secrets.token_urlsafe(_TOKEN_BYTES)}
        return {**code, "state": request.state} if request.state else code


def _take_family(rows: QuerySet[Any]) -> OAuthAuthorization | None:
    """Lock what a code or token hangs on. ``None``: there is no such row, or it was swept meanwhile."""
    family = rows.values_list("authorization_id", flat=True).first()
    if family is None:
        return None
    held = OAuthAuthorization.objects.select_for_update(of=("self",)).filter(pk=family)
    # Whom the answer's record names.
    return held.select_related("client", "user").first()


def _within_rights(scopes: list[str], authorization: OAuthAuthorization, request: Any) -> list[str]:
    """What of the scopes the person may do by now; nothing left is an error, not a token that opens nothing."""
    membership = membership_behind(authorization)
    scopes = [*scopes, *_narrowing_left_out(scopes, authorization.scopes)]
    agreed = frozenset(scopes) & frozenset(authorization.scopes)
    allowed = frozenset() if membership is None else within_role(agreed, Role(membership.role))
    left = [scope for scope in scopes if scope in allowed]
    if not any(scope in OAUTH_SCOPES for scope in left):
        raise errors.InvalidGrantError(
            description="The member whose rights this client has may not do any of this any more.",
            request=request,
        )
    return left


def _narrowing_left_out(scopes: list[str], agreed: Iterable[str]) -> list[str]:
    """What a request for less must not shed: without a scope that narrows to tools or servers, it would be for all."""
    return [
        scope
        for prefix in NARROWING
        if not any(each.startswith(prefix) for each in scopes)
        for scope in agreed
        if scope.startswith(prefix)
    ]


def _other_resource(request: Any) -> Exception:
    refusal: Exception = errors.CustomOAuth2Error(
        error="invalid_target", description="The resource is not the one that was agreed to.", request=request
    )
    return refusal
