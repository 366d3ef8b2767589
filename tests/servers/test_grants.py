"""What it costs to know who a credential is: reads of the database where it is not held, and memory where it is."""

from __future__ import annotations

import gc
import secrets
import tracemalloc
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.threads import run_sync
from servers.services.grants import GrantCache
from tenants.models import OAuthAccessToken, OAuthAuthorization
from tenants.models_oauth import digest_of
from tenants.scoping import tenant_scope
from tenants.tokens import ACCESS_PREFIX, caller_for_credential
from tests.factories import Team, make_team
from tests.oauth.flows import make_app

MOST_BYTES = 20_000_000
MEASURED = 500


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def _reads(team: Team, token: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        caller_for_credential(token, tenant_slug=team.slug)
    return sum('FROM "' in query["sql"] for query in captured.captured_queries)


def test_a_key_is_one_read_and_a_token_one_more_for_its_address(team: Team) -> None:
    assert _reads(team, team.key()) == 1
    assert _reads(team, make_app(team).tokens()["access_token"]) == 2


@pytest.mark.anyio
async def test_ten_thousand_held_tokens_fit_in_twenty_megabytes(team: Team) -> None:
    tokens = await run_sync(_issue, team, MEASURED)
    cache = GrantCache()
    await cache.get(tokens.pop(), team.slug)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for token in tokens:
            await cache.get(token, team.slug)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(cache.peek(token, team.slug) for token in tokens[-10:])
    assert (after - before) / len(tokens) * 10_000 < MOST_BYTES


def _issue(team: Team, count: int) -> list[str]:
    """Tokens of as many authorizations: nothing of one is another's."""
    app = make_app(team)
    app.tokens()
    tokens = [ACCESS_PREFIX + secrets.token_urlsafe(32) for _ in range(count)]
    with tenant_scope(team.tenant_id):
        pattern = OAuthAuthorization.objects.get(client=app.row)
        row = OAuthAccessToken.objects.get(authorization=pattern)
        for token in tokens:
            pattern.pk = uuid4()
            pattern.save(force_insert=True)
            row.pk, row.token_checksum, row.authorization = None, digest_of(token), pattern
            row.save(force_insert=True)
    return tokens
