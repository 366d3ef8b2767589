"""Who is offered a canary: a version of a tool that a server tries with some before all. Pure: reads nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tenants.access import Caller

if TYPE_CHECKING:
    from servers.services.surfaces import SurfaceTool

MAX_CANARIES: Final = 4
"""Canaries of one server. Who is in which makes as many lists as there are combinations: sixteen at most."""

_STEPS: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """A version of a tool for ``share`` percent of those who call, and for these credentials."""

    tool: SurfaceTool
    share: int
    credentials: frozenset[str]
    salt: bytes

    def takes(self, caller: Caller) -> bool:
        """Whether the caller is offered it: always the same answer for one principal, and with a greater share still.

        Whoever has no credential is told apart by nothing that lasts, and is never in.
        """
        if caller.anonymous:
            return False
        if not self.credentials.isdisjoint(_names_of(caller)):
            return True
        return self.share > 0 and _place_of(caller, self.salt) < self.share * _STEPS // 100


def salt_of(tool_id: UUID, number: int) -> bytes:
    """What a canary of this version of the tool mixes into who is in: another one tries others."""
    return f"{tool_id}:{number}".encode()


def _names_of(caller: Caller) -> list[str]:
    """The ids by which a caller may be named: its key's, its OAuth client's, its issuer's."""
    names = [str(each) for each in (caller.credential_id, caller.issuer_id) if each is not None]
    if caller.principal:
        # "client:<id>:<member>", as tenants.tokens has it.
        names.append(caller.principal.split(":")[1])
    return names


def _place_of(caller: Caller, salt: bytes) -> int:
    principal = caller.principal or (str(caller.credential_id) if caller.credential_id else caller.actor)
    digest = hashlib.blake2b(
        principal.encode("utf-8", "surrogatepass"), key=salt[:64], digest_size=8
    ).digest()
    return int.from_bytes(digest, "big") % _STEPS
