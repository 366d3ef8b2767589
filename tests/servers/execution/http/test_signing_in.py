"""How Marina signs in at an API: as configured, there and nowhere else, and its secrets are told to nobody."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from servers.execution.backends.http.settings import clean_settings
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from tests.farside import Asked, FarSide, Send, far_side, reply
from tests.servers.execution.http.conftest import Call, Refused, as_json, give_back

SECRET = "s3cr3t/t0k3n+with=signs"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"auth": "bearer", "token": SECRET}, "authorization", f"Bearer {SECRET}"),
        ({"auth": "api_key", "token": SECRET}, "x-api-key", SECRET),
        ({"auth": "api_key", "token": SECRET, "key_header": "X-Shop-Key"}, "x-shop-key", SECRET),
        (
            {"auth": "basic", "username": "ada", "password": SECRET},
            "authorization",
            "Basic " + b64encode(f"ada:{SECRET}".encode()).decode(),
        ),
    ],
)
async def test_request_is_signed_in_as_configured_and_an_echo_of_it_is_removed(
    settings: dict[str, Any], name: str, value: str, api: FarSide, call: Call
) -> None:
    api.serve("/v1/a", give_back)
    got = await call("api_get", settings=settings, endpoint="a")
    assert api.asked[0].headers[name] == value
    assert SECRET not in got.text
    assert value.rpartition(" ")[2] not in got.text
    assert "[removed]" in got.structured["body"]["headers"][name]


@pytest.mark.anyio
async def test_secret_is_removed_in_every_form_that_an_echo_has(api: FarSide, call: Call) -> None:
    forms = [SECRET, "s3cr3t%2Ft0k3n%2Bwith%3Dsigns", b64encode(SECRET.encode()).decode()]
    slashed = SECRET.replace("/", "\\/")
    body = b'{"a": "' + slashed.encode() + b'", "b": ' + json.dumps(forms).encode() + b"}"
    api.serve("/v1/a", reply(body, kind="application/json", headers={"Location": f"/x?token={SECRET}"}))
    settings = {"auth": "bearer", "token": SECRET}
    for status in (200, 500):
        api.serve("/v1/b", reply(body, status=status, kind="text/html", headers={"Link": SECRET}))
        for endpoint in ("a", "b"):
            text = (await call("api_get", settings=settings, endpoint=endpoint)).text
            assert not [form for form in (*forms, slashed) if form in text]


class TokenEndpoint:
    """Gives tokens ``t-1``, ``t-2`` … to the client that it knows; the API takes the newest one only."""

    def __init__(self, api: FarSide, **says: Any) -> None:
        self.given = 0
        self.says = says
        self.url = api.serve("/token", self.give)
        api.serve("/v1/a", self.ask)

    def give(self, asked: Asked, send: Send) -> None:
        self.given += 1
        send(as_json({"access_token": self.token, "token_type": "Bearer", **self.says}))

    def ask(self, asked: Asked, send: Send) -> None:
        if asked.headers.get("authorization") == f"Bearer {self.token}":
            send(as_json({"token": self.token}))
        else:
            send(reply(b"who are you?", status=401))

    @property
    def token(self) -> str:
        return f"token-{self.given}-{SECRET}"

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "auth": "oauth",
            "token_url": self.url,
            "client_id": "marina:1",
            "client_secret": SECRET,
            **more,
        }


@pytest.mark.anyio
async def test_token_is_asked_for_once_and_used_until_it_ends(api: FarSide, call: Call) -> None:
    tokens = TokenEndpoint(api, expires_in=3600)
    settings = tokens.settings(scope="read write")
    got = await asyncio.gather(*(call("api_get", settings=settings, endpoint="a") for _ in range(8)))
    assert [each.structured["status"] for each in got] == [200] * 8
    assert tokens.given == 1
    asked = next(each for each in api.asked if each.path == "/token")
    assert (
        asked.headers["authorization"]
        == "Basic " + b64encode(b"marina%3A1:s3cr3t%2Ft0k3n%2Bwith%3Dsigns").decode()
    )
    assert parse_qs(asked.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["read write"]}
    assert tokens.token not in got[0].text


@pytest.mark.anyio
async def test_client_secret_goes_into_the_body_where_that_is_wanted(api: FarSide, call: Call) -> None:
    tokens = TokenEndpoint(api)
    await call("api_get", settings=tokens.settings(client_auth="body"), endpoint="a")
    asked = next(each for each in api.asked if each.path == "/token")
    assert "authorization" not in asked.headers
    assert parse_qs(asked.body.decode())["client_secret"] == [SECRET]


@pytest.mark.anyio
async def test_token_is_renewed_before_it_ends_and_when_it_is_refused(
    api: FarSide, engine: Engine, source: Callable[..., Source]
) -> None:
    tokens = TokenEndpoint(api, expires_in=100)
    on = source(**tokens.settings(allow_writes=True))
    backend: Any = engine.backend("http")
    state = backend.apis.get(on)
    now = [1_000.0]
    state.signer._clock = lambda: now[0]

    async def status(tool: str = "api_get") -> int:
        got = await engine.execute(on, Operation(tool, {}), {"endpoint": "a"})
        return int(got.structured["status"])

    assert await status() == 200
    now[0] += 89
    assert (await status(), tokens.given) == (200, 1)
    now[0] += 2
    assert (await status(), tokens.given) == (200, 2)
    # Revoked at the other side: the API refuses it, a new one is got, and a write is sent once more.
    tokens.given += 1
    assert (await status("api_post"), tokens.given) == (200, 4)
    tokens.give = lambda asked, send: send(as_json({"access_token": "stale-token", "expires_in": 100}))  # type: ignore[method-assign]
    api.routes["/token"] = tokens.give
    tokens.given += 1
    assert await status() == 401


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(b'{"error": "invalid_client"}', status=401), r"status 401 \(invalid_client\)"),
        (reply(orjson.dumps({"error": f"oops {SECRET}"}), status=400), "status 400. Check"),
        (reply(SECRET.encode(), status=500), "status 500"),
        (reply(SECRET.encode()), "no bearer token"),
        (reply(b'{"access_token": 5}'), "no bearer token"),
        (reply(b'{"access_token": "a\\r\\nb"}'), "no bearer token"),
        (reply(b'{"access_token": "abc", "token_type": "mac"}'), "no bearer token"),
        (reply(b'["x"]'), "no bearer token"),
        (reply(b"x" * 100_000), "larger than 65536 bytes"),
        (reply(status=302, headers={"Location": "http://127.0.0.1:1/"}), "status 302"),
    ],
)
async def test_token_that_is_not_given_is_told_without_quoting_the_answer(
    answer: bytes,
    words: str,
    api: FarSide,
    call: Call,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("servers.execution.backends.http.signing.FAILURE_SECONDS", 60.0)
    tokens = TokenEndpoint(api)
    api.serve("/token", answer)
    settings = tokens.settings()
    fault = await refused("api_get", settings=settings, endpoint="a")
    with pytest.raises(type(fault), match=words):
        raise fault
    assert "token endpoint" in fault.message
    assert SECRET not in fault.message
    # Who comes right after it is told the same, and the endpoint is left in peace.
    await refused("api_get", settings=settings, endpoint="a")
    assert [each.path for each in api.asked] == ["/token"]


REDIRECTS = ["{other}/v1/b", "{other}", "//127.0.0.1:{port}/v1/b", "https://evil.example/", "/v2/b", "../v2", "/",
             "ftp://x/", "http://user:pw@127.0.0.1/v1/b", "http://[", "/v1/%2e%2e/b", "/v1/..%2fb",
             "http:/\\evil.example/",
             "/v1\\..\\x",
             "{same}@evil.example/v1/b", "javascript:alert(1)", "/v1x/b"]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("to", REDIRECTS)
async def test_redirect_elsewhere_is_refused_and_no_secret_goes_there(
    to: str, api: FarSide, refused: Refused
) -> None:
    with far_side() as other:
        location = to.format(other=other.origin, port=other.port, same=api.origin)
        other.serve("/v1/b", give_back)
        api.serve("/v1/a", reply(status=302, headers={"Location": location}))
        api.serve("/v2/b", give_back)
        fault = await refused(
            "api_get", settings={"auth": "bearer", "token": SECRET}, endpoint="a", params={"q": SECRET}
        )
        assert fault.code == "source_redirect"
        assert SECRET not in fault.message
        assert "pw" not in fault.message
        assert not other.asked
        assert [each.path for each in api.asked] == ["/v1/a"]


@pytest.mark.anyio
async def test_redirect_below_the_base_address_is_followed_for_reads_only(
    api: FarSide, call: Call, refused: Refused
) -> None:
    settings = {"auth": "bearer", "token": SECRET, "allow_writes": True}
    api.serve("/v1/a", reply(status=307, headers={"Location": "/v1/b?x=1#y"}))
    api.serve("/v1/b", as_json("there"))
    api.serve("/v1/round", reply(status=301, headers={"Location": "round"}))
    assert (await call("api_get", settings=settings, endpoint="a")).structured["body"] == "there"
    assert api.asked[-1].headers["authorization"] == f"Bearer {SECRET}"
    fault = await refused("api_post", settings=settings, endpoint="a", body=1)
    assert "not sent twice" in fault.message
    fault = await refused("api_get", settings=settings, endpoint="round")
    assert "again and again" in fault.message
    assert len([each for each in api.asked if each.path == "/v1/round"]) == 4


def test_settings_of_another_way_to_sign_in_are_not_kept() -> None:
    stored = clean_settings({"base_url": "https://api.example.com/", "auth": "bearer", "token": "abc"})
    assert (stored["base_url"], stored["token"]) == ("https://api.example.com", "abc")
    assert not stored.keys() & {"password", "client_secret", "client_auth", "username"}
