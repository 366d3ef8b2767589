"""A client of a running Marina that does each step by hand, over real HTTP, so that a test can do one of them wrong."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2
from django.test import Client

from core.loop import run_async
from servers.services.runtime import get_runtime
from tenants.models import OAuthClient
from tenants.scoping import tenant_scope
from tenants.services.oauth_doctor import Timeline, list_timelines
from tests.factories import Team
from tests.frontend.visitor import client_of
from tests.oauth.asking import begin, decide, number_of, query_of
from tests.oauth.flows import REDIRECT, SCOPES, App

LATER = 300.0
"""Seconds after which a client that did nothing more has stopped."""

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@dataclass
class Program:
    """A program with a name of its own, at one team; its member's browser is in this process."""

    port: int
    team: Team
    agent: str = field(default_factory=lambda: f"probe/{secrets.token_hex(4)}")

    def send(self, method: str, path: str, **given: Any) -> httpx2.Response:
        """One request, as this program sends it."""
        headers = {"User-Agent": self.agent, **given.pop("headers", {})}
        with httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=60) as http:
            return http.request(method, path, headers=headers, **given)

    def ask(self, token: str | None = None, *, path: str = "", message: Any = PING) -> httpx2.Response:
        """A message to the team's MCP URL, or to ``path``."""
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.send("POST", path or f"/mcp/{self.team.slug}", json=message, headers=headers)

    def discover(self) -> None:
        """Challenge and both kinds of metadata, as it should be."""
        assert self.ask().status_code == 401
        slug = self.team.slug
        assert self.send("GET", f"/.well-known/oauth-protected-resource/mcp/{slug}").status_code == 200
        assert self.send("GET", f"/.well-known/oauth-authorization-server/oauth/{slug}").status_code == 200

    def register(self, **changes: Any) -> httpx2.Response:
        """A registration, sound but for ``changes``."""
        document = {
            "client_name": "Probe",
            "redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": "none",
            **changes,
        }
        return self.send("POST", f"/oauth/{self.team.slug}/register", json=document)

    def app(self) -> App:
        """The client that it is once it found the team and registered."""
        self.discover()
        told = self.register().json()
        with tenant_scope(self.team.tenant_id):
            return App(self.team, OAuthClient.objects.get(client_id=told["client_id"]))

    def agree(self, app: App, browser: Client | None = None, *scopes: str, **changes: str) -> str:
        """The code that the owner, or whose browser it is, agreed to."""
        visitor = browser or client_of(self.team)
        asked = changes.get("scope", SCOPES).split()
        number = number_of(begin(visitor, app, **changes))
        return query_of(decide(visitor, app, number, "allow", *(scopes or asked)))["code"]

    def token(self, app: App, code: str, **changes: str) -> httpx2.Response:
        """The answer to a code."""
        return self._ask_for_token(app.redemption(code, **changes))

    def refresh(self, app: App, token: str, **changes: str) -> httpx2.Response:
        """The answer to a refresh token."""
        return self.form(app, **{"grant_type": "refresh_token", "refresh_token": token, **changes})

    def form(self, app: App, **parameters: str) -> httpx2.Response:
        """The answer of the token endpoint; an empty parameter is left out."""
        return self._ask_for_token(app.token_request(**parameters))

    def _ask_for_token(self, request: dict[str, str]) -> httpx2.Response:
        return self.send(
            "POST",
            f"/oauth/{self.team.slug}/token",
            content=urlencode(request),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    def connected(self) -> tuple[App, dict[str, Any]]:
        """The client and its tokens, after a sound connection."""
        app = self.app()
        tokens = self.token(app, self.agree(app)).json()
        assert self.ask(tokens["access_token"]).status_code == 200
        return app, tokens

    def timelines(self, later: float = 0.0) -> list[Timeline]:
        """What the doctor says of the team's clients, so many seconds from now."""
        run_async(get_runtime().oauth_steps.flush())
        return list_timelines(caller=self.team.owner, now=time.time() + later)

    def timeline(self, later: float = 0.0) -> Timeline:
        """What the doctor says of the one client that there was."""
        found = self.timelines(later)
        assert len(found) == 1, [[step.title for step in each.steps] for each in found]
        return found[0]

    def fault(self, later: float = 0.0) -> str:
        """The code of what the doctor says is in the way."""
        return self.timeline(later).fault
