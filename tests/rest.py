"""A client of the REST API for tests: JSON in, JSON out, as a key, as a signed-in person, or as nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.test import Client

from tests.factories import PASSWORD, Team

API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its JSON (``None`` when empty) and its headers."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def paths(self) -> set[str]:
        """Where the input was wrong."""
        return {fault["path"] for fault in self.body["errors"]}


class Rest:
    """Calls the API through Django's whole stack, middleware included."""

    def __init__(self, key: str | None = None, *, email: str | None = None, csrf: bool = False) -> None:
        self.client = Client(enforce_csrf_checks=csrf, raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        if email:
            assert self.client.login(username=email, password=PASSWORD)

    @classmethod
    def admin(cls, team: Team) -> Rest:
        """With a key of every right in the team."""
        return cls(team.key("admin"))

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request; ``path`` below /api/v1. Every error must be a problem document."""
        given: dict[str, Any] = {"headers": {**self.headers, **headers}}
        if body is not None:
            given |= {"data": body, "content_type": "application/json"}
        response = getattr(self.client, method)(f"{API}{path}", **given)
        answer = Answer(
            response.status_code, response.json() if response.content else None, dict(response.headers)
        )
        if answer.status >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json", answer
            assert {"type", "title", "detail", "request_id", "status", "code"} <= set(answer.body), answer
            assert answer.body["status"] == answer.status
            assert answer.body["request_id"] == answer.headers["X-Request-ID"]
        return answer

    def get(self, path: str) -> Answer:
        return self.call("get", path)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.call("post", path, {} if body is None else body)

    def patch(self, path: str, body: Any) -> Answer:
        return self.call("patch", path, body)

    def delete(self, path: str) -> Answer:
        return self.call("delete", path)
