"""Being known to an authorization server, and getting tokens there: what is sent, and what of an answer is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from core.errors import SourceError
from core.outbound import AddressRule, parse_networks
from core.pkce import challenge_of
from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.clients import (
    Client,
    document_client,
    entered_client,
    register,
    require_issuer,
)
from servers.execution.authorizing.discovery import AuthorizationServer, Found
from servers.execution.authorizing.grants import (
    Tokens,
    begin_visit,
    read_return,
    read_tokens,
    redeem_code,
    refresh,
    revoke,
)
from tests.farside import FarSide, far_side, reply

pytestmark = pytest.mark.anyio

ASK = Asker(AddressRule(parse_networks(["127.0.0.0/8"])).allows)
GIVEN = {"access_token": "a-token", "token_type": "Bearer", "expires_in": 60, "scope": "x y"}


@pytest.fixture
def side() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


def at(side: FarSide, **more: Any) -> AuthorizationServer:
    base = side.origin
    found = AuthorizationServer(
        issuer=base,
        authorization=f"{base}/authorize",
        token=f"{base}/token",
        registration=f"{base}/register",
        revocation=f"{base}/revoke",
        takes_documents=False,
        names_issuer=False,
        auth_methods=("client_secret_basic",),
        offline=False,
    )
    return replace(found, **more)


def say(side: FarSide, path: str, said: Any, status: int = 200) -> str:
    return side.serve(path, reply(orjson.dumps(said), kind="application/json", status=status))


def sent(side: FarSide) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(side.asked[-1].body.decode()).items()}


async def test_the_way_there_is_bound_to_its_verifier_and_its_resource(side: FarSide) -> None:
    server = at(side, authorization="https://as.example/authorize?tenant=7")
    found = Found(server, "https://x.example/mcp", ("a",))
    visit = begin_visit(
        found, Client("i", "registered", "me"), "https://m.example/upstream/back", ("a", "offline_access")
    )
    query = {name: values[0] for name, values in parse_qs(urlsplit(visit.url).query).items()}
    assert query == {
        "tenant": "7",
        "response_type": "code",
        "client_id": "me",
        "redirect_uri": "https://m.example/upstream/back",
        "state": visit.state,
        "code_challenge": challenge_of(visit.verifier),
        "code_challenge_method": "S256",
        "resource": "https://x.example/mcp",
        "scope": "a offline_access",
        "prompt": "consent",
    }
    assert visit.verifier not in repr(visit)


@pytest.mark.parametrize(
    ("parameters", "names", "words"),
    [
        ({"code": "c", "iss": "https://as.example/"}, False, "does not come from"),
        ({"code": "c", "iss": "https://AS.example"}, False, "does not come from"),
        ({"code": "c"}, True, "does not come from"),
        ({"error": "access_denied", "iss": "https://evil.example"}, False, "does not come from"),
        ({"error": "<b>evil</b>"}, False, "says an error"),
        ({"error": "access_denied", "code": "c"}, False, "access_denied"),
        ({}, False, "without a code"),
    ],
)
async def test_a_return_that_is_not_sound_is_refused(
    parameters: dict[str, str], names: bool, words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        read_return(parameters, issuer="https://as.example", names_issuer=names)
    good = {"code": "c", "iss": "https://as.example"}
    assert read_return(good, issuer="https://as.example", names_issuer=names) == "c"


@pytest.mark.parametrize(
    ("methods", "header", "in_form"),
    [
        (("client_secret_basic",), "Basic bWU6cyUyRmVjcmV0", ""),
        (("client_secret_post",), None, "s/ecret"),
        (("private_key_jwt", "client_secret_post", "client_secret_basic"), None, "s/ecret"),
        (("none",), None, ""),
    ],
)
async def test_a_client_is_registered_and_signs_as_the_server_wants(
    side: FarSide, methods: tuple[str, ...], header: str | None, in_form: str
) -> None:
    secret = {} if methods == ("none",) else {"client_secret": "s/ecret"}
    say(side, "/register", {"client_id": "me", **secret}, 201)
    client = await register(ASK, at(side, auth_methods=methods), "https://m.example/upstream/back")
    asked = orjson.loads(side.asked[-1].body)
    assert (asked["application_type"], asked["grant_types"]) == (
        "web",
        ["authorization_code", "refresh_token"],
    )
    say(side, "/token", GIVEN)
    tokens = await redeem_code(
        ASK, f"{side.origin}/token", client, code="c", verifier="v", redirect_uri="r", resource="s"
    )
    form = sent(side)
    assert side.asked[-1].headers.get("authorization") == header
    assert (form["client_id"], form.get("client_secret", ""), form["resource"]) == ("me", in_form, "s")
    assert (tokens.access, tokens.scopes) == ("a-token", ("x", "y"))
    for shown in (repr(client), repr(tokens)):
        assert "s/ecret" not in shown
        assert "a-token" not in shown


async def test_a_registration_that_is_refused_says_what_to_do(side: FarSide) -> None:
    say(side, "/register", {"error": "invalid_redirect_uri", "error_description": "<b>no</b>"}, 400)
    with pytest.raises(SourceError, match=r"invalid_redirect_uri.*enter its client id") as refused:
        await register(ASK, at(side), "https://m.example/upstream/back")
    assert "<b>" not in refused.value.message
    for said in ({}, {"client_id": 7}, {"client_id": "a\nb"}, {"client_id": "me", "client_secret": ["x"]}):
        say(side, "/register", said, 201)
        with pytest.raises(SourceError, match="without an id"):
            await register(ASK, at(side), "https://m.example/upstream/back")


async def test_a_client_is_no_other_issuers(side: FarSide) -> None:
    require_issuer(at(side), side.origin)
    with pytest.raises(SourceError, match="Nothing was sent there"):
        require_issuer(at(side), "https://as.example")
    assert document_client(at(side), "https://m.example/c").method == "none"
    assert (
        entered_client(at(side, auth_methods=("client_secret_post",)), "me", "s").method
        == "client_secret_post"
    )
    assert not side.asked


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({**GIVEN, "access_token": "a b"}, "a header can carry"),
        ({**GIVEN, "access_token": "a\r\nX: y"}, "a header can carry"),
        ({**GIVEN, "access_token": None}, "a header can carry"),
        ({**GIVEN, "token_type": "DPoP"}, "not a bearer token"),
        ({"access_token": "a"}, "not a bearer token"),
    ],
)
async def test_tokens_that_cannot_be_used_are_refused(said: dict[str, Any], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read_tokens(200, said, "as.example", now=0)


async def test_a_lifetime_is_bounded_and_may_be_unknown() -> None:
    ends = [
        read_tokens(200, {**GIVEN, "expires_in": given}, "h", now=100).expires_at
        for given in (60, "60", None, -1, True, 1e300, "x")
    ]
    assert ends == [160, 160, 0, 0, 0, 31_536_100, 0]


async def test_refusals_tell_what_passes_from_what_does_not(side: FarSide) -> None:
    client, tokens = Client(side.origin, "registered", "me"), Tokens("a", "r", 0, ("x",))
    say(side, "/token", {"error": "invalid_grant"}, 400)
    with pytest.raises(SourceError, match="invalid_grant") as lost:
        await refresh(ASK, f"{side.origin}/token", client, tokens, "s")
    say(side, "/token", {}, 503)
    with pytest.raises(SourceError) as passing:
        await refresh(ASK, f"{side.origin}/token", client, tokens, "s")
    assert (lost.value.code, passing.value.retryable) == ("sign_in_needed", True)


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, {"error": "temporarily_unavailable"}), (302, {}), (403, {}), (404, {}), (408, {}), (429, {})],
)
async def test_what_says_nothing_of_the_sign_in_does_not_end_it(
    status: int, said: dict[str, Any], side: FarSide
) -> None:
    say(side, "/token", said, status)
    client, tokens = Client(side.origin, "registered", "me"), Tokens("a", "r", 0, ("x",))
    with pytest.raises(SourceError) as passing:
        await refresh(ASK, f"{side.origin}/token", client, tokens, "s")
    assert (passing.value.code, passing.value.retryable) == ("source_failed", True)


async def test_a_refresh_keeps_what_is_not_given_anew_and_a_token_is_given_back(side: FarSide) -> None:
    client, tokens = Client(side.origin, "registered", "me"), Tokens("a", "r", 0, ("x",))
    say(side, "/token", {"access_token": "b", "token_type": "bearer"})
    new = await refresh(ASK, f"{side.origin}/token", client, tokens, "s")
    assert (new.access, new.refresh, new.scopes) == ("b", "r", ("x",))
    assert sent(side)["refresh_token"] == "r"
    say(side, "/token", {**GIVEN, "refresh_token": "r2"})
    assert (await refresh(ASK, f"{side.origin}/token", client, tokens, "s")).refresh == "r2"
    side.serve("/revoke", reply())
    await revoke(ASK, f"{side.origin}/revoke", client, tokens)
    assert sent(side) == {"token": "r", "token_type_hint": "refresh_token", "client_id": "me"}
