"""By which token an upstream MCP server is asked, where it is had by OAuth: one that people signed in for, or our own.

A token goes to the server that it is for, on connections that are no other sign-in's.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from core.errors import SourceError
from core.outbound import AllowAddress
from servers.execution.authorizing.addresses import read_sound
from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.challenges import Challenge, joined
from servers.execution.authorizing.clients import Client, entered_client, require_issuer
from servers.execution.authorizing.discovery import Found, discover
from servers.execution.authorizing.faults import needed, unsound
from servers.execution.authorizing.grants import ask_as_client
from servers.execution.backends.mcp.connecting import HttpConnector
from servers.execution.backends.mcp.faults import Challenged, Unsigned, in_words, named
from servers.execution.backends.mcp.session import within
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.backends.mcp.wire import RpcError
from servers.execution.contract import Source
from servers.execution.signing_in import AccessToken, OnBehalf, SignIns
from servers.execution.unanswered import host_of

CHALLENGE_SECONDS: Final = 10.0
DEFAULT_LIFETIME: Final = 300.0
"""Seconds for which a token of our own is used whose answer does not say how long it is good."""
FRESH_SECONDS: Final = 30.0
"""A token that is refused so soon after it was given is not the reason."""
MAX_KEPT: Final = 500
"""Of sources whose own tokens a process keeps."""


class Signer(Protocol):
    """Whose token a server is asked by."""

    async def token(self) -> AccessToken:
        """The token to use now. Raises ``SourceError`` where there is none."""
        ...

    async def another(
        self, refused: AccessToken, challenge: Challenge, *, checking: bool = False
    ) -> AccessToken:
        """One in place of a token that was refused; see ``SignIns``. Raises ``SourceError`` where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class KeptSigner:
    """Implements ``Signer`` for what somebody signed in for."""

    sign_ins: SignIns
    source: Source
    url: str
    member: int | None
    each_member: bool

    async def token(self) -> AccessToken:
        """See ``Signer``."""
        if self.each_member and self.member is None:
            raise needed(
                f"Each member signs in to {host_of(self.url)} for themselves, and an API key is nobody. Call the tools "
                f"of the data source {self.source.name} as a person: in the dashboard, or by an app that a member "
                "connected."
            )
        return await self.sign_ins.token(self.source, self.url, self.member)

    async def another(
        self, refused: AccessToken, challenge: Challenge, *, checking: bool = False
    ) -> AccessToken:
        """See ``Signer``."""
        return await self.sign_ins.another(
            self.source, self.url, self.member, refused, challenge, checking=checking
        )


@dataclass(frozen=True, slots=True)
class TellingSigner:
    """Implements ``Signer``: another one, of whose faults it is told that the upstream was not asked (``Unsigned``)."""

    signer: Signer

    async def token(self) -> AccessToken:
        """See ``Signer``."""
        try:
            return await self.signer.token()
        except SourceError as fault:
            raise Unsigned(fault) from None

    async def another(
        self, refused: AccessToken, challenge: Challenge, *, checking: bool = False
    ) -> AccessToken:
        """See ``Signer``."""
        try:
            return await self.signer.another(refused, challenge, checking=checking)
        except SourceError as fault:
            raise Unsigned(fault) from None


class OwnSigner:
    """Implements ``Signer`` for Marina itself, by client id and secret (RFC 6749, section 4.4). In memory only."""

    def __init__(self, settings: McpSettings, *, allow: AllowAddress) -> None:
        self._settings = settings
        self._ask = Asker(allow)
        self._asking = asyncio.Lock()
        self._found: Found | None = None
        self._scopes = self._asked = settings.scopes
        self._token = AccessToken("")
        self._since = self._until = 0.0

    async def token(self) -> AccessToken:
        """See ``Signer``."""
        if time.time() < self._until:
            return self._token
        async with self._asking:  # everybody else waits for the one that asks
            return self._token if time.time() < self._until else await self._renew(Challenge(401))

    async def another(
        self, refused: AccessToken, challenge: Challenge, *, checking: bool = False
    ) -> AccessToken:
        """See ``Signer``."""
        async with self._asking:
            if refused.number != self._token.number:
                return self._token
            more = joined(self._asked, challenge.scopes) if challenge.wants_more else self._asked
            if time.time() < self._since + FRESH_SECONDS and more == self._asked:
                raise SourceError(
                    f"{named(self._settings.url)} refuses a token that it was just given "
                    f"(status {challenge.status}). Ask whoever runs it what the client may.",
                    code="source_auth",
                    data={"status": challenge.status},
                )
            if challenge.wants_more:
                self._scopes = more
            # Where tokens are had may have moved with it.
            self._found = None
            return await self._renew(challenge)

    async def _renew(self, challenge: Challenge) -> AccessToken:
        found = await self._discovered(challenge)
        self._asked = self._scopes or found.scopes
        granted = await ask_as_client(
            self._ask, found.server.token, self._client(found), found.resource, self._asked
        )
        now = time.time()
        lifetime = (granted.expires_at or now + DEFAULT_LIFETIME) - now
        self._token = AccessToken(granted.access, self._token.number + 1)
        self._since, self._until = now, now + max(lifetime - min(30.0, lifetime / 10), 1.0)
        return self._token

    async def _discovered(self, challenge: Challenge) -> Found:
        if self._found is None:
            url = self._settings.url
            if not challenge.bearer:
                challenge = await ask_challenge(self._settings, allow=self._ask.allow)
            self._found = await discover(self._ask, url, challenge)
        return self._found

    def _client(self, found: Found) -> Client:
        settings = self._settings
        require_issuer(found.server, settings.issuer)
        return entered_client(found.server, settings.client_id, settings.client_secret)


class Signers:
    """Makes the signer of a source. Its own tokens are kept for as long as the source stays as it is."""

    def __init__(self, sign_ins: SignIns, *, allow: AllowAddress) -> None:
        self._sign_ins = sign_ins
        self._allow = allow
        self._own: OrderedDict[tuple[UUID, int], OwnSigner] = OrderedDict()

    def of(self, source: Source, settings: McpSettings, member: int | None) -> Signer | None:
        """The signer of a source; ``None`` where its requests are signed by its settings alone.

        Raises ``SourceError`` where tokens would travel in clear.
        """
        if settings.auth == "oauth":
            require_sound(settings, allow=self._allow)
        if settings.browses:
            each = settings.each_member
            return KeptSigner(self._sign_ins, source, settings.url, member if each else None, each)
        if settings.auth != "oauth":
            return None
        key = (source.id, source.version)
        signer = self._own.pop(key, None) or OwnSigner(settings, allow=self._allow)
        self._own[key] = signer
        if len(self._own) > MAX_KEPT:
            self._own.popitem(last=False)
        return signer

    def for_settings(self, settings: McpSettings, on_behalf: OnBehalf | None) -> Signer | None:
        """The signer by which a server is asked what it offers, before such settings are stored."""
        if on_behalf is not None and settings.browses:
            return self.of(on_behalf.source, settings, on_behalf.member)
        return OwnSigner(settings, allow=self._allow) if settings.auth == "oauth" else None


def require_sound(settings: McpSettings, *, allow: AllowAddress) -> None:
    """Raise ``SourceError`` unless tokens may be sent to the address of these settings."""
    try:
        read_sound(settings.url, allow)
    except ValueError as fault:
        raise unsound(
            f"Nobody can sign in to {host_of(settings.url)}: with auth set to oauth, the address in the settings of "
            f"the data source has to begin with https://, and {fault}."
        ) from None


async def ask_challenge(settings: McpSettings, *, allow: AllowAddress) -> Challenge:
    """How the server refuses who has not signed in; an empty challenge where it answers. Raises ``SourceError``."""
    require_sound(settings, allow=allow)
    connector = HttpConnector(settings, allow=allow, signing=(), changed=lambda: None)

    async def ask() -> None:
        conversation = await connector.connect({})
        await conversation.end()

    try:
        with in_words(settings.url):
            await within(CHALLENGE_SECONDS, settings.url, ask())
    except Challenged as fault:
        return fault.challenge
    except RpcError:
        # It lets everybody speak to it, and what it says then is no matter here.
        return Challenge(401)
    finally:
        await connector.close()
    return Challenge(401)
