"""What it costs to know who a credential is: reads of the database where it is not held, and memory where it is."""

from __future__ import annotations

import contextlib
import gc
import secrets
import tracemalloc
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core.errors import Unauthenticated
from core.threads import run_sync
from servers.services import grants
from servers.services.grants import GrantCache
from tenants.models import OAuthAccessToken, OAuthAuthorization
from tenants.models_oauth import digest_of
from tenants.scoping import tenant_scope
from tenants.tokens import ACCESS_PREFIX, caller_for_credential
from tests.factories import Team, make_team
from tests.oauth.flows import make_app

MOST_BYTES = 20_000_000
MOST_BYTES_REFUSED = 1_500
MEASURED = 500


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


@pytest.mark.parametrize("kind", ["key", "token"])
def test_a_credential_is_one_read_beside_the_statement_that_sets_the_scope(team: Team, kind: str) -> None:
    credential = team.key() if kind == "key" else make_app(team).tokens()["access_token"]
    with CaptureQueriesContext(connection) as captured:
        caller_for_credential(credential, tenant_slug=team.slug)
    asked = [query["sql"] for query in captured.captured_queries]
    scope, read = (sql for sql in asked if sql not in {"BEGIN", "COMMIT"})
    assert scope.startswith("SELECT set_config('app.tenant'")
    assert 'FROM "tenants_' in read


@pytest.mark.anyio
async def test_ten_thousand_held_tokens_fit_in_twenty_megabytes(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To ask for as many takes a while, and so does the collector.
    monkeypatch.setattr(grants, "GRANT_SECONDS", 600.0)
    tokens = await run_sync(_issue, team, MEASURED)
    cache = GrantCache()
    each = await _bytes_of(cache, team, tokens)
    assert all(cache.peek(token, team.slug) for token in tokens[-10:])
    assert each * 10_000 < MOST_BYTES


@pytest.mark.anyio
async def test_what_is_held_of_a_refused_token_is_its_refusal_alone(team: Team) -> None:
    # An exception as it was raised holds the frames that it went through, and all that stood in them.
    made_up = [ACCESS_PREFIX + secrets.token_urlsafe(32) for _ in range(MEASURED)]
    assert await _bytes_of(GrantCache(), team, made_up) < MOST_BYTES_REFUSED


async def _bytes_of(cache: GrantCache, team: Team, tokens: list[str]) -> float:
    """What the cache holds of each token, once it knows of all but the first."""
    first, *rest = tokens
    await _ask(cache, team, first)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for token in rest:
            await _ask(cache, team, token)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / len(rest)


async def _ask(cache: GrantCache, team: Team, token: str) -> None:
    with contextlib.suppress(Unauthenticated):
        await cache.get(token, team.slug)


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
