"""The issuer's addresses as browsers and programs ask them, for tests."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.test import Client

from tests.factories import Team
from tests.oauth.flows import REDIRECT, App


def begin(browser: Client, app: App, **changes: str) -> Any:
    return browser.get(f"/oauth/{app.team.slug}/authorize", app.request(**changes))


def number_of(page: Any) -> str:
    found = re.search(r'name="request" value="([^"]+)"', page.content.decode())
    assert found, page.content.decode()
    return found[1]


def decide(browser: Client, app: App, number: str, decision: str = "allow", *scopes: str) -> Any:
    return browser.post(
        f"/oauth/{app.team.slug}/authorize",
        {"request": number, "decision": decision, "scopes": list(scopes or ("tools:read", "tools:execute"))},
    )


def query_of(response: Any) -> dict[str, str]:
    assert response.status_code == 303, response.content
    assert response["Location"].startswith(REDIRECT)
    return parameters_of(response["Location"])


def parameters_of(location: str) -> dict[str, str]:
    """What an address's query says."""
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def form(
    team: Team, endpoint: str, parameters: dict[str, str] | str, *, address: str = "127.0.0.1", **headers: str
) -> Any:
    body = parameters if isinstance(parameters, str) else urlencode(parameters)
    return Client(raise_request_exception=False, REMOTE_ADDR=address).post(
        f"/oauth/{team.slug}/{endpoint}",
        body,
        content_type="application/x-www-form-urlencoded",
        headers=headers,
    )
