"""Puts the steps of connecting clients together: which belong to one attempt to connect. Pure; judges nothing.

A program is known by its address and what it calls itself, until it has a client id; a browser only ever by the client
id and the consent that it was asked for; from a code on, by the authorization. What cannot be told apart (two programs
alike, from one address, at one time) stands in one timeline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tenants.oauth_steps import Kind, Step

GAP_SECONDS: Final = 15 * 60.0
"""After so long without a step, the next one begins another attempt, unless it is the same authorization's."""

_DISCOVERY: Final = frozenset(
    {Kind.CHALLENGE, Kind.MISPLACED, Kind.RESOURCE_METADATA, Kind.ISSUER_METADATA, Kind.REGISTRATION}
)
_TOKENS: Final = frozenset({Kind.TOKEN, Kind.REFRESH, Kind.REVOCATION, Kind.CALL})


@dataclass(slots=True)
class Attempt:
    """One client's attempt to connect: its steps, oldest first."""

    steps: list[Step] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Its first step's."""
        return self.steps[0].id

    @property
    def began_at(self) -> float:
        return self.steps[0].at

    @property
    def ended_at(self) -> float:
        """When its last step was."""
        return self.steps[-1].at

    @property
    def client_id(self) -> str:
        """The client's id as far as it got one; the last, where it changed."""
        return next((step.client_id for step in reversed(self.steps) if step.client_id), "")

    @property
    def grants(self) -> set[str]:
        return {step.grant for step in self.steps if step.grant}

    @property
    def member(self) -> str:
        return next((step.member for step in reversed(self.steps) if step.member), "")

    @property
    def agent(self) -> str:
        """What the program calls itself: not what a member's browser does."""
        programs = [step.agent for step in self.steps if not step.member and step.agent]
        of_tokens = [
            step.agent for step in self.steps if step.kind in _TOKENS | _DISCOVERY and not step.member
        ]
        return (of_tokens or programs or [""])[-1]

    @property
    def address(self) -> str:
        return next((step.address for step in self.steps if not step.member), self.steps[0].address)

    @property
    def server(self) -> str:
        return next((step.server for step in self.steps if step.server), "")

    def has(self, *kinds: Kind, ok: bool | None = None) -> bool:
        """Whether there was a step of one of the kinds, that went so."""
        return any(step.kind in kinds and ok in {None, step.ok} for step in self.steps)

    @property
    def is_past_consent(self) -> bool:
        """Whether nothing before a token is to come any more."""
        return self.has(*_TOKENS)


def put_together(steps: Iterable[Step]) -> list[Attempt]:
    """The attempts that the steps were, in the order of their newest steps, newest first."""
    attempts: list[Attempt] = []
    for step in sorted(steps, key=lambda step: step.at):
        attempt = _find(attempts, step)
        if attempt is None:
            attempt = Attempt()
            attempts.append(attempt)
        elif step.kind in {Kind.TOKEN, Kind.REFRESH}:
            _join_search(attempts, attempt, step)
        attempt.steps.append(step)
    return sorted(attempts, key=lambda attempt: attempt.ended_at, reverse=True)


def _find(attempts: list[Attempt], step: Step) -> Attempt | None:
    """The attempt that a step goes on with; the newest that fits."""
    newest = attempts[::-1]
    for mark in ("grant", "code_mark", "consent_mark"):
        value = getattr(step, mark)
        if value:
            found = next((a for a in newest if any(getattr(s, mark) == value for s in a.steps)), None)
            if found is not None:
                return found
    recent = [each for each in newest if step.at - each.ended_at <= GAP_SECONDS]
    if step.kind in {Kind.AUTHORIZATION, Kind.CLIENT_DOCUMENT, Kind.CONSENT}:
        return _of_client(recent, step) or _of_search(recent, step)
    if step.kind in _TOKENS and step.client_id:
        known = [each for each in recent if each.client_id == step.client_id]
        return next((each for each in known if _asks(each, step)), next(iter(known), None))
    if step.kind in _TOKENS:
        return next((each for each in recent if _asks(each, step)), None)
    # What comes before a client id: the same program, where it is not connected yet. A challenge is a beginning.
    searching = [each for each in recent if _asks(each, step) and not each.is_past_consent]
    if step.kind is Kind.CHALLENGE:
        searching = [each for each in searching if not each.has(Kind.AUTHORIZATION, Kind.CONSENT)]
    return next(iter(searching), None)


def _of_client(recent: list[Attempt], step: Step) -> Attempt | None:
    """The attempt of the same client that this page visit belongs to: not one that has its tokens.

    But for one that was just told which scopes it lacks: asking for them is its next step.
    """
    for each in recent:
        if not step.client_id or each.client_id != step.client_id:
            continue
        if step.member and each.member and step.member != each.member:
            continue
        if not each.is_past_consent or each.steps[-1].code == "insufficient_scope":
            return each
    return None


def _of_search(recent: list[Attempt], step: Step) -> Attempt | None:
    """The search of a program at the same address which knows no client id yet: its member's browser is near."""
    return next(
        (
            each
            for each in recent
            if not each.client_id
            and not each.is_past_consent
            and each.steps[-1].source[0] == step.source[0]
            and each.steps[-1].kind in _DISCOVERY
        ),
        None,
    )


def _asks(attempt: Attempt, step: Step) -> bool:
    """Whether the same program took part in the attempt."""
    return any(each.source == step.source and not each.member for each in attempt.steps)


def _join_search(attempts: list[Attempt], attempt: Attempt, step: Step) -> None:
    """Bring in the search of the same program, which until now was known by its address alone.

    Clients also look metadata up again before they ask for a token.
    """
    for each in attempts:
        if (
            each is not attempt
            and not each.client_id
            and not each.is_past_consent
            and _asks(each, step)
            and step.at - each.ended_at <= GAP_SECONDS
        ):
            attempt.steps = sorted([*each.steps, *attempt.steps], key=lambda each: each.at)
            attempts.remove(each)
            return
