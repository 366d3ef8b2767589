"""By which ways a browser's session was signed in, and so what it may open. Pure: reads no session and no row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest

from core.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Proof:
    """That one team's identity provider vouched for the session's person, until ``until``. Worth nothing elsewhere."""

    tenant_slug: str
    provider_id: UUID
    provider: str
    until: datetime

    def as_json(self) -> dict[str, str]:
        """How it is stored beside the sign-in."""
        return {
            "team": self.tenant_slug,
            "provider_id": str(self.provider_id),
            "provider": self.provider,
            "until": self.until.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a session was signed in. Without the password it reaches the teams of its proofs, and nothing else."""

    by_password: bool
    proofs: tuple[Proof, ...] = ()

    def proof_for(self, tenant_slug: str, now: datetime) -> Proof | None:
        """The proof for a team that still holds."""
        return next(
            (each for each in self.proofs if each.tenant_slug == tenant_slug and now < each.until), None
        )

    def reaches(self, tenant_slug: str) -> bool:
        """Whether the session has anything to do with this team: asked before anything is looked up of it."""
        return self.by_password or any(each.tenant_slug == tenant_slug for each in self.proofs)


BY_PASSWORD = Arrival(by_password=True)
NOWHERE = Arrival(by_password=False)
"""Of a request that was not looked at: it opens nothing."""


class SignInNeeded(Forbidden):
    """The person is signed in, yet not by a way that opens this. ``team`` is whose single sign-on would; empty: none,
    their password would."""

    def __init__(self, message: str, *, rule: str, code: str, team: str = "") -> None:
        super().__init__(
            message, rule=rule, code=code, data={"sign_in": f"/app/sign-in/{team}/" if team else ""}
        )
        self.team = team


def confined() -> SignInNeeded:
    """The one answer to a session that came by a team's provider, at every address of any other, known or not."""
    return SignInNeeded(
        "You are signed in through a team's single sign-on, which opens that team alone. Sign in with your password "
        "to open this.",
        rule="sso:confined",
        code="sso_confined",
    )


def arrival_of_request(request: HttpRequest) -> Arrival:
    """By which ways the request's session was signed in. Of one that was not looked at, by none."""
    found: Arrival = getattr(request, "arrival", NOWHERE)
    return found


def read_proofs(stored: Iterable[Mapping[str, Any]] | None) -> tuple[Proof, ...]:
    """The proofs that are stored beside a sign-in."""
    return tuple(
        Proof(
            each["team"], UUID(each["provider_id"]), each["provider"], datetime.fromisoformat(each["until"])
        )
        for each in stored or ()
    )
