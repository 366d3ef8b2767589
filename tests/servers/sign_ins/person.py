"""A person with a browser: at Marina's pages, and at an authorization server that sends them back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
from django.test import Client

from tests.factories import PASSWORD, Team
from tests.rest import Rest


@dataclass
class Person:
    """Signed in to Marina. ``said`` are the messages on the page that a sign-in ended on."""

    team: Team
    email: str
    browser: Client = field(default_factory=Client)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.browser.login(username=self.email, password=PASSWORD)

    def page(self, source_id: str) -> Any:
        return self.browser.get(f"/app/{self.team.slug}/data-sources/{source_id}/")

    def leave(self, source_id: str) -> str:
        """Press the button to sign in: gives where the browser is sent."""
        answer = self.browser.post(f"/app/{self.team.slug}/data-sources/{source_id}/sign-in")
        assert answer.status_code in (302, 303), answer.content
        return str(answer["Location"])

    def visit(self, url: str) -> str:
        """Agree at the authorization server: gives where it sends the browser back to."""
        answer = httpx2.get(url, follow_redirects=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def come_back(self, url: str) -> Any:
        """Open the address that the authorization server sent the browser to."""
        parts = urlsplit(url)
        assert parts.path == "/upstream/back"
        answer = self.browser.get(f"{parts.path}?{parts.query}", follow=True)
        self.said = [str(each) for each in (answer.context or {}).get("messages", [])]
        return answer

    def sign_in(self, source_id: str) -> Any:
        return self.come_back(self.visit(self.leave(source_id)))


def add_source(rest: Rest, team: Team, url: str, name: str = "yard", **settings: Any) -> str:
    """A source that people sign in to."""
    body = {"name": name, "kind": "mcp", "settings": {"url": url, "auth": "oauth", **settings}}
    made = rest.post(f"/tenants/{team.slug}/data-sources", body)
    assert made.status == 201, made.body
    return str(made.body["id"])


def refresh(rest: Rest, team: Team, source_id: str) -> Any:
    """Take over what the source offers."""
    return rest.post(f"/tenants/{team.slug}/data-sources/{source_id}/refresh", {})


def call(rest: Rest, team: Team, name: str) -> Any:
    tools = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    id_ = next(each["id"] for each in tools if each["name"] == name)
    answer = rest.post(f"/tenants/{team.slug}/tools/{id_}/call", {"arguments": {}})
    assert answer.status == 200, answer.body
    return answer.body
