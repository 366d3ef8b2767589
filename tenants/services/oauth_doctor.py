"""The OAuth doctor: which clients tried to connect, how far each came, and what stands in its way. Changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from core.errors import NotFound
from tenants.access import Caller
from tenants.models import OAuthClient
from tenants.oauth_addresses import base_url, resource
from tenants.oauth_steps import Kind, Step
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.oauth_diagnosis import Diagnosis, Finding, Place, diagnose
from tenants.services.oauth_steps import read_steps
from tenants.services.oauth_timelines import Attempt, put_together

SHOWN: Final = 50
"""The newest attempts that a list holds: so many of strangers, and so many that a member or a token was part of."""

TITLES: Final[dict[Kind, str]] = {
    Kind.CHALLENGE: "Challenge",
    Kind.MISPLACED: "Search for metadata",
    Kind.RESOURCE_METADATA: "The server's metadata",
    Kind.ISSUER_METADATA: "The issuer's metadata",
    Kind.REGISTRATION: "Registration",
    Kind.CLIENT_DOCUMENT: "The client's document",
    Kind.AUTHORIZATION: "Authorization",
    Kind.CONSENT: "Consent",
    Kind.TOKEN: "Token",
    Kind.REFRESH: "Refresh",
    Kind.REVOCATION: "Revocation",
    Kind.CALL: "Request with a token",
}
"""What people call the steps."""

# What went as it should although it is no success: a client without a token is told where to get one.
_EXPECTED: Final = frozenset({Kind.CHALLENGE, Kind.MISPLACED})


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A step, and what is wrong with it."""

    step: Step
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        return TITLES[self.step.kind]

    @property
    def at(self) -> datetime:
        return _moment(self.step.at)

    @property
    def times(self) -> int:
        """How often it came within a minute."""
        return self.step.again + 1

    @property
    def is_faulty(self) -> bool:
        """Whether something that is wrong here stands in the way still."""
        return any(not each.overcome for each in self.findings)

    @property
    def standing(self) -> str:
        """In a word."""
        if self.is_faulty:
            return "at fault"
        if self.step.ok:
            return "ok"
        return "as expected" if self.step.kind in _EXPECTED else "refused"


@dataclass(frozen=True, slots=True)
class Timeline:
    """One client's attempt to connect, judged."""

    attempt: Attempt
    client_name: str
    diagnosis: Diagnosis

    @property
    def id(self) -> str:
        return self.attempt.id

    @property
    def name(self) -> str:
        """What people know the client by, as far as it told."""
        return self.client_name or self.attempt.agent or "A client without a name"

    @property
    def state(self) -> str:
        return self.diagnosis.state

    @property
    def fault(self) -> str:
        """The code of what is in the way; empty: nothing."""
        main = self.diagnosis.main
        return "" if main is None else main.code

    @property
    def began_at(self) -> datetime:
        return _moment(self.attempt.began_at)

    @property
    def ended_at(self) -> datetime:
        """When its last step was."""
        return _moment(self.attempt.ended_at)

    @property
    def steps(self) -> list[ShownStep]:
        found = self.diagnosis.findings
        return [
            ShownStep(step, tuple(each for each in found if each.step_id == step.id))
            for step in self.attempt.steps
        ]


def list_timelines(*, caller: Caller, now: float | None = None) -> list[Timeline]:
    """The newest attempts of clients to connect to this team, newest first. Raises ``Unavailable``."""
    caller.require(Action.KEYS_READ)
    now = now or time.time()
    left = {True: SHOWN, False: SHOWN}
    shown = []
    for attempt in _attempts(caller, now):
        known = any(step.known for step in attempt.steps)
        left[known] -= 1
        if left[known] >= 0:
            shown.append(attempt)
    return _judge(shown, caller, now)


def find_timeline(timeline_id: UUID, *, caller: Caller, now: float | None = None) -> Timeline:
    """One attempt, by its id or that of any of its steps. Raises ``NotFound``; it is kept for a day at most."""
    caller.require(Action.KEYS_READ)
    now = now or time.time()
    wanted = str(timeline_id)
    for attempt in _attempts(caller, now):
        # What was seen of a client first may turn out to have had a beginning.
        if any(step.id == wanted for step in attempt.steps):
            return _judge([attempt], caller, now)[0]
    raise NotFound(
        "There is no such connection, or it is over for more than a day.", code="oauth_timeline_not_found"
    )


def _attempts(caller: Caller, now: float) -> list[Attempt]:
    return put_together(read_steps(caller.tenant_id, now=now))


def _judge(attempts: list[Attempt], caller: Caller, now: float) -> list[Timeline]:
    ids = {attempt.client_id for attempt in attempts}
    with tenant_scope(caller.tenant_id):
        names = {row.client_id: row.shown_name for row in OAuthClient.objects.filter(client_id__in=ids)}
    place = Place(resource(caller.tenant_slug), f"{base_url()}/mcp/")
    return [
        Timeline(attempt, names.get(attempt.client_id, ""), diagnose(attempt, place, now=now))
        for attempt in attempts
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
