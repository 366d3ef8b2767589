"""Finds who signs people in for an MCP server (2026-07-28 basic/authorization, "Authorization Server Discovery").

The server's own metadata (RFC 9728) names its authorization server, whose metadata (RFC 8414, or OpenID Connect's) says
where a browser is sent and where tokens are had. What is not sound is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from core.errors import SourceError
from core.outbound import AllowAddress
from servers.execution.authorizing.addresses import is_sound, is_within, origin_of, read_sound, same_origin
from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.challenges import Challenge, joined, read_scopes
from servers.execution.authorizing.faults import unsound
from servers.execution.unanswered import host_of

OFFLINE: Final = "offline_access"
"""The scope that asks for a refresh token, where an authorization server lists it."""
_PKCE: Final = "S256"


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """What its metadata says. Addresses are sound ones; those that are not offered are empty."""

    issuer: str
    authorization: str
    token: str
    registration: str
    revocation: str
    takes_documents: bool
    """Whether a client may be a metadata document."""
    names_issuer: bool
    """Whether it sends ``iss`` along (RFC 9207)."""
    auth_methods: tuple[str, ...]
    offline: bool

    @property
    def sends_elsewhere(self) -> bool:
        """Whether browsers are sent to another origin than its own, and do not say on their return from whom they come.

        That may be an honest server's, whose codes this one wants (RFC 9700, section 4.4).
        """
        return not self.names_issuer and not same_origin(self.authorization, self.issuer)


@dataclass(frozen=True, slots=True)
class Found:
    """Who signs people in for a server. ``resource`` is what tokens are asked for; ``scopes`` what a first sign-in asks
    for: those of the challenge, else those that the server lists.
    """

    server: AuthorizationServer
    resource: str
    scopes: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """The scopes with what a refresh token needs."""
        return joined(self.scopes, (OFFLINE,)) if self.server.offline and self.scopes else self.scopes


async def discover(ask: Asker, url: str, challenge: Challenge) -> Found:
    """Find it. Raises ``SourceError``: nobody answers, or what is said cannot be used."""
    metadata = await _resource_metadata(ask, url, challenge)
    listed: tuple[str, ...] = ()
    if metadata is None:
        # As of 2025-03-26, a server without metadata of its own has its authorization server at its own origin.
        resource, issuer = canonical(url), origin_of(url)
    else:
        resource, issuer = _read_resource(metadata, url), _issuer_of(metadata, url, ask.allow)
        listed = read_scopes(metadata.get("scopes_supported"))
    server = await _server_metadata(ask, issuer)
    return Found(server, resource, challenge.scopes or listed)


def canonical(url: str) -> str:
    """The address by which a server is meant, where it does not say so itself (RFC 8707, section 2)."""
    parts = urlsplit(url)
    path = "" if parts.path == "/" else parts.path
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=path).geturl()


def resource_places(url: str) -> Sequence[str]:
    """Where a server's metadata stands where it does not say: with its path behind the well-known one, then without."""
    origin, path = origin_of(url), urlsplit(url).path.rstrip("/")
    root = f"{origin}/.well-known/oauth-protected-resource"
    return (root + path, root) if path else (root,)


def server_places(issuer: str) -> Sequence[str]:
    """Where an authorization server's metadata may stand, in the order in which they are asked for."""
    origin, path = origin_of(issuer), urlsplit(issuer).path.rstrip("/")
    inserted = tuple(
        f"{origin}/.well-known/{name}{path}"
        for name in ("oauth-authorization-server", "openid-configuration")
    )
    return (*inserted, f"{origin}{path}/.well-known/openid-configuration") if path else inserted


def same_issuer(one: str, other: str) -> bool:
    """Letter by letter; but that of a whole host may end with a slash or not, which makes no other host of it."""
    if one == other:
        return True
    return urlsplit(one).path in ("", "/") and one.removesuffix("/") == other.removesuffix("/")


async def _resource_metadata(ask: Asker, url: str, challenge: Challenge) -> Mapping[str, Any] | None:
    if challenge.metadata:
        try:
            read_sound(challenge.metadata, ask.allow)
        except ValueError as fault:
            raise unsound(
                f"The MCP server at {host_of(url)} names an address for its metadata that is not taken: {fault}."
            ) from None
        said = await ask.get(challenge.metadata)
        if said.status != 200 or not said.values:
            raise unsound(
                f"The MCP server at {host_of(url)} says where its metadata is, and there is none there (status "
                f"{said.status})."
            )
        return said.values
    for place in resource_places(url):
        said = await ask.get(place)
        if said.status == 200 and said.values:
            return said.values
        if said.status >= 500:
            raise _failing(place, said.status)
    return None


def _read_resource(metadata: Mapping[str, Any], url: str) -> str:
    """The resource that the metadata is of. One of another server would have tokens for that sent to this one."""
    resource = metadata.get("resource")
    if not is_within(url, resource):
        raise unsound(
            f"The metadata of the MCP server at {host_of(url)} is that of another resource. Check the address of the "
            "data source, or ask whoever runs the server."
        )
    return str(resource)


def _issuer_of(metadata: Mapping[str, Any], url: str, allow: AllowAddress) -> str:
    listed = metadata.get("authorization_servers")
    if not isinstance(listed, list) or not listed:
        raise unsound(f"The metadata of the MCP server at {host_of(url)} names no authorization server.")
    sound = [each for each in listed[:10] if is_sound(each, allow) and not urlsplit(each).query]
    if not sound:
        raise unsound(
            f"The authorization server that the MCP server at {host_of(url)} names is at no https address, so nobody "
            "is sent there."
        )
    return str(sound[0])


async def _server_metadata(ask: Asker, issuer: str) -> AuthorizationServer:
    for place in server_places(issuer):
        said = await ask.get(place)
        if said.status == 200 and said.values:
            return read_server(said.values, issuer, ask.allow)
        if said.status >= 500:
            raise _failing(place, said.status)
    raise unsound(
        f"The authorization server at {host_of(issuer)} has no metadata where the standards place it."
    )


def read_server(metadata: Mapping[str, Any], issuer: str, allow: AllowAddress) -> AuthorizationServer:
    """What an authorization server's metadata says. Raises ``SourceError`` naming what is wrong with it."""
    host, named = host_of(issuer), metadata.get("issuer")
    if not isinstance(named, str) or not same_issuer(named, issuer):
        raise unsound(
            f"The metadata at {host} is that of another issuer than the one that was asked for, so it is not believed."
        )
    needed = {}
    for name in ("authorization_endpoint", "token_endpoint"):
        try:
            read_sound(metadata.get(name), allow)
        except ValueError as fault:
            raise unsound(
                f"The authorization server at {host} names no {name} that is taken: {fault}."
            ) from None
        needed[name] = str(metadata[name])
    methods = metadata.get("code_challenge_methods_supported")
    if not isinstance(methods, list) or _PKCE not in methods:
        raise unsound(
            f"The authorization server at {host} does not say that it supports PKCE with S256, without which a code "
            "could be stolen on its way. Ask whoever runs it."
        )
    ways = metadata.get("token_endpoint_auth_methods_supported")
    return AuthorizationServer(
        issuer=named,
        authorization=needed["authorization_endpoint"],
        token=needed["token_endpoint"],
        registration=_optional(metadata, "registration_endpoint", allow),
        revocation=_optional(metadata, "revocation_endpoint", allow),
        takes_documents=metadata.get("client_id_metadata_document_supported") is True,
        names_issuer=metadata.get("authorization_response_iss_parameter_supported") is True,
        auth_methods=tuple(each for each in ways if isinstance(each, str))
        if isinstance(ways, list)
        else ("client_secret_basic",),
        offline=OFFLINE in read_scopes(metadata.get("scopes_supported")),
    )


def _optional(metadata: Mapping[str, Any], name: str, allow: AllowAddress) -> str:
    url = metadata.get(name)
    return str(url) if is_sound(url, allow) else ""


def _failing(place: str, status: int) -> SourceError:
    return SourceError(
        f"For signing in, {host_of(place)} was asked for its metadata, and failed (status {status}). Try again later.",
        code="source_failed",
        data={"status": status},
        retryable=True,
    )
