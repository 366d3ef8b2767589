"""Settings are refused with the place of each fault, show no secret, and a check says in words what is wrong."""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from core.errors import InvalidInput
from servers.execution.backends.http import HttpBackend
from servers.execution.backends.http.settings import clean_settings, read_settings
from servers.execution.contract import Source
from servers.execution.engine import Engine
from tests.farside import Asked, FarSide, Send, reply
from tests.servers.execution.http.conftest import Call, as_json

BASE = {"base_url": "https://api.example.com/v1"}


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({}, "base_url"),
        ({"base_url": 5}, "base_url"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "https://user:pw@x"}, "base_url"),
        ({"base_url": "https://x/?a=b"}, "base_url"),
        ({"base_url": "https://x/../y"}, "base_url"),
        ({"base_url": "https://x/{id}"}, "base_url"),
        ({"base_url": "https://x\r\n/"}, "base_url"),
        ({**BASE, "nonsense": 1}, "nonsense"),
        ({**BASE, "auth": "digest"}, "auth"),
        ({**BASE, "auth": ["none"]}, "auth"),
        ({**BASE, "auth": "bearer"}, "token"),
        ({**BASE, "auth": "bearer", "token": "a b"}, "token"),
        ({**BASE, "auth": "bearer", "token": "a\r\nX: y"}, "token"),
        ({**BASE, "token": "abc"}, "token"),
        ({**BASE, "auth": "api_key", "token": "x", "key_header": "Host"}, "key_header"),
        ({**BASE, "auth": "api_key", "token": "x", "key_header": "a b"}, "key_header"),
        ({**BASE, "auth": "basic", "username": "a:b", "password": "x"}, "username"),
        ({**BASE, "auth": "basic", "username": "a"}, "password"),
        ({**BASE, "auth": "basic", "username": "a", "password": "x\n"}, "password"),
        ({**BASE, "auth": "oauth", "client_id": "a", "client_secret": "b"}, "token_url"),
        ({**BASE, "auth": "oauth", "client_id": "a", "client_secret": "b", "token_url": "x"}, "token_url"),
        ({**BASE, "headers": ["a"]}, "headers"),
        ({**BASE, "headers": {"Authorization": "x"}}, "headers.Authorization"),
        ({**BASE, "headers": {"X-Api-Key": "x"}}, "headers.X-Api-Key"),
        ({**BASE, "headers": {"X-A": "a\r\nb"}}, "headers.X-A"),
        ({**BASE, "headers": {"X-A": "a", "x-a": "b"}}, "headers.x-a"),
        ({**BASE, "endpoints": "x"}, "endpoints"),
        ({**BASE, "endpoints": [5]}, "endpoints.0"),
        ({**BASE, "endpoints": [{"name": "a"}]}, "endpoints.0.path"),
        ({**BASE, "endpoints": [{"path": "/a"}]}, "endpoints.0.name"),
        ({**BASE, "endpoints": [{"name": "a", "path": "/../b"}]}, "endpoints.0.path"),
        ({**BASE, "endpoints": [{"name": "a", "path": "b"}]}, "endpoints.0.path"),
        (
            {**BASE, "endpoints": [{"name": "a", "path": "/b"}, {"name": "a", "path": "/c"}]},
            "endpoints.1.name",
        ),
        ({**BASE, "endpoints": [{"name": "a b", "path": "/b"}]}, "endpoints.0.name"),
        ({**BASE, "endpoints": [{"name": "a", "path": "/b", "method": "TRACE"}]}, "endpoints.0.method"),
        ({**BASE, "endpoints": [{"name": "a", "path": "/b", "x": 1}]}, "endpoints.0.x"),
        ({**BASE, "endpoints": [{"name": f"e{n}", "path": "/b"} for n in range(201)]}, "endpoints"),
        ({**BASE, "allow_writes": "yes"}, "allow_writes"),
        ({**BASE, "health_path": "x"}, "health_path"),
        ({**BASE, "health_path": "/{id}"}, "health_path"),
        ({**BASE, "requests_per_minute": 0}, "requests_per_minute"),
        ({**BASE, "timeout": 31}, "timeout"),
        ({**BASE, "timeout": True}, "timeout"),
        ({**BASE, "max_bytes": 1.5}, "max_bytes"),
        ({**BASE, "pool_max": 21}, "pool_max"),
    ],
)
def test_fault_in_settings_is_named_with_its_place(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        clean_settings(settings)
    assert path in [each["path"] for each in caught.value.errors]
    assert "pw" not in str(caught.value.errors)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_settings({"base_url": "x", "auth": "oauth", "timeout": 99, "nonsense": 1})
    assert [each["path"] for each in caught.value.errors] == [
        "nonsense", "token_url", "client_id", "client_secret", "base_url", "timeout",
    ]  # fmt: skip


def test_secrets_are_not_shown_and_defaults_are_written_out() -> None:
    backend = HttpBackend()
    given = {
        **BASE,
        "auth": "oauth",
        "token_url": "https://id.example.com/t/",
        "client_id": "me",
        "client_secret": "x y",
    }
    stored = backend.clean_settings(given)
    assert (stored["client_secret"], stored["token_url"]) == ("x y", "https://id.example.com/t/")
    assert clean_settings(stored) == stored
    shown = backend.describe_settings(stored)
    assert "client_secret" not in shown
    assert (shown["client_id"], shown["timeout"], shown["allow_writes"]) == ("me", 10, False)
    assert "x y" not in repr(read_settings(stored))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "settings", "state", "words"),
    [
        (200, {}, "healthy", ""),
        (404, {}, "healthy", ""),
        (401, {}, "healthy", ""),
        (401, {"auth": "bearer", "token": "t0ps3cret"}, "unhealthy", "refuses how Marina signs in"),
        (503, {}, "unhealthy", "fault of its own"),
        (200, {"health_path": "/alive"}, "healthy", ""),
        (404, {"health_path": "/alive"}, "degraded", "health_path"),
        (401, {"health_path": "/alive"}, "degraded", "wants somebody signed in"),
    ],
)
async def test_check_says_what_the_answer_means(
    status: int,
    settings: dict[str, Any],
    state: str,
    words: str,
    api: FarSide,
    engine: Engine,
    source: Callable[..., Source],
) -> None:
    path = "/v1" + settings.get("health_path", "")
    api.serve(path, reply(b"t0ps3cret", status=status))
    health = await engine.check(source(**settings))
    assert (health.state, words in health.reason) == (state, True)
    assert "t0ps3cret" not in health.reason
    assert health.latency_ms is not None
    assert [each.path for each in api.asked] == [path]


@pytest.mark.anyio
async def test_check_tells_of_redirects_floods_silence_and_bad_settings(
    api: FarSide, engine: Engine, source: Callable[..., Source]
) -> None:
    api.serve("/v1", reply(status=301, headers={"Location": "https://www.example.com/v1"}))
    health = await engine.check(source())
    assert (health.state, health.code) == ("degraded", "source_redirect")
    assert "https://www.example.com," in health.reason
    api.serve("/v1", reply(b"x" * 2_000_000))
    assert (await engine.check(source())).state == "degraded"

    def be_silent(asked: Asked, send: Send) -> None:
        api.over.wait(30)

    api.serve("/v1", be_silent)
    health = await engine.check(source(timeout=1))
    assert (health.state, health.code) == ("unhealthy", "source_timeout")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    health = await engine.check(source(base_url=f"http://127.0.0.1:{port}"))
    assert (health.state, health.code) == ("unhealthy", "source_unreachable")
    health = await engine.check(source(base_url="nonsense"))
    assert (health.state, health.code) == ("unhealthy", "invalid_input")


@pytest.mark.anyio
async def test_connections_that_rest_are_closed_and_counts_are_kept(
    api: FarSide, engine: Engine, call: Call
) -> None:
    api.serve("/v1/a", as_json(1))
    await call("api_get", endpoint="a")
    backend: Any = engine.backend("http")
    await backend.apis.close_idle(now=monotonic() + 61)
    await call("api_get", endpoint="a")
    assert api.connections == 2
    assert (await call("get_api_stats")).structured["requests"] == 2
    await backend.apis.close_idle(now=monotonic() + 3_700)
    assert len(backend.apis) == 0
