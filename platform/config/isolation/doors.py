"""What the check asks of the teams' own doors (single sign-on): another team's provider, and a sign-in begun there.

That a team has single sign-on, and its providers' names, are said to anyone who knows the team's name. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from config.isolation.attempt import NO_TEAM, UNKNOWN_UUID, Attempt, Request, UncoveredRoute
from config.isolation.teams import CheckedTeam

DOORS: Final = "app/sign-in/<str:team>/"


def knock(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    """All that is asked of one address of a team's door. Raises ``UncoveredRoute``."""
    if route == DOORS:
        yield from _door(route, asking, other)
    elif route == f"{DOORS}back":
        yield from _way_back(route, asking, other)
    else:
        raise UncoveredRoute(f"{route}: the check does not know what to ask here. Say it in doors.py.")


def _door(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    ours, theirs = (f"/app/sign-in/{team.slug}/" for team in (asking, other))
    words = ((other.ids["provider"], UNKNOWN_UUID), (other.slug, NO_TEAM))
    for whose, session in (("our session", asking.session), ("no session", "")):
        form = {"provider": other.ids["provider"]}
        # A form without a session is refused for its missing token: that asks nothing.
        if session:
            asked = Request("POST", ours, session=session, form=form)
            like = replace(asked, form={"provider": UNKNOWN_UUID})
            yield Attempt(
                f"page POST {route}: {whose}, their provider at our address", asked, like, other.marks, words
            )
            asked = Request("POST", theirs, session=session, form={"provider": asking.ids["provider"]})
            like = replace(asked, form={"provider": UNKNOWN_UUID})
            yield Attempt(f"page POST {route}: {whose}, our provider at their address", asked, like, (), ())
        own = Request("GET", ours, session=session)
        yield Attempt(f"page GET {route}: {whose}, what is ours", own, None, other.marks, expects=200)
        # What stands on the door for anyone is the provider alone.
        said = {other.ids["provider"], other.names["provider"]}
        hidden = tuple(mark for mark in other.marks if mark not in said)
        at_other = Request("GET", theirs, session=session)
        yield Attempt(f"page GET {route}: {whose}, what is theirs", at_other, None, hidden, expects=200)


def _way_back(route: str, asking: CheckedTeam, other: CheckedTeam) -> Iterator[Attempt]:
    unknown = other.held.unknown(other.slug).state

    def back(team: CheckedTeam, state: str) -> Request:
        return Request("GET", f"/app/sign-in/{team.slug}/back?state={state}&code=x", session=asking.session)

    for what, team, state in (
        ("their sign-in, at our address", asking, other.held.state),
        ("their sign-in, at their address", other, other.held.state),
        ("our sign-in, at their address", other, asking.held.state),
    ):
        hidden = () if team is other else other.marks
        yield Attempt(f"page GET {route}: {what}", back(team, state), back(team, unknown), hidden)
