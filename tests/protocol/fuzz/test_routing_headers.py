"""Headers that repeat the body must agree with it, versions must be served, and Host and Origin must be ours."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.plugins.live_marina import LiveMarina
from tests.protocol.fuzz.judge import Secrets, check
from tests.protocol.fuzz.wire import SECONDS, Answer, Request, Target, raw_socket
from tests.protocol.wireclient import LEGACY, MODERN

UNKNOWN = ("2099-01-01", "2024-10-07", "DRAFT-2026-v1", "1.0", "x", "2026-07-28 ,2025-11-25")
FOREIGN = "evil.example"


def post(target: Target, request: Request) -> Answer:
    with target.connect() as connection:
        answer = connection.post(target, request)
    check(request, answer, Secrets(target.key))
    return answer


def b64(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return f"=?base64?{base64.b64encode(raw).decode()}?="


CALL = ("tools/call", {"name": "test_x_mcp_header", "arguments": {"region": "eu"}})


@pytest.fixture
def call(target: Target) -> Request:
    return target.modern(*CALL).but(mcp_param_region="eu")


@pytest.mark.parametrize("header", ["mcp-method", "mcp-name", "mcp-param-region", "mcp-protocol-version"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "other",
        "tools/CALL",
        "2025-11-25",
        b64("other"),
        b64(b"\xff\xfe"),
        b64("tools/call\0"),
        "=?base64?!!?=",
        "=?base64??=",
        "=?base64?dG9vbHMvY2FsbA",
        "tools/call,tools/call",
        "x" * 8_000,
        b"\xe2\x82\xac",
    ],
)
def test_header_that_disagrees_with_the_body_is_refused(
    target: Target, call: Request, header: str, value: str | bytes | None
) -> None:
    answer = post(target, call.but(**{header: value}))
    assert answer.status == 400
    assert answer.error["code"] in ({-32020, -32022} if header == "mcp-protocol-version" else {-32020})


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp_name": b64("test_x_mcp_header")},
        {"mcp_param_region": b64("eu")},
        {"mcp_name": " test_x_mcp_header "},
    ],
)
def test_encoded_form_counts_as_what_it_stands_for(target: Target, call: Request, headers: Any) -> None:
    assert post(target, call.but(**headers)).json["result"]["isError"] is False


@pytest.mark.parametrize("same", [True, False], ids=["same value", "another value"])
@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Origin", "Authorization", "Content-Type", "Content-Encoding", "MCP-Protocol-Version"),
        *("Mcp-Method", "Mcp-Name", "Mcp-Session-Id", "Mcp-Param-Region", "Last-Event-ID", "X-Request-ID"),
    ],
)
def test_single_header_that_stands_twice_is_refused_in_any_case(
    target: Target, call: Request, name: str, same: bool
) -> None:
    value = next((value for given, value in call.headers if given.lower() == name.lower()), b"identity")
    first = [] if any(given.lower() == name.lower() for given, _ in call.headers) else [(name, value)]
    doubled = replace(call, headers=[*call.headers, *first, (name.swapcase(), value if same else b"x")])
    answer = post(target, doubled)
    assert answer.status == 400
    assert "more than once" in answer.error["message"]
    assert answer.error["code"] == (-32020 if name.lower().startswith("mcp-") else 400)


@pytest.mark.parametrize("version", UNKNOWN)
@pytest.mark.parametrize("place", ["header", "envelope", "both"])
def test_version_that_is_not_served_is_told_with_those_that_are(
    target: Target, version: str, place: str
) -> None:
    meta: dict[str, Any] = {} if place == "header" else {"io.modelcontextprotocol/protocolVersion": version}
    request = target.modern("tools/list", **meta)
    if place != "envelope":
        request = request.but(mcp_protocol_version=version)
    answer = post(target, request)
    assert answer.status == 400
    if place != "both":
        assert answer.error["code"] in {-32020, -32022}
        return
    assert answer.error["code"] == -32022
    assert MODERN in answer.error["data"]["supported"]
    assert answer.error["data"]["requested"] == version


@pytest.mark.parametrize("version", UNKNOWN)
@pytest.mark.parametrize("method", ["ping", "notifications/initialized", "tools/list"])
def test_unknown_version_in_the_header_alone_is_told_too(target: Target, version: str, method: str) -> None:
    request = target.legacy(method).but(mcp_protocol_version=version)
    if method.startswith("notifications/"):
        request = replace(request, body=json.dumps({"jsonrpc": "2.0", "method": method}).encode())
    answer = post(target, request)
    assert (answer.status, answer.error["code"]) == (400, -32022)
    assert MODERN in answer.error["data"]["supported"]


@pytest.mark.parametrize("version", UNKNOWN)
def test_initialize_with_an_unknown_version_agrees_on_the_latest(target: Target, version: str) -> None:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "f", "version": "1"}}
    answer = post(target, target.legacy("initialize", params).but(mcp_protocol_version=None))
    assert answer.json["result"]["protocolVersion"] == LEGACY[0]


def test_compressed_bodies_are_refused_with_what_is_taken(target: Target) -> None:
    for coding in ("gzip", "br", "identity, gzip", "GZIP", "aws-chunked"):
        answer = post(target, target.legacy("ping").but(content_encoding=coding))
        assert (answer.status, answer.error["data"]["code"]) == (415, "content_encoding_not_supported")
        assert answer.headers["Accept-Encoding"] == "identity"
    assert post(target, target.legacy("ping").but(content_encoding="identity")).json["result"] == {}


def paths(patterns: Any = None, before: str = "/") -> list[str]:
    """Each path that Django serves, its parameters filled in."""
    found = []
    for each in get_resolver().url_patterns if patterns is None else patterns:
        route = str(each.pattern).lstrip("^").rstrip("$")
        parts = [part.split(">", 1) for part in route.split("<")]
        path = before + parts[0][0] + "".join(f"1{rest}" for _, rest in parts[1:])
        if isinstance(each, URLResolver):
            found += paths(each.url_patterns, path)
        elif isinstance(each, URLPattern):
            found.append(path)
    return sorted(set(found))


WELL_KNOWN = (
    *("/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp/x"),
    *("/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/oauth/x"),
    *("/.well-known/openid-configuration", "/.well-known/mcp.json", "/.well-known/", "/oauth/x/token"),
    *("/health", "/ready", "/metrics", "/", "/nowhere", "/static/x", "/favicon.ico", "/robots.txt"),
)


def test_foreign_host_gets_nothing_on_any_path(target: Target) -> None:
    places = [*paths(), *WELL_KNOWN]
    assert len(places) > 40
    with target.connect() as connection:
        for path in places:
            for method in ("GET", "POST"):
                for host in (FOREIGN, f"{FOREIGN}:{target.port}", f"127.0.0.1:{target.port}@{FOREIGN}", ""):
                    request = Request(b"{}", target.basic(), method=method, path=path).but(host=host)
                    answer = connection.post(target, request)
                    shown = (method, path, host, answer.status, answer.body[:200])
                    assert answer.status in {400, 403, 404}, shown
                    assert FOREIGN.encode() not in answer.body, shown
                    assert FOREIGN not in str(answer.headers), shown


def test_foreign_origin_changes_nothing_and_reads_nothing_on_any_path(target: Target) -> None:
    with target.connect() as connection:
        for path in [*paths(), *WELL_KNOWN, target.path]:
            for method in ("GET", "POST", "OPTIONS"):
                for origin in (f"https://{FOREIGN}", "null"):
                    request = Request(b"{}", target.basic(), method=method, path=path)
                    if path != target.path:
                        # As a browser would: a page of another origin has no key.
                        request = request.but(authorization=None)
                    answer = connection.post(target, request.but(origin=origin))
                    shown = (method, path, origin, answer.status, answer.body[:200])
                    assert answer.status < 500, shown
                    # What OAuth shows to programs it shows to all alike, and takes no cookie for it.
                    is_open = path.startswith(
                        ("/.well-known/oauth-", "/.well-known/openid-configuration", "/oauth/")
                    )
                    allowed = answer.headers.get("Access-Control-Allow-Origin")
                    assert allowed is None or (is_open and allowed == "*"), shown
                    assert "Access-Control-Allow-Credentials" not in answer.headers, shown
                    assert FOREIGN.encode() not in answer.body, shown
                    if method == "POST":
                        assert answer.status in {400, 401, 403, 404, 405}, shown
                    if path == target.path:
                        assert answer.status == 403, shown


@pytest.mark.parametrize("path", ["", "/sse", "/messages", "/default", "/default/sse", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("header", ["host", "origin"])
def test_foreign_names_are_refused_on_each_path_of_the_endpoint(
    target: Target, path: str, method: str, header: str
) -> None:
    value = FOREIGN if header == "host" else f"https://{FOREIGN}"
    request = Request(b"{}", target.basic(), method=method, path=target.path + path)
    for each in (request, request.but(authorization=None)):
        answer = post(target, each.but(**{header: value}))
        assert (answer.status, answer.error["data"]["code"]) == (403, f"{header}_not_allowed")


@pytest.mark.parametrize("path", ["/mcp/{team}/ws", "/mcp/{team}/default/ws", "/ws/1/", "/"])
def test_foreign_names_open_no_websocket(web: LiveMarina, target: Target, path: str) -> None:
    own = f"127.0.0.1:{target.port}"
    for host, origin in ((FOREIGN, None), (own, f"https://{FOREIGN}"), (own, "null")):
        with raw_socket(target.port) as raw, pytest.raises(InvalidStatus) as refused:
            connect(
                f"ws://{host}{path.format(team=target.team)}",
                sock=raw,
                origin=None if origin is None else Origin(origin),
                additional_headers={"Authorization": f"Bearer {target.key}"},
                proxy=None,
                open_timeout=SECONDS,
            )
        response = refused.value.response
        assert response.status_code in {403, 404}
        assert FOREIGN.encode() not in (response.body or b"")
        if path.startswith("/mcp"):
            assert json.loads(response.body or b"")["error"]["code"] == 403
            assert response.headers["X-Request-ID"]
