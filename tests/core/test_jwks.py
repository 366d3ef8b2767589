"""Keys come from the issuer's own metadata, are held for a bounded time, and made-up tokens fetch nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from typing import Any

import pytest
from django.conf import settings

from core import jwks
from core.jwks import Issuer, Issuers, IssuerUnavailable, check_issuer, metadata_addresses
from core.signedtokens import STEPS, TokenRefused
from tests.oauth.outside import issuer
from tests.plugins.issuer import JWKS, OIDC, LoopbackIssuer

__all__ = ["issuer"]

pytestmark = pytest.mark.anyio

HERE = "https://marina.example/mcp/team"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Issuers:
    # Who asks an issuer that has to wait for a processor goes on with what is held: that is for tests which say so.
    for name in ("FETCH_SECONDS", "WAIT_SECONDS", "IMPATIENT_SECONDS"):
        monkeypatch.setattr(jwks, name, 60.0)
    return Issuers(clock=clock)


async def step_of(known: Issuers, token: str, issuer: LoopbackIssuer | Issuer) -> str:
    try:
        await known.verify(token, trusted(issuer), HERE)
    except TokenRefused as refused:
        return refused.step
    return ""


def trusted(issuer: LoopbackIssuer | Issuer) -> Issuer:
    return issuer if isinstance(issuer, Issuer) else Issuer(issuer.identifier)


async def test_sound_token_gives_its_claims(issuer: LoopbackIssuer, known: Issuers) -> None:
    claims = await known.verify(issuer.token(HERE, groups=["a"]), trusted(issuer), HERE)
    assert (claims["sub"], claims["groups"]) == ("ada", ["a"])
    for _ in range(5):
        await known.verify(issuer.token(HERE), trusted(issuer), HERE)
    assert issuer.asked == [OIDC, JWKS]


async def test_each_fault_of_a_token_is_its_own_step(issuer: LoopbackIssuer, known: Issuers) -> None:
    past, claims = 1_000_000, issuer.claims(HERE)
    faults = {
        "form": "no.token",
        "header": issuer.sign(claims, header={"alg": "none"}),
        "issuer": issuer.token(HERE, iss=f"{issuer.identifier}/"),
        "key": issuer.sign(claims, header={"kid": "other"}),
        "signature": issuer.sign(claims)[:-8] + "AAAAAAAA",
        "times": issuer.token(HERE, exp=past),
        "audience": issuer.token(f"{HERE}/reports"),
    }
    assert {step: await step_of(known, token, issuer) for step, token in faults.items()} == {
        step: step for step in STEPS
    }


async def test_many_made_up_keys_cause_one_fetch_a_minute(
    issuer: LoopbackIssuer, known: Issuers, clock: Clock
) -> None:
    async def flood() -> None:
        tokens = [issuer.sign(issuer.claims(HERE), header={"kid": secrets.token_hex(4)}) for _ in range(40)]
        steps = await asyncio.gather(*(step_of(known, token, issuer) for token in tokens))
        assert set(steps) == {"key"}

    await flood()
    assert issuer.asked.count(JWKS) == 2
    await flood()
    clock.now += jwks.UNKNOWN_KEY_SECONDS - 1
    await flood()
    assert issuer.asked.count(JWKS) == 2
    clock.now += 1
    await flood()
    assert issuer.asked.count(JWKS) == 3


async def test_rotated_key_is_learned_at_once_and_the_old_one_ends(
    issuer: LoopbackIssuer, known: Issuers
) -> None:
    old = issuer.token(HERE)
    assert await step_of(known, old, issuer) == ""
    issuer.rotate("RS256")
    assert await step_of(known, issuer.token(HERE), issuer) == ""
    assert await step_of(known, old, issuer) == "key"


async def test_withdrawn_key_ends_when_what_is_held_is_old(
    issuer: LoopbackIssuer, known: Issuers, clock: Clock
) -> None:
    old = issuer.token(HERE)
    assert await step_of(known, old, issuer) == ""
    issuer.rotate()
    assert await step_of(known, old, issuer) == ""
    clock.now += jwks.FRESH_SECONDS
    assert await step_of(known, old, issuer) == "key"


async def test_issuer_that_is_away_is_trusted_for_a_while(
    issuer: LoopbackIssuer, known: Issuers, clock: Clock
) -> None:
    token = issuer.token(HERE)
    assert await step_of(known, token, issuer) == ""
    issuer.be_away(JWKS)
    issuer.be_away(OIDC)
    clock.now += jwks.STALE_SECONDS - 1
    for _ in range(3):
        assert await step_of(known, token, issuer) == ""
    asked = len(issuer.asked)
    clock.now += 1
    with pytest.raises(IssuerUnavailable):
        await known.verify(token, trusted(issuer), HERE)
    assert len(issuer.asked) == asked
    issuer.recover()
    clock.now += jwks.RETRY_SECONDS
    assert await step_of(known, token, issuer) == ""


@pytest.mark.parametrize("path", [OIDC, JWKS])
async def test_issuer_that_does_not_answer_soundly_is_left_alone_for_a_while(
    issuer: LoopbackIssuer, known: Issuers, clock: Clock, path: str
) -> None:
    async def why() -> str:
        with pytest.raises(IssuerUnavailable) as caught:
            await known.verify(issuer.token(HERE), trusted(issuer), HERE)
        return str(caught.value)

    faults: dict[str, Any] = {
        "larger than": lambda: issuer.be_huge(path),
        "status 302": lambda: issuer.redirect(path, f"{issuer.identifier}/elsewhere"),
        "status 503": lambda: issuer.be_away(path),
    }
    for words, begin in faults.items():
        begin()
        asked = issuer.asked.count(path)
        assert words in await why()
        assert words in await why()
        assert issuer.asked.count(path) == asked + 1
        clock.now += jwks.RETRY_SECONDS
    assert "/elsewhere" not in issuer.asked
    issuer.recover()
    assert await step_of(known, issuer.token(HERE), issuer) == ""


async def test_slow_issuer_is_given_up(
    issuer: LoopbackIssuer, known: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.2)
    issuer.be_slow(JWKS)
    with pytest.raises(IssuerUnavailable, match="did not answer within"):
        await known.verify(issuer.token(HERE), trusted(issuer), HERE)


async def test_made_up_key_makes_nobody_wait_for_a_slow_issuer(
    issuer: LoopbackIssuer, known: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "IMPATIENT_SECONDS", 0.1)
    assert await step_of(known, issuer.token(HERE), issuer) == ""
    issuer.be_slow(JWKS)
    made_up = asyncio.create_task(
        step_of(known, issuer.sign(issuer.claims(HERE), header={"kid": "x"}), issuer)
    )
    await asyncio.sleep(0)
    assert await step_of(known, issuer.token(HERE), issuer) == ""
    assert await made_up == "key"


async def test_metadata_of_another_issuer_is_refused(issuer: LoopbackIssuer, known: Issuers) -> None:
    for other in (f"{issuer.identifier}/", "https://evil.example", None, 5):
        issuer.metadata_changes = {"issuer": other}
        with pytest.raises(IssuerUnavailable, match="names another issuer"):
            await Issuers().metadata(issuer.identifier)


async def test_metadata_without_keys_or_with_odd_ones_is_refused(
    issuer: LoopbackIssuer, known: Issuers, clock: Clock
) -> None:
    odd: Any
    for odd in (
        None,
        5,
        "",
        "http://localhost/keys",
        "file:///etc/passwd",
        "https://127.0.0.1:99999/",
        "https://[::1",
    ):
        issuer.metadata_changes = {"jwks_uri": odd}
        clock.now += jwks.STALE_SECONDS
        with pytest.raises(IssuerUnavailable):
            await known.keys(trusted(issuer))
    assert set(issuer.asked) == {OIDC}


async def test_keys_are_fetched_where_one_is_told(issuer: LoopbackIssuer, known: Issuers) -> None:
    told = Issuer(issuer.identifier, f"{issuer.origin}{JWKS}")
    assert await step_of(known, issuer.token(HERE), told) == ""
    assert issuer.asked == [JWKS]


async def test_keys_of_one_address_are_not_those_of_another(issuer: LoopbackIssuer, known: Issuers) -> None:
    """Whoever claims an issuer with keys of their own gets tokens of their own checked, and no one else's."""
    mine = LoopbackIssuer(issuer.authority.parent)
    try:
        forged = Issuer(issuer.identifier, f"{mine.origin}{JWKS}")
        token = mine.token(HERE, iss=issuer.identifier)
        assert await step_of(known, token, forged) == ""
        assert await step_of(known, token, issuer) == "key"
    finally:
        mine.stop()


async def test_metadata_is_found_where_rfc_8414_puts_it(issuer: LoopbackIssuer, known: Issuers) -> None:
    identifier = f"{issuer.origin}/realms/a"
    issuer.metadata_changes = {"issuer": identifier}
    place = metadata_addresses(identifier)[1].removeprefix(issuer.origin)
    issuer.routes[("GET", place)] = issuer.routes[("GET", OIDC)]
    assert place == "/.well-known/oauth-authorization-server/realms/a"
    assert (await known.metadata(identifier))["issuer"] == identifier
    with pytest.raises(IssuerUnavailable, match="publishes no metadata"):
        await known.metadata(f"{issuer.origin}/realms/b")


async def test_private_address_is_not_asked(
    issuer: LoopbackIssuer, known: Issuers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=()))
    for told in ("", f"{issuer.origin}{JWKS}", "https://169.254.169.254/keys", "https://[::1]/keys"):
        with pytest.raises(IssuerUnavailable, match="address that Marina does not connect to"):
            await known.keys(Issuer(issuer.identifier, told))
    assert issuer.asked == []


async def test_simultaneous_first_tokens_cause_one_fetch(issuer: LoopbackIssuer, known: Issuers) -> None:
    tokens = [issuer.token(HERE, sub=str(number)) for number in range(20)]
    assert set(await asyncio.gather(*(step_of(known, token, issuer) for token in tokens))) == {""}
    assert issuer.asked == [OIDC, JWKS]


async def test_what_is_held_is_bounded(known: Issuers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MAX_ISSUERS", 3)
    for number in range(10):
        with pytest.raises(IssuerUnavailable):
            await known.metadata(f"http://{number}.invalid")
    assert len(known._held) == 3


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "http://localhost",
        "https://",
        "https://a b",
        "https://user@localhost",
        "https://localhost?x",
        "https://localhost#x",
        "https://localhost/../x",
        "https://localhost:99999",
        "https://[::1",
        "https://exam\u0440le.com",
        "https://localhost/\x00",
        "https://localhost/" + "x" * 300,
        "javascript:alert(1)",
    ],
)
def test_what_is_no_issuer_is_refused(identifier: str) -> None:
    with pytest.raises(ValueError, match="it "):
        check_issuer(identifier)


def test_issuers_as_they_are_found_are_taken() -> None:
    for identifier in ("https://a.example", "https://a.example/", "https://a.example:8443/realms/x/v2.0"):
        assert check_issuer(identifier) == identifier
