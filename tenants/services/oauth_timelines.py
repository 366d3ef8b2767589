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


_MARKS: Final = ("grant", "code_mark", "consent_mark")
"""What ties steps together wherever they come from, the surest first."""


@dataclass(slots=True)
class Attempt:
    """One client's attempt to connect: its steps, oldest first, and what tells whether a further step is its own.

    ``client_id`` is the client's id as far as it got one; the last, where it changed. ``programs`` are who took its
    steps, but for a member's browser. It ``is_past_consent`` when nothing before a token is to come any more.
    """

    steps: list[Step] = field(default_factory=list)
    client_id: str = ""
    marks: set[tuple[str, str]] = field(default_factory=set)
    programs: set[tuple[str, str]] = field(default_factory=set)
    is_past_consent: bool = False

    def add(self, step: Step) -> None:
        """Take its next step."""
        self.steps.append(step)
        self.client_id = step.client_id or self.client_id
        self.marks.update(_marks_of(step))
        if not step.member:
            self.programs.add(step.source)
        self.is_past_consent = self.is_past_consent or step.kind in _TOKENS

    def take_in(self, search: Attempt) -> None:
        """Take the steps of one that got no client's id and no token: they were its own."""
        self.steps = sorted([*search.steps, *self.steps], key=lambda each: each.at)
        self.marks |= search.marks
        self.programs |= search.programs

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

    def has(self, *kinds: Kind, ok: bool | None = None) -> bool:
        """Whether there was a step of one of the kinds, that went so."""
        return any(step.kind in kinds and ok in {None, step.ok} for step in self.steps)


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
        attempt.add(step)
    return sorted(attempts, key=lambda attempt: attempt.ended_at, reverse=True)


def _find(attempts: list[Attempt], step: Step) -> Attempt | None:
    """The attempt that a step goes on with; the newest that fits."""
    newest = attempts[::-1]
    for mark in _marks_of(step):
        found = next((each for each in newest if mark in each.marks), None)
        if found is not None:
            return found
    recent = [each for each in newest if step.at - each.ended_at <= GAP_SECONDS]
    program = step.source
    if step.kind in {Kind.AUTHORIZATION, Kind.CLIENT_DOCUMENT, Kind.CONSENT}:
        return _of_client(recent, step) or _of_search(recent, step)
    if step.kind in _TOKENS and step.client_id:
        known = [each for each in recent if each.client_id == step.client_id]
        return next((each for each in known if program in each.programs), next(iter(known), None))
    if step.kind in _TOKENS:
        return next((each for each in recent if program in each.programs), None)
    # What comes before a client id: the same program, where it is not connected yet. A challenge is a beginning.
    searching = [each for each in recent if program in each.programs and not each.is_past_consent]
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
    block, _ = step.source
    return next(
        (
            each
            for each in recent
            if not each.client_id
            and not each.is_past_consent
            and each.steps[-1].kind in _DISCOVERY
            and each.steps[-1].source[0] == block
        ),
        None,
    )


def _marks_of(step: Step) -> list[tuple[str, str]]:
    return [(name, value) for name in _MARKS if (value := getattr(step, name))]


def _join_search(attempts: list[Attempt], attempt: Attempt, step: Step) -> None:
    """Bring in the search of the same program, which until now was known by its address alone.

    Clients also look metadata up again before they ask for a token.
    """
    program = step.source
    for each in attempts:
        if (
            each is not attempt
            and not each.client_id
            and not each.is_past_consent
            and program in each.programs
            and step.at - each.ended_at <= GAP_SECONDS
        ):
            attempt.take_in(each)
            attempts.remove(each)
            return
