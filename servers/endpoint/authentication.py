"""From the Authorization header to a caller of this tenant, and how a refusal is worded on the wire.

A key of another tenant, a key at a tenant that does not exist, and an unknown key get the same answer, byte for
byte but for the request id. Sources: RFC 6750 (Bearer), RFC 9110 section 11, MCP authorization.
"""

from __future__ import annotations

import logging
from typing import Final

from core.challenges import quotable
from core.errors import RateLimited, Unauthenticated
from servers.services.reasons import log_unavailable
from servers.services.runtime import Runtime
from servers.services.visibility import require_audience
from tenants.access import Caller, key_digest
from tenants.outsiders import IssuerAway
from tenants.roles import OAUTH_DEFAULT

_REALM: Final = "marina"
WANTED: Final = " ".join(OAUTH_DEFAULT)
"""The scopes that a client should ask for when it has no credential yet."""

DESCRIPTION_CHARACTERS: Final = 300
"""Of a challenge's description: it repeats the message for those who look at headers, whose room proxies bound."""

logger = logging.getLogger(__name__)


def read_token(authorization: bytes | None) -> str | None:
    """The bearer token, or ``None`` without a header. Raises ``Unauthenticated`` when it is something else.

    Another scheme than Bearer counts as no key at all (RFC 6750 section 3.1).
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    bearer = scheme.lower() == b"bearer"
    if not bearer or not token or b" " in token:
        raise Unauthenticated(
            "The Authorization header is not of the form 'Bearer <key>'. Send your API key after the word Bearer.",
            code="key_malformed" if bearer else "key_missing",
        )
    return token.decode("latin-1")


async def identify(
    runtime: Runtime,
    tenant_slug: str,
    authorization: bytes | None,
    *,
    address: str,
    server: str,
    client: str,
    request_id: str,
) -> Caller:
    """The caller behind the credential. Records a refusal in the tenant's log before it raises.

    Raises ``Unauthenticated``, ``RateLimited`` where ``address`` is locked out, or ``Unavailable`` when an outside
    issuer cannot be asked, or the refusal not be recorded.
    """
    token: str | None = None
    try:
        token = read_token(authorization)
        if token is None:
            raise missing_key()
        caller = runtime.grants.peek(token, tenant_slug)
        if caller is None:
            caller = await _look_up(runtime, token, tenant_slug, address)
        require_audience(caller, server)
        return caller
    except (Unauthenticated, RateLimited, IssuerAway) as refusal:
        if isinstance(refusal, Unauthenticated):
            await runtime.lockout.count(address, key_digest(token or ""), refusal)
        # Asked before the tenant is looked up: the same answer whether or not there is such a tenant.
        if not runtime.writer.accepting:
            raise log_unavailable() from None
        tenant_id = await runtime.tenants.get(tenant_slug)
        if tenant_id is None:
            logger.info("credential refused", extra={"request_id": request_id, "code": refusal.code})
        else:
            await runtime.refusals.refused_credential(
                tenant_id, refusal, token=token, server=server, client=client, request_id=request_id
            )
        raise


async def _look_up(runtime: Runtime, token: str, tenant_slug: str, address: str) -> Caller:
    if not runtime.writer.accepting:
        # The database that has no log for us has no keys either: do not wait for it to say so.
        raise log_unavailable()
    digest = key_digest(token)
    if not runtime.lockout.knows(digest, tenant_slug):
        await runtime.lockout.check(address)
    caller = await runtime.grants.get(token, tenant_slug)
    runtime.lockout.remember(digest, tenant_slug)
    return caller


def missing_key() -> Unauthenticated:
    """The answer to a request without a credential."""
    return Unauthenticated(
        "This server needs an API key and the request has none. Send the header "
        "'Authorization: Bearer mcp_live_…' with a key of the team; an admin issues one in the dashboard. Clients that "
        "know OAuth need no key: they open a browser to sign in.",
        code="key_missing",
    )


def challenge(
    problem: str | None, description: str, scope: str = WANTED, *, metadata: str = ""
) -> tuple[bytes, bytes]:
    """The ``WWW-Authenticate`` header. No ``problem``: the request had no credential (RFC 6750 section 3.1).

    ``metadata`` is where the server says who issues tokens for it (RFC 9728 section 5.1).
    """
    parts = [f'realm="{_REALM}"']
    if problem is not None:
        shown = quotable(description)
        if len(shown) > DESCRIPTION_CHARACTERS:
            shown = f"{shown[:DESCRIPTION_CHARACTERS]} ..."
        parts += [f'error="{problem}"', f'error_description="{shown}"']
    if metadata:
        parts.append(f'resource_metadata="{metadata}"')
    parts.append(f'scope="{quotable(scope)}"')
    return (b"www-authenticate", f"Bearer {', '.join(parts)}".encode("ascii"))
