"""What the check asks: pairs of requests whose answers must be the same, and requests that must show nothing foreign.

Made from the routes themselves, so that a route which is added is asked too; one with a parameter that nobody knows a
value for raises ``UncoveredRoute``. Sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from django.urls import URLPattern, URLResolver, get_resolver

from config.isolation.attempt import NO_TEAM, UNKNOWN_UUID, Attempt, Request, UncoveredRoute
from config.isolation.doors import DOORS, knock
from config.isolation.issuers import DOCUMENTS, ENDPOINTS, ask_issuer, still_sound
from config.isolation.teams import CheckedTeam
from servers.endpoint.methods import METHODS

UNKNOWN_NUMBER: Final = "987654321987"
LEGACY: Final = "2025-11-25"
MODERN: Final = "2026-07-28"

HELLO: Final[Mapping[str, Any]] = {
    "protocolVersion": LEGACY,
    "capabilities": {},
    "clientInfo": {"name": "isolation", "version": "1"},
}
"""The parameters of ``initialize``."""

_NUMBERS: Final = frozenset({"member", "membership", "seq"})
_OWN_VALUES: Final[Mapping[str, str]] = {"name": "stats", "number": "1", "other": "1"}
"""Parameters that name nothing of a team's: the versions of each tool are counted from 1."""

_PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_ROOTS: Final = ("api/v1/tenants/<str:tenant>", "app/<str:tenant>/", DOORS, DOCUMENTS, ENDPOINTS)
_OF_NO_TEAM: Final = {".well-known/marina-log-keys"}
REST_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")
PAGE_METHODS: Final = ("GET", "POST")


def covered_routes() -> list[str]:
    """Every route below a team's address: in REST, in the dashboard, at its door, and of its issuer."""
    routes = _walk(get_resolver().url_patterns)
    return [route for route in routes if route.startswith(_ROOTS) and route not in _OF_NO_TEAM]


def make_attempts(asking: CheckedTeam, other: CheckedTeam, session: str) -> Iterator[Attempt]:
    """All that the asking team tries to get of the other one, whose MCP session ``session`` is."""
    for route in covered_routes():
        if route.startswith("api/"):
            yield from _rest(route, asking, other)
        elif route.startswith(DOORS):
            yield from knock(route, asking, other)
        elif route.startswith("app/"):
            yield from _pages(route, asking, other)
        else:
            yield from ask_issuer(route, asking, other)
    yield from _rest_by_token(asking, other)
    for whose, credential in (("key", asking.key), ("access token", asking.held.access)):
        yield from _mcp(asking, other, session, f"our {whose}", credential)
    yield from _other_transports(asking, other)
    for team, far in ((asking, other), (other, asking)):
        own = message(f"/mcp/{team.slug}", team.held.access, "initialize", LEGACY, HELLO)
        yield Attempt(f"OAuth at home of {team.slug}: MCP", own, None, far.marks, expects=200)
    yield from still_sound(asking, other)


def _walk(patterns: Sequence[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    for each in patterns:
        route = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walk(each.url_patterns, route)
        else:
            yield route


def _kind_of(parameter: str) -> str:
    return parameter.removesuffix("_id")


def _fill(route: str, ids: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        kind = _kind_of(found[1])
        if kind in _OWN_VALUES:
            return _OWN_VALUES[kind]
        if kind not in ids:
            raise UncoveredRoute(f"{route}: the check has no value for {found[1]}. Give each team one.")
        return ids[kind]

    return "/" + _PARAMETER.sub(value, route)


def _unknown(tenant: str, known: CheckedTeam) -> dict[str, str]:
    ids = {name: UNKNOWN_NUMBER if name in _NUMBERS else UNKNOWN_UUID for name in known.ids}
    return {**ids, "tenant": tenant}


def _names_a_thing(route: str) -> bool:
    # Numbers of records are counted in each team, so the other's are also one's own.
    kinds = {_kind_of(name) for name in _PARAMETER.findall(route)}
    return bool(kinds - {"tenant", "seq", *_OWN_VALUES})


def _body_of(route: str, method: str) -> Any:
    if method in {"GET", "DELETE"}:
        return None
    return {"role": "viewer"} if "<str:member>" in route else {}


def _rest(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    key, session = {"Authorization": f"Bearer {asking.key}"}, asking.session
    wrong = {"Authorization": f"Bearer {_wrong(asking.key)}"}
    # Whose the foreign ids are, a path says itself: only the address of the team differs here.
    foreign, nobody = _fill(route, other.ids), _fill(route, {**other.ids, "tenant": NO_TEAM})
    swap = ((other.slug, NO_TEAM),)
    for method in REST_METHODS:
        body, name = _body_of(route, method), f"REST {method} {route}"
        at_other = Request(method, foreign, key, body=body)
        yield Attempt(
            f"{name}: our key at their address", at_other, replace(at_other, headers=wrong), (), swap
        )
        yield Attempt(f"{name}: our key at their address", at_other, replace(at_other, path=nobody), (), swap)
        by_session = Request(method, foreign, session=session, body=body)
        yield Attempt(
            f"{name}: our session at their address", by_session, replace(by_session, path=nobody), (), swap
        )
        if _names_a_thing(route):
            ours = Request(method, _fill(route, {**other.ids, "tenant": asking.slug}), key, body=body)
            like = replace(ours, path=_fill(route, _unknown(asking.slug, other)))
            yield Attempt(f"{name}: their id at our address", ours, like, (), _ids(other))
    own = Request("GET", _fill(route, asking.ids), key)
    yield Attempt(f"REST GET {route}: what is ours", own, None, other.marks)


def _rest_by_token(asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    """REST takes no access token at all, so one address stands for the others."""
    token, path = asking.held.access, f"/api/v1/tenants/{other.slug}/servers"
    at_other = Request("GET", path, {"Authorization": f"Bearer {token}"})
    like = replace(at_other, headers={"Authorization": f"Bearer {_wrong(token)}"})
    yield Attempt("REST GET servers: our access token at their address", at_other, like, other.marks)


def _wrong(credential: str) -> str:
    return f"{credential[:-6]}zzzzzz"


def _pages(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    foreign, nobody = _fill(route, other.ids), _fill(route, {**other.ids, "tenant": NO_TEAM})
    swap = ((other.slug, NO_TEAM),)
    for method in PAGE_METHODS:
        # Enough of a form for an id to be looked up at all.
        form = {"role": "viewer"} if method == "POST" else None
        name = f"page {method} {route}"
        at_other = Request(method, foreign, session=asking.session, form=form)
        yield Attempt(
            f"{name}: our session at their address", at_other, replace(at_other, path=nobody), (), swap
        )
        if _names_a_thing(route):
            path = _fill(route, {**other.ids, "tenant": asking.slug})
            ours = Request(method, path, session=asking.session, form=form)
            like = replace(ours, path=_fill(route, _unknown(asking.slug, other)))
            yield Attempt(f"{name}: their id at our address", ours, like, (), _ids(other))
    own = Request("GET", _fill(route, asking.ids), session=asking.session)
    yield Attempt(f"page GET {route}: what is ours", own, None, other.marks)


def _ids(team: CheckedTeam) -> tuple[tuple[str, str], ...]:
    """The ids of the other team's things become unknown ones."""
    unknown = _unknown("", team)
    pairs = [(value, unknown[name]) for name, value in team.ids.items() if name not in {"tenant", "seq"}]
    # The longest first: a short number may stand inside of another.
    return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))


def _mcp(
    asking: CheckedTeam, other: CheckedTeam, session: str, credential: str, key: str
) -> Iterator[Attempt]:
    wrong = _wrong(key)
    swap, unknown = ((other.slug, NO_TEAM),), ((other.slug, NO_TEAM), (session, session[::-1]))
    server, here = other.names["server"], f"/mcp/{asking.slug}"
    for method, version in _methods():
        name, params = f"MCP {method} ({version})", _params_of(method, other.names)
        at_other = message(f"/mcp/{other.slug}", key, method, version, params)
        like = message(f"/mcp/{other.slug}", wrong, method, version, params)
        nowhere = message(f"/mcp/{NO_TEAM}", key, method, version, params)
        yield Attempt(f"{name}: {credential} at their URL", at_other, like, (), swap)
        if key == asking.key:
            # A token is unknown at either address, and too many unknown ones would lock the check out.
            yield Attempt(f"{name}: {credential} at their URL", at_other, nowhere, (), swap)
        named = message(f"{here}/{server}", key, method, version, params)
        absent = message(f"{here}/{server.replace(other.slug, NO_TEAM)}", key, method, version, params)
        yield Attempt(
            f"{name}: {credential}, the name of their server at our URL", named, absent, (), unknown
        )
        if method == "subscriptions/listen":
            # It would stand open.
            continue
        ours = message(here, key, method, version, params)
        strange = {each: text.replace(other.slug, NO_TEAM) for each, text in other.names.items()}
        absent = message(here, key, method, version, _params_of(method, strange))
        yield Attempt(
            f"{name}: {credential}, what is theirs, by its name", ours, absent, other.marks, unknown
        )
        if version == LEGACY and method != "initialize":
            joined = message(here, key, method, version, params, session=session)
            absent = message(here, key, method, version, params, session=session[::-1])
            yield Attempt(f"{name}: {credential} in their session", joined, absent, (), unknown)


def _other_transports(asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    for method, path in (("GET", "sse"), ("POST", "messages"), ("GET", "ws"), ("DELETE", "")):
        headers = {"Authorization": f"Bearer {asking.key}", "Accept": "text/event-stream, */*"}
        wrong = {**headers, "Authorization": f"Bearer {_wrong(asking.key)}"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"} if method == "POST" else None
        at_other = Request(method, f"/mcp/{other.slug}/{path}".rstrip("/"), headers, body=body)
        name = f"MCP {method} /{path}: our key at their URL"
        yield Attempt(name, at_other, replace(at_other, headers=wrong), ())


def _methods() -> Iterator[tuple[str, str]]:
    for method, known in METHODS.items():
        if known.legacy:
            yield method, LEGACY
        if known.modern:
            yield method, MODERN


def _params_of(method: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Parameters that name what a team has, where the method names anything."""
    if method == "initialize":
        return dict(HELLO)
    if method == "logging/setLevel":
        return {"level": "error"}
    if method == "subscriptions/listen":
        return {"notifications": {}}
    if method == "completion/complete":
        ref = {"type": "ref/resource", "uri": names["resource"]}
        return {"ref": ref, "argument": {"name": "x", "value": ""}}
    if method.startswith("resources/") and not method.endswith("list"):
        return {"uri": names["resource"]}
    if method in {"tools/call", "prompts/get"}:
        return {"name": names["tool" if method == "tools/call" else "prompt"]}
    return {}


def message(
    path: str, key: str, method: str, version: str, params: Mapping[str, Any], *, session: str = ""
) -> Request:
    """One MCP request as a client of this revision sends it."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
    }
    if session:
        headers["Mcp-Session-Id"] = session
    sent = dict(params)
    if version == MODERN:
        headers["Mcp-Method"] = method
        name = sent.get("name") or sent.get("uri")
        if isinstance(name, str) and method in {"tools/call", "prompts/get", "resources/read"}:
            headers["Mcp-Name"] = name
        sent["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientInfo": {"name": "isolation", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": sent}
    return Request("POST", path, headers, body=body)
