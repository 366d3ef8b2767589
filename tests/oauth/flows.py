"""Clients of a team's issuer for tests: registered, authorized and given tokens through the services."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.services.sources import create_source
from tenants.access import Caller
from tenants.models import AuditRecord, OAuthClient, User
from tenants.models_oauth import digest_of
from tenants.oauth_addresses import resource
from tenants.scoping import tenant_scope
from tenants.services.oauth_flow import Answered, check_authorization, grant, issue_tokens
from tests.factories import Team, make_database, make_team

REDIRECT = "http://127.0.0.1:7777/callback"
SCOPES = "tools:read tools:execute"


@dataclass(slots=True)
class App:
    """A client of one team, and what it keeps."""

    team: Team
    row: OAuthClient
    secret: str = ""
    verifier: str = ""

    def request(self, **changes: str) -> dict[str, str]:
        """A sound authorization request, but for ``changes``; an empty one leaves the parameter out."""
        self.verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=")
        parameters = {
            "response_type": "code",
            "client_id": self.row.client_id,
            "redirect_uri": REDIRECT,
            "scope": SCOPES,
            "state": "the state",
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
            "resource": resource(self.team.slug),
            **changes,
        }
        return {name: value for name, value in parameters.items() if value}

    def code(self, caller: Caller | None = None, **changes: str) -> str:
        """A code that the owner (or ``caller``) agreed to."""
        who = caller or self.team.owner
        asked = check_authorization(self.request(**changes), caller=who)
        user = User.objects.get(pk=who.user_id or 0)
        location, _ = grant(asked, asked.scopes, caller=who, user=user)
        return parse_qs(urlsplit(location).query)["code"][0]

    def token_request(self, **parameters: str) -> dict[str, str]:
        """A token request; an empty parameter is left out."""
        given = {
            "client_id": self.row.client_id,
            "client_secret": self.secret,
            "resource": resource(self.team.slug),
            **parameters,
        }
        return {name: value for name, value in given.items() if value}

    def redemption(self, code: str, **changes: str) -> dict[str, str]:
        """A sound token request with a code, but for ``changes``."""
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": self.verifier,
        }
        return self.token_request(**{**given, **changes})

    def ask(self, **parameters: str) -> Answered:
        """The answer to a token request."""
        return self._answer_to(self.token_request(**parameters))

    def exchange(self, code: str, **changes: str) -> Answered:
        """The answer to a code."""
        return self._answer_to(self.redemption(code, **changes))

    def tokens(self, caller: Caller | None = None, **changes: str) -> dict[str, Any]:
        """Tokens, from consent on."""
        code = self.code(caller, **changes)
        resources = {name: value for name, value in changes.items() if name == "resource"}
        answer = self.exchange(code, **resources)
        assert answer.status == 200, answer.body
        return dict(answer.body)

    def refresh(self, token: str, **changes: str) -> Answered:
        """The answer to a refresh token."""
        return self.ask(**{"grant_type": "refresh_token", "refresh_token": token, **changes})

    def _answer_to(self, request: dict[str, str]) -> Answered:
        return issue_tokens(
            request,
            authorization=None,
            tenant_id=self.team.tenant_id,
            tenant_slug=self.team.slug,
        )


def make_app(team: Team, **values: Any) -> App:
    """A public client of the team."""
    with tenant_scope(team.tenant_id):
        given: dict[str, Any] = {
            "client_id": secrets.token_urlsafe(16),
            "name": "Test app",
            "client_type": OAuthClient.CLIENT_PUBLIC,
            "authorization_grant_type": OAuthClient.GRANT_AUTHORIZATION_CODE,
            "redirect_uris": REDIRECT,
            **values,
        }
        row = OAuthClient.objects.create(**given)  # type: ignore[misc]
    return App(team, row)


def make_service(team: Team, *scopes: str) -> App:
    """A confidential client that acts for itself, with its owner's rights at most."""
    secret = secrets.token_urlsafe(32)
    app = make_app(
        team,
        client_type=OAuthClient.CLIENT_CONFIDENTIAL,
        authorization_grant_type=OAuthClient.GRANT_CLIENT_CREDENTIALS,
        redirect_uris="",
        client_secret=digest_of(secret),
        scopes=list(scopes) or ["tools:read", "tools:execute"],
        user_id=team.owner.user_id,
    )
    app.secret = secret
    return app


def make_harbour() -> Team:
    """A team with one table."""
    team = make_team()
    dsn = make_database("CREATE TABLE fish (name text); INSERT INTO fish VALUES ('cod')")
    create_source("sea", "postgres", {"dsn": dsn}, caller=team.owner)
    return team


def kinds_of(team: Team) -> list[str]:
    """What the team's log says of OAuth, oldest first."""
    with tenant_scope(team.tenant_id):
        rows = AuditRecord.objects.filter(kind__startswith="oauth").order_by("seq")
        return list(rows.values_list("kind", flat=True))
