"""What a checked team has of OAuth and single sign-on: clients, a code, tokens, and what its owner's browser has begun.

Made anew for each check, and ended with it. The rows are those that consent makes; nobody consents here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

from config.isolation.attempt import NO_TEAM
from core.pkce import challenge_of
from frontend.oauth import consent
from frontend.oauth.tokens import introspection_secret
from frontend.views import team_sign_in
from tenants.models import (
    IdentityProvider,
    OAuthAccessToken,
    OAuthAuthorization,
    OAuthClient,
    OAuthCode,
    OAuthRefreshToken,
    User,
)
from tenants.models_oauth import digest_of
from tenants.oauth_addresses import DEFAULT_SERVER, resource
from tenants.roles import OAUTH_SCOPES
from tenants.services.oauth_ending import end_all
from tenants.tokens import ACCESS_PREFIX, REFRESH_PREFIX

SCOPE: Final = "tools:read"
_LIFE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Holdings:
    """Of one team, as its clients and its owner's browser hold it."""

    client_id: str
    redirect_uri: str
    code: str = field(repr=False)
    verifier: str = field(repr=False)
    refresh: str = field(repr=False)
    access: str = field(repr=False)
    service_id: str
    service_secret: str = field(repr=False)
    introspection: str = field(repr=False)
    """What a resource server of this team shows to ask about tokens."""
    request: str = field(repr=False)
    """The number of a request that waits for consent in the owner's session."""
    state: str = field(repr=False)
    """That of a sign-in at the team's provider which the owner's session has begun."""

    def unknown(self, slug: str) -> Holdings:
        """The same in shape, of a team that there is not."""
        return Holdings(
            client_id=self.client_id.replace(slug, NO_TEAM),
            redirect_uri=self.redirect_uri.replace(slug, NO_TEAM),
            code=self.code[::-1],
            verifier=self.verifier,
            refresh=REFRESH_PREFIX + self.refresh.removeprefix(REFRESH_PREFIX)[::-1],
            access=ACCESS_PREFIX + self.access.removeprefix(ACCESS_PREFIX)[::-1],
            service_id=self.service_id.replace(slug, NO_TEAM),
            service_secret=self.service_secret[::-1],
            introspection=self.introspection[::-1],
            request=self.request[::-1],
            state=self.state[::-1],
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no answer to another team may show."""
        return (self.code, self.refresh, self.access, self.service_secret, self.request, self.state)


def hold(slug: str, owner: User, client: OAuthClient) -> Holdings:
    """Give the team's client a code and tokens, and the team a client that acts for itself. In the team's scope."""
    made = Holdings(
        client_id=client.client_id,
        redirect_uri=client.redirect_uris,
        code=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(32),
        refresh=REFRESH_PREFIX + secrets.token_urlsafe(32),
        access=ACCESS_PREFIX + secrets.token_urlsafe(32),
        service_id=f"service-of-{slug}",
        service_secret=secrets.token_urlsafe(32),
        introspection=introspection_secret(slug),
        request=secrets.token_urlsafe(16),
        state=secrets.token_urlsafe(32),
    )
    digest = digest_of(made.service_secret)
    if not OAuthClient.objects.filter(client_id=made.service_id).update(client_secret=digest):
        OAuthClient.objects.create(
            client_id=made.service_id,
            client_type=OAuthClient.CLIENT_CONFIDENTIAL,
            authorization_grant_type=OAuthClient.GRANT_CLIENT_CREDENTIALS,
            client_secret=digest,
            scopes=[SCOPE],
            user=owner,
        )
    address, ends_at = resource(slug), timezone.now() + _LIFE
    # Two consents: a code that is exchanged, and tokens that are refreshed, end nothing of each other's.
    first, second = (
        OAuthAuthorization.objects.create(
            client=client,
            user=owner,
            server=DEFAULT_SERVER,
            resource=address,
            scopes=list(OAUTH_SCOPES),
            expires_at=ends_at,
        )
        for _ in range(2)
    )
    OAuthCode.objects.create(
        application=client,
        user=owner,
        resource=[address],
        authorization=first,
        code=digest_of(made.code),
        expires=ends_at,
        redirect_uri=made.redirect_uri,
        scope=SCOPE,
        code_challenge=challenge_of(made.verifier),
        code_challenge_method="S256",
    )
    scope = " ".join(OAUTH_SCOPES)
    OAuthAccessToken.objects.create(
        application=client,
        user=owner,
        resource=[address],
        authorization=second,
        token="",
        token_checksum=digest_of(made.access),
        scope=scope,
        expires=ends_at,
    )
    OAuthRefreshToken.objects.create(
        application=client,
        user=owner,
        resource=[address],
        authorization=second,
        token="",
        token_checksum=digest_of(made.refresh),
        scope=scope,
    )
    return made


def let_go(held: Holdings) -> None:
    """End what ``hold`` made. In the team's scope."""
    clients = [held.client_id, held.service_id]
    end_all(Q(client__client_id__in=clients, server=DEFAULT_SERVER), "isolation_check")
    OAuthClient.objects.filter(client_id=held.service_id).update(
        client_secret=digest_of(secrets.token_urlsafe(32))
    )


def begun_in_session(
    slug: str, held: Holdings, owner: User, provider: IdentityProvider
) -> Mapping[str, Mapping[str, Any]]:
    """What the session of a browser keeps that has begun a consent, and a sign-in at the team's provider."""
    asked = authorization_request(slug, held)
    now = time.time()
    return {
        consent.PENDING: {held.request: {"parameters": asked, "tenant": slug, "user": owner.pk, "at": now}},
        team_sign_in.PENDING: {
            held.state: {
                "provider": str(provider.pk),
                "issuer": provider.issuer,
                "team": slug,
                "nonce": secrets.token_urlsafe(32),
                "verifier": secrets.token_urlsafe(32),
                "target": f"/app/{slug}/",
                "at": now,
            }
        },
    }


def authorization_request(slug: str, held: Holdings, **changes: str) -> dict[str, str]:
    """A sound authorization request of the team's client, but for ``changes``."""
    return {
        "response_type": "code",
        "client_id": held.client_id,
        "redirect_uri": held.redirect_uri,
        "scope": SCOPE,
        "state": "isolation",
        "code_challenge": challenge_of(held.verifier),
        "code_challenge_method": "S256",
        "resource": resource(slug),
        **changes,
    }
