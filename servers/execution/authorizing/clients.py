"""What Marina is to an authorization server: a metadata document, a registered client, or one that an admin entered."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote_plus, urlsplit

from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.discovery import AuthorizationServer
from servers.execution.authorizing.faults import named_error, unsound
from servers.execution.unanswered import host_of

How = Literal["entered", "document", "registered"]
AuthMethod = Literal["none", "client_secret_basic", "client_secret_post"]

NAME: Final = "Marina"
MAX_ID: Final = 2_048
MAX_SECRET: Final = 4_096
_METHODS: Final[Sequence[AuthMethod]] = ("client_secret_basic", "client_secret_post", "none")


@dataclass(frozen=True, slots=True)
class Client:
    """A client of one authorization server. ``expires_at`` is that of its secret, in seconds since the epoch; 0: none.

    A secret goes to the token endpoint and the revocation endpoint of ``issuer``, and nowhere else.
    """

    issuer: str
    how: How
    id: str
    secret: str = field(default="", repr=False)
    method: AuthMethod = "none"
    expires_at: float = 0

    def sign(self, form: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """A form with what says who sends it, and the headers that do (RFC 6749, section 2.3.1)."""
        # It stands there in any case: the servers of the official SDK want it beside the header, too.
        known = {**form, "client_id": self.id}
        if self.method == "client_secret_basic":
            # Both are encoded as in a form before they are joined.
            pair = f"{quote_plus(self.id)}:{quote_plus(self.secret)}"
            return known, {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        if self.method == "client_secret_post":
            known["client_secret"] = self.secret
        return known, {}


def document_of(url: str, redirect_uri: str) -> dict[str, Any]:
    """The metadata document whose address is Marina's client id (draft-ietf-oauth-client-id-metadata-document)."""
    return {"client_id": url, **_described(redirect_uri), "token_endpoint_auth_method": "none"}


async def make_known(
    ask: Asker,
    server: AuthorizationServer,
    *,
    entered: tuple[str, str, str],
    document: str,
    redirect_uri: str,
) -> Client:
    """What Marina is there, in the order of the specification (2026-07-28 basic/authorization/client-registration).

    ``entered``: client id, secret and issuer, as an admin entered them, or empty. ``document``: the address of Marina's
    metadata document, or empty. Raises ``SourceError`` where it cannot be known there.
    """
    client_id, secret, issuer = entered
    if client_id:
        require_issuer(server, issuer)
        return entered_client(server, client_id, secret)
    if server.takes_documents and document:
        return document_client(server, document)
    if server.registration:
        return await register(ask, server, redirect_uri)
    raise unsound(
        f"The authorization server at {host_of(server.issuer)} takes no client that it does not know. Have one "
        f"registered there by whoever runs it, with the redirect address {redirect_uri}, and enter its client id (and "
        f"secret) in the settings of the data source, with the issuer {server.issuer}."
    )


def entered_client(server: AuthorizationServer, client_id: str, secret: str) -> Client:
    """The client that an admin entered, for this authorization server."""
    return Client(server.issuer, "entered", client_id, secret, _method_with(server, secret))


def document_client(server: AuthorizationServer, url: str) -> Client:
    """Marina by its metadata document."""
    return Client(server.issuer, "document", url)


async def register(ask: Asker, server: AuthorizationServer, redirect_uri: str) -> Client:
    """Register Marina (RFC 7591). Raises ``SourceError`` where that is refused."""
    host = host_of(server.issuer)
    # In the server's own order: what it lists first works best there.
    wanted = next((method for method in server.auth_methods if method in _METHODS), "client_secret_basic")
    said = await ask.post_json(
        server.registration, {**_described(redirect_uri), "token_endpoint_auth_method": wanted}, {}
    )
    if said.status not in (200, 201):
        error = named_error(said.values)
        raise unsound(
            f"The authorization server at {host} does not register Marina: it answered with status {said.status}"
            f"{f' ({error})' if error else ''}. Have a client registered there by whoever runs it, with the redirect "
            f"address {redirect_uri}, and enter its client id and secret in the settings of the data source."
        )
    id_, secret = said.values.get("client_id"), said.values.get("client_secret", "")
    if not _is_text(id_, MAX_ID) or not (secret in ("", None) or _is_text(secret, MAX_SECRET)):
        raise unsound(f"The authorization server at {host} registered Marina without an id that can be used.")
    given = said.values.get("token_endpoint_auth_method", wanted)
    method: AuthMethod = next((each for each in _METHODS if each == given), "none") if secret else "none"
    ends = said.values.get("client_secret_expires_at")
    expires = float(ends) if isinstance(ends, int | float) and not isinstance(ends, bool) and ends > 0 else 0
    return Client(server.issuer, "registered", str(id_), str(secret or ""), method, expires)


def require_issuer(server: AuthorizationServer, issuer: str) -> None:
    """Raise ``SourceError`` unless the client that was entered is this authorization server's."""
    if server.issuer != issuer:
        raise unsound(
            f"The client id in the settings of the data source is of {issuer}, and the MCP server has its sign-ins at "
            f"{server.issuer} now. Nothing was sent there. Enter the client id that you have there, with its "
            "issuer."
        )


def _described(redirect_uri: str) -> dict[str, Any]:
    parts = urlsplit(redirect_uri)
    own = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return {
        "client_name": NAME,
        "client_uri": f"{parts.scheme}://{parts.netloc}",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "application_type": "native" if own else "web",
    }


def _method_with(server: AuthorizationServer, secret: str) -> AuthMethod:
    if not secret:
        return "none"
    in_form = "client_secret_post" in server.auth_methods and "client_secret_basic" not in server.auth_methods
    return "client_secret_post" if in_form else "client_secret_basic"


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable()
