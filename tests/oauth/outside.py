"""Outside issuers for tests: a provider on loopback, and a team that trusts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.introspection import introspection
from tenants.models import TrustedIssuer
from tenants.services.outside_issuers import create_issuer
from tests.factories import Team
from tests.plugins.issuer import LoopbackIssuer, running_issuer

TABLE = [
    {"value": "mcp.use", "scopes": ["tools:read", "tools:execute"], "role": "viewer"},
    {"value": "mcp.read", "scopes": ["tools:read"], "role": "viewer"},
    {"value": "mcp.echo", "scopes": ["tools:read", "tools:execute", "tool:echo"], "role": "editor"},
]


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackIssuer]:
    """A provider that Marina trusts the certificate of."""
    introspection.cache_clear()
    with running_issuer(tmp_path, monkeypatch) as running:
        yield running
    introspection.cache_clear()


def trust(team: Team, issuer: LoopbackIssuer, **given: Any) -> TrustedIssuer:
    """Have the team trust the provider's keys, by the name ``corp`` unless told otherwise."""
    return create_issuer(
        {"name": "corp", "issuer": issuer.identifier, "mapping": TABLE, **given}, caller=team.owner
    )


def trust_by_asking(team: Team, issuer: LoopbackIssuer, **given: Any) -> TrustedIssuer:
    """Have the team ask the provider about tokens."""
    return trust(
        team,
        issuer,
        **{
            "method": "introspection",
            "client_id": issuer.client_id,
            "client_secret": issuer.client_secret,
            **given,
        },
    )
