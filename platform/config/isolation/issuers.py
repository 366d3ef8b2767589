"""What the check asks of the issuers: with each thing of OAuth that one team has, at each of their addresses.

A team's metadata, and that it has an issuer, is for anyone to read; so what is compared here is another team's client,
code, token or secret with an unknown one at the same address. Sends nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from config.isolation.attempt import NO_TEAM, Attempt, Request, UncoveredRoute
from config.isolation.holdings import SCOPE, Holdings, authorization_request
from config.isolation.teams import CheckedTeam
from tenants.oauth_addresses import resource

DOCUMENTS: Final = ".well-known/"
ENDPOINTS: Final = "oauth/"

Words = tuple[tuple[str, str], ...]


def ask_issuer(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    """All that is asked of one address of OAuth. Raises ``UncoveredRoute``."""
    if DOCUMENTS in route:
        yield from _document(route, asking, other)
    elif route == "oauth/<str:tenant>/authorize":
        yield from _authorize(route, asking, other)
    elif route == "oauth/<str:tenant>/token":
        for at, far in ((asking, other), (other, asking)):
            yield from _token(route, at, far)
    elif route == "oauth/<str:tenant>/revoke":
        for at, far in ((asking, other), (other, asking)):
            yield from _revoke(route, at, far)
    elif route == "oauth/<str:tenant>/introspect":
        yield from _introspect(route, asking, other)
    elif route == "oauth/<str:tenant>/register":
        yield from _register(route, asking, other)
    else:
        raise UncoveredRoute(f"{route}: the check does not know what to ask here. Say it in issuers.py.")


def still_sound(asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    """That each team's own things work at home: so they were worth trying, and trying them has ended none.

    Comes last of all, for it uses them up.
    """
    for team, far in ((asking, other), (other, asking)):
        own, hidden = team.held, (*far.marks, *far.held.secrets)
        name = f"OAuth at home of {team.slug}"
        asked = _introspection(team, own.introspection, own.access)
        yield Attempt(f"{name}: the access token", asked, None, hidden, expects=200)
        asked = _form(team, "token", _code(own, own, team.slug))
        yield Attempt(f"{name}: the code", asked, None, hidden, expects=200)
        asked = _form(team, "token", _refresh(own, own, team.slug))
        yield Attempt(f"{name}: the refresh token", asked, None, hidden, expects=200)
        asked = _form(team, "token", _service(team.slug), _basic(own.service_id, own.service_secret))
        yield Attempt(f"{name}: the client's secret", asked, None, hidden, expects=200)
        form = {"request": own.request, "decision": "deny"}
        asked = Request("POST", f"/oauth/{team.slug}/authorize", session=team.session, form=form)
        yield Attempt(f"{name}: the request that waits", asked, None, hidden, expects=303)


def _document(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    name = f"OAuth GET {route}"
    key = {"Authorization": f"Bearer {asking.key}"}
    token = {"Authorization": f"Bearer {asking.held.access}"}
    theirs = Request("GET", _filled(route, other.slug, other.names["server"]))
    for whose, asked, like in (
        ("key", replace(theirs, headers=key), theirs),
        ("access token", replace(theirs, headers=token), theirs),
        ("session", replace(theirs, session=asking.session), replace(theirs, session=_nobodys(asking))),
    ):
        yield Attempt(f"{name}: our {whose} at their address", asked, like, other.held.secrets)
    if "<str:server>" in route:
        no_server = other.names["server"].replace(other.slug, NO_TEAM)
        words = ((other.names["server"], no_server),)
        for at in (other, asking):
            asked = Request("GET", _filled(route, at.slug, other.names["server"]), session=asking.session)
            like = replace(asked, path=_filled(route, at.slug, no_server))
            yield Attempt(f"{name}: the name of their server", asked, like, (), words)
    if "<path:rest>" in route:
        like = replace(theirs, path=_filled(route, NO_TEAM, ""))
        yield Attempt(f"{name}: their name", theirs, like, (), _swap(other))
    own = Request("GET", _filled(route, asking.slug, asking.names["server"]), session=asking.session)
    expects = 200 if "<str:tenant>" in route else 404
    yield Attempt(f"{name}: what is ours", own, None, (*other.marks, *other.held.secrets), expects=expects)


def _filled(route: str, slug: str, server: str) -> str:
    path = route.replace("<str:tenant>", slug).replace("<str:server>", server).replace("<path:rest>", slug)
    if "<" in path:
        raise UncoveredRoute(f"{route}: the check has no value for all of it. Give it one in issuers.py.")
    return f"/{path}"


def _authorize(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    name, session, own, words = f"OAuth {route}", asking.session, asking.held, _swap(other)
    nobody = other.held.unknown(other.slug)

    def get(slug: str, parameters: Mapping[str, str]) -> Request:
        return Request("GET", f"/oauth/{slug}/authorize?{urlencode(parameters)}", session=session)

    for whose, team in (("their", other), ("our", asking)):
        query = authorization_request(other.slug, team.held)
        at_other, nowhere = get(other.slug, query), get(NO_TEAM, query)
        yield Attempt(
            f"{name}: our session and {whose} client at their address", at_other, nowhere, (), words
        )
        for credential in (asking.key, own.access):
            bearer = {"Authorization": f"Bearer {credential}"}
            asked = replace(at_other, session="", headers=bearer)
            like = replace(nowhere, session="", headers=bearer)
            yield Attempt(f"{name}: our credential and {whose} client", asked, like, (), words)
        form = {"request": team.held.request, "decision": "allow", "scopes": SCOPE}
        asked = Request("POST", f"/oauth/{other.slug}/authorize", session=session, form=form)
        like = replace(asked, path=f"/oauth/{NO_TEAM}/authorize")
        yield Attempt(f"{name}: {whose} request that waits, at their address", asked, like, (), words)
    for what, changes, likes in (
        ("client", {"client_id": other.held.client_id}, {"client_id": nobody.client_id}),
        ("redirect URI", {"redirect_uri": other.held.redirect_uri}, {"redirect_uri": nobody.redirect_uri}),
        ("resource", {"resource": resource(other.slug)}, {"resource": resource(NO_TEAM)}),
        (
            "server",
            {"resource": resource(asking.slug, other.names["server"])},
            {"resource": resource(asking.slug, other.names["server"].replace(other.slug, NO_TEAM))},
        ),
    ):
        asked = get(asking.slug, authorization_request(asking.slug, own, **changes))
        like = get(asking.slug, authorization_request(asking.slug, own, **likes))
        yield Attempt(f"{name}: their {what} at our address", asked, like, other.marks, words)
    whole = get(asking.slug, authorization_request(asking.slug, other.held))
    like = get(asking.slug, authorization_request(asking.slug, nobody))
    yield Attempt(f"{name}: their client and redirect URI at our address", whole, like, other.marks, words)
    form = {"request": other.held.request, "decision": "allow", "scopes": SCOPE}
    asked = Request("POST", f"/oauth/{asking.slug}/authorize", session=session, form=form)
    like = replace(asked, form={**form, "request": nobody.request})
    yield Attempt(f"{name}: their request that waits, at our address", asked, like, other.marks, words)
    ours = get(asking.slug, authorization_request(asking.slug, own))
    yield Attempt(f"{name}: what is ours", ours, None, (*other.marks, *other.held.secrets), expects=200)


def _token(route: str, at: CheckedTeam, far: CheckedTeam) -> Iterator[Attempt]:
    here, there, nobody, words = at.held, far.held, far.held.unknown(far.slug), _swap(far)
    # Whose client, and whose code or token: of the team that is asked (or unknown in its place), or of the other.
    for what, client, holder, no_client, no_holder in (
        ("all of it", there, there, nobody, nobody),
        ("code or token", here, there, here, nobody),
        ("client", there, here, nobody, here),
    ):
        name = f"OAuth POST {route} of {at.slug}, of {far.slug} the {what}"
        for grant in (_code, _refresh):
            asked = _form(at, "token", grant(client, holder, at.slug))
            like = _form(at, "token", grant(no_client, no_holder, at.slug))
            yield Attempt(f"{name}: {grant.__name__[1:]}", asked, like, there.secrets, words)
        basic = _form(at, "token", _service(at.slug), _basic(client.service_id, holder.service_secret))
        like = _form(at, "token", _service(at.slug), _basic(no_client.service_id, no_holder.service_secret))
        yield Attempt(f"{name}: client's secret", basic, like, there.secrets, words)
    posted = {"client_id": there.service_id, "client_secret": there.service_secret}
    strange = {"client_id": nobody.service_id, "client_secret": nobody.service_secret}
    asked = _form(at, "token", {**_service(at.slug), **posted})
    like = _form(at, "token", {**_service(at.slug), **strange})
    yield Attempt(f"OAuth POST {route} of {at.slug}: {far.slug}'s secret, posted", asked, like, (), words)
    asked = _form(at, "token", _refresh(there, there, far.slug))
    like = _form(at, "token", _refresh(nobody, nobody, NO_TEAM))
    yield Attempt(f"OAuth POST {route} of {at.slug}: {far.slug}'s resource", asked, like, (), words)


def _revoke(route: str, at: CheckedTeam, far: CheckedTeam) -> Iterator[Attempt]:
    here, there, nobody = at.held, far.held, far.held.unknown(far.slug)
    name = f"OAuth POST {route} of {at.slug}: {far.slug}'s"
    for what, token, unknown in (
        ("access token", there.access, nobody.access),
        ("refresh token", there.refresh, nobody.refresh),
    ):
        for whose, client, no_client in (("our", here, here), ("their", there, nobody)):
            asked = _form(at, "revoke", {"client_id": client.client_id, "token": token})
            like = _form(at, "revoke", {"client_id": no_client.client_id, "token": unknown})
            yield Attempt(f"{name} {what}, {whose} client", asked, like, (), _swap(far))
        basic = _basic(there.service_id, there.service_secret)
        asked = _form(at, "revoke", {"token": token}, basic)
        like = _form(at, "revoke", {"token": unknown}, _basic(nobody.service_id, nobody.service_secret))
        yield Attempt(f"{name} {what}, by their client's secret", asked, like, (), _swap(far))


def _introspect(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    own, there, nobody = asking.held, other.held, other.held.unknown(other.slug)
    name, hidden = f"OAuth POST {route}", (*other.marks, there.client_id)
    for what, token, unknown in (
        ("access token", there.access, nobody.access),
        ("refresh token", there.refresh, nobody.refresh),
        ("code", there.code, nobody.code),
    ):
        asked = _introspection(asking, own.introspection, token)
        like = _introspection(asking, own.introspection, unknown)
        yield Attempt(f"{name}: their {what} at our address", asked, like, hidden, _swap(other))
    for whose, secret in (
        ("resource server's secret", own.introspection),
        ("client's secret", own.service_secret),
        ("access token", own.access),
        ("key", asking.key),
    ):
        asked = _introspection(other, secret, there.access)
        like = _introspection(other, nobody.introspection, there.access)
        yield Attempt(f"{name}: our {whose} at their address", asked, like, hidden)
    asked = replace(_introspection(other, "", there.access), headers={}, session=asking.session)
    like = replace(asked, session=_nobodys(asking))
    yield Attempt(f"{name}: our session at their address", asked, like, hidden)


def _register(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    own, there, nobody = asking.held, other.held, other.held.unknown(other.slug)
    words, path = _swap(other), f"/oauth/{other.slug}/register"
    name, ours = f"OAuth {route}", f"/oauth/{asking.slug}/register"
    # Registering is open to anyone, so what tells is an unsound request, and what would read or change a client.
    for method in ("POST", "GET", "PUT", "DELETE"):
        body = None if method == "GET" else {"client_id": there.client_id, "redirect_uris": []}
        unknown = None if method == "GET" else {"client_id": nobody.client_id, "redirect_uris": []}
        secret = {"Authorization": f"Bearer {there.service_secret}"}
        strange = {"Authorization": f"Bearer {nobody.service_secret}"}
        asked = Request(method, ours, secret, body=body)
        like = Request(method, ours, strange, body=unknown)
        yield Attempt(f"{name} {method}: their client at our address", asked, like, there.secrets, words)
        bare = Request(method, path, body=body)
        for whose, by, like in (
            ("key", replace(bare, headers={"Authorization": f"Bearer {asking.key}"}), bare),
            ("access token", replace(bare, headers={"Authorization": f"Bearer {own.access}"}), bare),
            ("session", replace(bare, session=asking.session), replace(bare, session=_nobodys(asking))),
        ):
            yield Attempt(f"{name} {method}: our {whose} at their address", by, like, there.secrets, words)
    metadata = {"client_id": there.client_id, "redirect_uris": [own.redirect_uri], "client_name": "Isolation"}
    asked = Request("POST", ours, body=metadata)
    yield Attempt(f"{name} POST: as their client", asked, None, (*other.marks, there.client_id), expects=201)


def _nobodys(asking: CheckedTeam) -> str:
    """A session that there is not: an answer to any says that it depends on the cookie."""
    return asking.session[::-1]


def _swap(team: CheckedTeam) -> Words:
    return ((team.slug, NO_TEAM),)


def _code(client: Holdings, holder: Holdings, slug: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "client_id": client.client_id,
        "code": holder.code,
        "code_verifier": holder.verifier,
        "redirect_uri": holder.redirect_uri,
        "resource": resource(slug),
    }


def _refresh(client: Holdings, holder: Holdings, slug: str) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "client_id": client.client_id,
        "refresh_token": holder.refresh,
        "resource": resource(slug),
    }


def _service(slug: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "resource": resource(slug)}


def _basic(client_id: str, secret: str) -> dict[str, str]:
    pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _introspection(team: CheckedTeam, secret: str, token: str) -> Request:
    return _form(team, "introspect", {"token": token}, {"Authorization": f"Bearer {secret}"})


def _form(
    team: CheckedTeam, endpoint: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> Request:
    return Request("POST", f"/oauth/{team.slug}/{endpoint}", headers or {}, form=form)
