"""How execution gets the tokens of those who signed in to what a source stands on. Plain types: it keeps no token.

Services keep them, sealed, and renew them; a backend asks for one when it needs it, and says when one was refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from servers.execution.authorizing.challenges import Challenge
from servers.execution.authorizing.faults import needed

if TYPE_CHECKING:
    from servers.execution.contract import Source


CLIENT_SECRET: Final = "client_secret"  # noqa: S105 - the name of a setting
"""The setting that has the secret of an entered client, of every kind that people sign in to."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token as it is sent. ``number`` grows with each other token of the sign-in ``of``: by it a refused one is told.

    Where ``of`` is another one, so may the account be.
    """

    value: str = field(repr=False)
    number: int = 0
    of: UUID | None = None


@dataclass(frozen=True, slots=True)
class SignInWanted:
    """What people sign in to, by a browser, before a source can be used.

    ``url`` is the server's address: a token is for it alone. ``each_member``: every member signs in for themselves,
    else one for all. ``client_id`` is the one that an admin entered, of the authorization server ``issuer``; or empty.
    """

    url: str
    each_member: bool
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    issuer: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnBehalf:
    """The stored source that settings are of, or are to be of, and the member (a user's id) who asks for it."""

    source: Source
    member: int | None


class SignIns(Protocol):
    """Whoever keeps the sign-ins of sources. ``member`` is a user's id; ``None``: the team's."""

    async def token(self, source: Source, url: str, member: int | None) -> AccessToken:
        """The token for the server at ``url``. Raises ``SourceError`` (``sign_in_needed``), saying who does what."""
        ...

    async def another(
        self,
        source: Source,
        url: str,
        member: int | None,
        refused: AccessToken,
        challenge: Challenge,
        *,
        checking: bool = False,
    ) -> AccessToken:
        """A token in place of one that the server refused. Raises ``SourceError`` where there is none.

        ``checking``: it refused what everybody may ask it, the handshake or ping of a check, and not one call.
        """
        ...


class NoSignIns:
    """Implements ``SignIns`` where nobody keeps any."""

    async def token(self, source: Source, url: str, member: int | None) -> AccessToken:
        """See ``SignIns``."""
        raise needed("Nobody has signed in to this data source.")

    async def another(
        self,
        source: Source,
        url: str,
        member: int | None,
        refused: AccessToken,
        challenge: Challenge,
        *,
        checking: bool = False,
    ) -> AccessToken:
        """See ``SignIns``."""
        return await self.token(source, url, member)
