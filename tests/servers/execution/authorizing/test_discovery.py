"""Finding who signs people in for a server, at each place where that may stand, and refusing what is not sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from core.errors import SourceError
from core.outbound import AddressRule, parse_networks
from servers.execution.authorizing.asking import MAX_BYTES, Asker
from servers.execution.authorizing.challenges import Challenge
from servers.execution.authorizing.discovery import discover, read_server, resource_places, server_places
from tests.farside import FarSide, far_side, reply

pytestmark = pytest.mark.anyio

LOOPBACK = AddressRule(parse_networks(["127.0.0.0/8"])).allows
PUBLIC = AddressRule().allows
PLAIN = Challenge(401)
SOUND = {
    "issuer": "https://as.example",
    "authorization_endpoint": "https://as.example/authorize",
    "token_endpoint": "https://as.example/token",
    "code_challenge_methods_supported": ["S256"],
}


@pytest.fixture
def side() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


def say(side: FarSide, path: str, said: Mapping[str, Any], status: int = 200) -> str:
    return side.serve(path, reply(orjson.dumps(said), kind="application/json", status=status))


def resource(side: FarSide, path: str = "/.well-known/oauth-protected-resource", **more: Any) -> None:
    said = {"resource": f"{side.origin}/mcp", "authorization_servers": [f"{side.origin}/as"], **more}
    say(side, path, said)


def server(side: FarSide, path: str, issuer: str = "/as", **more: Any) -> None:
    base = side.origin + issuer
    said = {
        **SOUND,
        "issuer": base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        **more,
    }
    say(side, path, {name: value for name, value in said.items() if value is not None})


async def find(side: FarSide, challenge: Challenge = PLAIN) -> Any:
    return await discover(Asker(LOOPBACK), f"{side.origin}/mcp", challenge)


async def test_places_are_asked_in_the_order_of_the_specification() -> None:
    assert list(resource_places("https://x.example/public/mcp")) == [
        "https://x.example/.well-known/oauth-protected-resource/public/mcp",
        "https://x.example/.well-known/oauth-protected-resource",
    ]
    assert list(resource_places("https://x.example/")) == [
        "https://x.example/.well-known/oauth-protected-resource"
    ]
    assert list(server_places("https://as.example/tenant1")) == [
        "https://as.example/.well-known/oauth-authorization-server/tenant1",
        "https://as.example/.well-known/openid-configuration/tenant1",
        "https://as.example/tenant1/.well-known/openid-configuration",
    ]
    assert list(server_places("https://as.example")) == [
        "https://as.example/.well-known/oauth-authorization-server",
        "https://as.example/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    "at", ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource", "/elsewhere"]
)
@pytest.mark.parametrize(
    "server_at",
    [
        "/.well-known/oauth-authorization-server/as",
        "/.well-known/openid-configuration/as",
        "/as/.well-known/openid-configuration",
    ],
)
async def test_metadata_is_found_at_each_place(side: FarSide, at: str, server_at: str) -> None:
    resource(side, at, scopes_supported=["a", "b"])
    server(side, server_at)
    found = await find(side, Challenge(401, True, f"{side.origin}{at}" if at == "/elsewhere" else ""))
    assert found.server.issuer == f"{side.origin}/as"
    assert found.resource == f"{side.origin}/mcp"
    assert found.scopes == ("a", "b")


async def test_the_scopes_of_the_challenge_come_before_those_that_are_listed(side: FarSide) -> None:
    resource(side, scopes_supported=["a", "b"])
    server(side, "/.well-known/oauth-authorization-server/as", scopes_supported=["a", "offline_access"])
    found = await find(side, Challenge(401, True, "", "", ("c",)))
    assert (found.scopes, found.asked) == (("c",), ("c", "offline_access"))


async def test_a_server_of_before_resource_metadata_has_its_sign_ins_at_its_own_origin(side: FarSide) -> None:
    server(side, "/.well-known/oauth-authorization-server", issuer="")
    assert (await find(side)).server.token == f"{side.origin}/token"


async def test_the_resource_may_stand_above_the_server_and_nowhere_else(side: FarSide) -> None:
    server(side, "/.well-known/oauth-authorization-server/as")
    resource(side, resource=side.origin)
    assert (await find(side)).resource == side.origin
    for other in (
        f"{side.origin}/other",
        f"{side.origin}/mcp/below",
        f"{side.origin}/mc",
        "https://evil.example/mcp",
        7,
    ):
        resource(side, resource=other)
        with pytest.raises(SourceError, match="that of another resource"):
            await find(side)


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("issuer", "https://evil.example", "another issuer"),
        ("issuer", None, "another issuer"),
        ("authorization_endpoint", "javascript:alert(1)", "authorization_endpoint"),
        ("authorization_endpoint", "http://as.example/authorize", "not an https address"),
        ("authorization_endpoint", "data:text/html,x", "authorization_endpoint"),
        ("authorization_endpoint", "https://user@as.example/", "user name"),
        ("authorization_endpoint", "https://as.example/\nx", "authorization_endpoint"),
        ("authorization_endpoint", None, "authorization_endpoint"),
        ("token_endpoint", "http://10.0.0.1/token", "not an https address"),
        ("token_endpoint", ["https://as.example/token"], "token_endpoint"),
        ("code_challenge_methods_supported", None, "PKCE"),
        ("code_challenge_methods_supported", ["plain"], "PKCE"),
        ("code_challenge_methods_supported", "S256", "PKCE"),
    ],
)
async def test_metadata_that_is_not_sound_is_refused(member: str, value: Any, words: str) -> None:
    read_server(SOUND, "https://as.example", PUBLIC)
    with pytest.raises(SourceError, match=words) as refused:
        read_server({**SOUND, member: value}, "https://as.example", PUBLIC)
    assert refused.value.code == "sign_in_unsound"


async def test_http_is_taken_of_this_machine_alone_and_only_where_the_operator_allows_it() -> None:
    near = {**SOUND, "token_endpoint": "http://127.0.0.1:9/token"}
    assert read_server(near, "https://as.example", LOOPBACK).token == "http://127.0.0.1:9/token"
    with pytest.raises(SourceError, match="not an https address"):
        read_server(near, "https://as.example", PUBLIC)
    private = AddressRule(parse_networks(["10.0.0.0/8"])).allows
    with pytest.raises(SourceError, match="not an https address"):
        read_server({**SOUND, "token_endpoint": "http://10.0.0.1/token"}, "https://as.example", private)


async def test_an_issuer_of_a_whole_host_is_the_same_with_a_slash_and_no_other_is() -> None:
    found = read_server({**SOUND, "issuer": "https://as.example/"}, "https://as.example", PUBLIC)
    assert found.issuer == "https://as.example/"
    for named, asked in (
        ("https://as.example/a/", "https://as.example/a"),
        ("https://AS.example", "https://as.example"),
        ("https://as.example:443", "https://as.example"),
    ):
        with pytest.raises(SourceError, match="another issuer"):
            read_server({**SOUND, "issuer": named}, asked, PUBLIC)


async def test_addresses_of_metadata_are_judged_as_all_are(side: FarSide) -> None:
    with pytest.raises(SourceError) as refused:
        await discover(Asker(PUBLIC), f"{side.origin}/mcp", Challenge(401))
    assert refused.value.code == "source_denied"
    for place in ("http://evil.example/m", "file:///etc/passwd", "http://[::1]/m"):
        with pytest.raises(SourceError, match="address for its metadata that is not taken"):
            await find(side, Challenge(401, True, place))
    assert not side.asked


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([], "names no authorization server"),
        (None, "names no"),
        (["javascript:x"], "at no https address"),
        ([7], "at no"),
    ],
)
async def test_a_server_that_names_nobody_sound_is_refused(side: FarSide, listed: Any, words: str) -> None:
    resource(side, authorization_servers=listed)
    with pytest.raises(SourceError, match=words):
        await find(side)


async def test_a_body_too_large_and_a_redirect_are_not_taken(side: FarSide) -> None:
    place = "/.well-known/oauth-protected-resource/mcp"
    side.serve(place, reply(b" " * (MAX_BYTES + 1), kind="application/json"))
    with pytest.raises(SourceError) as refused:
        await find(side)
    assert refused.value.code == "result_too_large"
    led = FarSide.serve(side, place, reply(status=302, headers={"Location": "http://169.254.169.254/"}))
    assert led
    resource(side)
    server(side, "/.well-known/oauth-authorization-server/as")
    assert (await find(side)).resource == f"{side.origin}/mcp"
    side.serve("/.well-known/oauth-protected-resource", reply(status=503))
    with pytest.raises(SourceError, match="failed") as failed:
        await find(side)
    assert failed.value.retryable
