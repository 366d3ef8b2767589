"""Takes down what an OAuth client meets at the endpoint: challenges, refused tokens, and a token's first call.

Only where a request is refused, or its credential was looked up: a call whose grant is held never comes by here.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from core.errors import Forbidden, Unauthenticated, Unavailable
from core.signedtokens import looks_signed
from servers.services.grants import GrantCache
from tenants.access import Caller, key_digest
from tenants.models import SLUG_PATTERN
from tenants.oauth_steps import Kind, Step, id_of_call
from tenants.tokens import ACCESS_PREFIX, REFRESH_PREFIX

if TYPE_CHECKING:
    from servers.endpoint.visit import Visit

_WELL_KNOWN: Final = "/.well-known/"
_SLUG: Final = re.compile(SLUG_PATTERN)
_OF_QUERY: Final = (b"access_token=", b"token=")
_OURS: Final = frozenset({"token_expired", "token_revoked", "token_audience"})
"""Refusals of tokens that this team's issuer has made."""


async def note_refusal(visit: Visit, authorization: bytes | None, refusal: Unauthenticated) -> None:
    """A request that got a 401, unless it came with an API key."""
    token = _token_of(authorization)
    # Refused as a token: its issuer was asked, or it was read.
    sent = _name_of(token, outside=refusal.code.startswith("token_"))
    if token is not None and not sent:
        return
    runtime = visit.parts.runtime
    tenant_id = await runtime.tenants.get(visit.tenant_slug)
    if tenant_id is None:
        return
    query: bytes = visit.scope.get("query_string") or b""
    in_query = token is None and any(name in query for name in _OF_QUERY)
    step = _step(
        visit,
        Kind.CALL if sent or in_query else Kind.CHALLENGE,
        ok=False,
        status=401,
        code="token_in_query" if in_query else refusal.code,
        told=refusal.message,
        asked={"credential": sent or ("in the address" if in_query else "none")},
        why=_why_of(token),
        grant=_grant_of(runtime.grants, token, visit.tenant_slug) if refusal.code in _OURS else "",
        known=refusal.code in _OURS,
    )
    runtime.oauth_steps.note(tenant_id, step)


def note_call(visit: Visit, authorization: bytes | None, caller: Caller) -> None:
    """The first call of an access token, of whichever issuer: the end of a connection that works."""
    token = _token_of(authorization)
    sent = _name_of(token, outside=caller.issuer_id is not None)
    if token is None or not sent:
        return
    notes, digest = visit.parts.runtime.oauth_steps, key_digest(token)
    if notes.is_first_call(digest):
        step = _step(
            visit,
            Kind.CALL,
            ok=True,
            status=200,
            asked={"credential": sent},
            grant=str(caller.credential_id),
            known=True,
            step_id=id_of_call(digest, caller.tenant_id),
        )
        notes.note(caller.tenant_id, step)


def note_missing_scopes(visit: Visit, error: Forbidden) -> None:
    """A 403 that names the scopes which an access token lacks."""
    token = _token_of(visit.headers.get(b"authorization"))
    needed = error.data.get("needed_scopes")
    if token is None or not token.startswith(ACCESS_PREFIX) or not isinstance(needed, Iterable):
        return
    step = _step(
        visit,
        Kind.CALL,
        ok=False,
        status=403,
        code="insufficient_scope",
        told=error.message,
        asked={"credential": _name_of(token), "scopes needed": " ".join(map(str, needed))},
        grant=str(visit.caller.credential_id),
        known=True,
    )
    visit.parts.runtime.oauth_steps.note(visit.caller.tenant_id, step)


async def note_misplaced(visit: Visit) -> None:
    """Metadata that was looked for below the server's own path."""
    path: str = visit.scope.get("path", "")
    if _WELL_KNOWN not in path:
        return
    slug = path.removeprefix("/mcp/").partition("/")[0]
    runtime = visit.parts.runtime
    if not _SLUG.fullmatch(slug) or not runtime.writer.accepting:
        return
    tenant_id = None
    with contextlib.suppress(Unavailable):
        tenant_id = await runtime.tenants.get(slug)
    if tenant_id is not None:
        step = _step(visit, Kind.MISPLACED, ok=False, status=404, code="nothing_here")
        runtime.oauth_steps.note(tenant_id, step)


def _step(
    visit: Visit,
    kind: Kind,
    *,
    ok: bool,
    status: int,
    asked: dict[str, str] | None = None,
    step_id: str = "",
    **facts: Any,
) -> Step:
    scope = visit.scope
    return Step(
        kind=kind,
        at=time.time(),
        ok=ok,
        status=status,
        asked={"request": f"{scope.get('method', '')} {scope.get('path', '')}".strip(), **(asked or {})},
        address=visit.address(),
        agent=visit.headers.get(b"user-agent", b"").decode("latin-1"),
        server=visit.server_slug,
        id=step_id,
        **facts,
    )


def _token_of(authorization: bytes | None) -> str | None:
    scheme, _, token = (authorization or b"").partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" and token.strip() else None


def _name_of(token: str | None, *, outside: bool = False) -> str:
    """What kind of token it is; empty: an API key, or nothing that an issuer makes.

    ``outside`` is for what an outside issuer was asked about: such a token may look like anything.
    """
    if token is None:
        return ""
    if token.startswith(ACCESS_PREFIX):
        return "an access token"
    if token.startswith(REFRESH_PREFIX):
        return "a refresh token"
    return "a token of another issuer" if outside or (token.startswith("eyJ") and looks_signed(token)) else ""


def _why_of(token: str | None) -> str:
    return "refresh_token_as_access" if token is not None and token.startswith(REFRESH_PREFIX) else ""


def _grant_of(grants: GrantCache, token: str | None, tenant_slug: str) -> str:
    caller = None if token is None else grants.peek(token, tenant_slug)
    return "" if caller is None else str(caller.credential_id)
