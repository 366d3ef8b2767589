"""An issuer is asked about what can be a token; an answer about one token says nothing about the next."""

from __future__ import annotations

import pytest

from core import introspection
from core.introspection import Endpoint, Introspection
from core.jwks import IssuerUnavailable
from core.signedtokens import TokenRefused
from tests.oauth.outside import issuer
from tests.plugins.issuer import INTROSPECTION, Answer, LoopbackIssuer

__all__ = ["issuer"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Introspection:
    monkeypatch.setattr(introspection, "ASK_SECONDS", 60.0)
    monkeypatch.setattr(introspection, "REST_SECONDS", 600.0)
    return Introspection()


def endpoint_of(issuer: LoopbackIssuer) -> Endpoint:
    return Endpoint(f"{issuer.identifier}{INTROSPECTION}", issuer.client_id, issuer.client_secret)


@pytest.mark.parametrize(
    "token",
    [
        "short",
        "<script>alert(1)</script>",
        "' or '1'='1' or '1'='1",
        "tok=en-tok=en-tok=en",
        "t\u00f6ken" * 5,
    ],
)
async def test_what_is_no_token_by_its_letters_is_shown_to_nobody(
    issuer: LoopbackIssuer, asking: Introspection, token: str
) -> None:
    with pytest.raises(TokenRefused) as refused:
        await asking.ask(token, endpoint_of(issuer))
    assert refused.value.step == "active"
    assert not issuer.asked


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_token_that_the_issuer_cannot_read_shuts_no_other_out(
    issuer: LoopbackIssuer, asking: Introspection, status: int
) -> None:
    sound = issuer.opaque_token("https://marina.example/mcp/team")
    issuer.faults[INTROSPECTION] = lambda: Answer({"error": "invalid_request"}, status)
    with pytest.raises(IssuerUnavailable):
        await asking.ask("a-made-up-token-of-somebody", endpoint_of(issuer))
    issuer.recover()
    assert (await asking.ask(sound, endpoint_of(issuer)))["sub"] == "ada"


async def test_an_issuer_that_is_away_or_does_not_know_marina_is_left_alone_for_a_while(
    issuer: LoopbackIssuer, asking: Introspection
) -> None:
    sound = issuer.opaque_token("https://marina.example/mcp/team")
    issuer.be_away(INTROSPECTION)
    for _ in range(2):
        with pytest.raises(IssuerUnavailable):
            await asking.ask(sound, endpoint_of(issuer))
    assert issuer.asked.count(INTROSPECTION) == 1
