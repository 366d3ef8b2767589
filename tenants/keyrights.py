"""What an API key may do now: its scopes, as far as whoever made it may do the same. Asks for makers; decides nothing.

A key made by a key depends on the person behind that one, and a key that the operator made depends on nobody: it is
the team's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from tenants.models import ApiKey, Membership, lasting
from tenants.roles import ALLOWED, AUDITOR_WITH_PAYLOADS, SCOPE_ACTIONS, SCOPES, Action, Role

_NARROWS: Final = "Narrows what the others allow."
_NAMED: Final = {
    Role.OWNER: "an owner",
    Role.ADMIN: "an admin",
    Role.EDITOR: "an editor",
    Role.VIEWER: "a viewer",
    Role.AUDITOR: "an auditor",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a key's maker reaches now. ``reason`` says why that may be less than it was; it ends in no full stop.

    ``auditing``: the maker is an auditor, whose looks at the log are recorded.
    """

    actions: frozenset[Action]
    reason: str
    auditing: bool = False


@dataclass(frozen=True, slots=True)
class ScopeStanding:
    """One scope of a key: what it means, and what of it is void by now."""

    scope: str
    words: str
    lost: tuple[Action, ...]
    void: bool
    """Whether nothing of it is left."""


_UNBOUND: Final = Bound(frozenset(Action), "")
_NOBODY: Final = Bound(frozenset(), "It is not known who made this key")
_CLOSED: Final = Bound(frozenset(), "The account of the key's maker is closed")
_GONE: Final = Bound(frozenset(), "The key's maker is no longer a member of the team")
_ENDED: Final = Bound(frozenset(), "The access of the key's maker to the team has ended")
_BY_ROLE: Final = {
    role: Bound(actions, f"The key's maker is now {_NAMED[role]}", auditing=role is Role.AUDITOR)
    for role, actions in ALLOWED.items()
}
_WITH_PAYLOADS: Final = Bound(AUDITOR_WITH_PAYLOADS, _BY_ROLE[Role.AUDITOR].reason, auditing=True)


def with_makers(rows: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    """The same keys, each with its maker and the maker's role now, while their membership lasts: still one query."""
    own = Membership.directory.filter(tenant_id=OuterRef("tenant_id"), user_id=OuterRef("created_by_id"))
    live = own.filter(lasting())
    return rows.select_related("created_by").annotate(
        maker_role=Subquery(live.values("role")[:1]),
        maker_ends_at=Subquery(live.values("ends_at")[:1]),
        maker_payloads=Exists(live.filter(payloads=True)),
        maker_known=Exists(own),
    )


def bound_of(key: ApiKey) -> Bound:
    """How far the maker of a key of ``with_makers`` reaches now."""
    if key.team_owned:
        return _UNBOUND
    maker = key.created_by
    if maker is None:
        return _NOBODY
    if not maker.is_active:
        return _CLOSED
    role: str | None = getattr(key, "maker_role")  # noqa: B009 - an annotation, of which the model knows nothing
    if role is None:
        return _ENDED if getattr(key, "maker_known", False) else _GONE
    if role == Role.AUDITOR and getattr(key, "maker_payloads", False):
        return _WITH_PAYLOADS
    return _BY_ROLE[Role(role)]


def end_of_maker(key: ApiKey) -> datetime | None:
    """When the access of a key's maker ends, for a key of ``with_makers``; ``None``: not at a set time."""
    return None if key.team_owned else getattr(key, "maker_ends_at", None)


@lru_cache(maxsize=4096)
def actions_of(scopes: frozenset[str]) -> frozenset[Action]:
    """What scopes allow by themselves."""
    return frozenset().union(*(SCOPE_ACTIONS.get(scope, frozenset()) for scope in scopes))


@lru_cache(maxsize=4096)
def actions_within(scopes: frozenset[str], bound: Bound) -> frozenset[Action]:
    """What scopes allow within a bound: one set for all keys that are alike."""
    return actions_of(scopes) & bound.actions


def standing_of(key: ApiKey) -> list[ScopeStanding]:
    """The scopes of a key of ``with_makers``, each with what is left of it."""
    bound = bound_of(key)
    found = []
    for scope in key.scopes:
        actions = SCOPE_ACTIONS.get(scope, frozenset())
        lost = tuple(action for action in Action if action in actions - bound.actions)
        found.append(
            ScopeStanding(scope, SCOPES.get(scope, _NARROWS), lost, bool(lost) and len(lost) == len(actions))
        )
    return found


def reduced_scopes(key: ApiKey) -> list[ScopeStanding]:
    """The scopes of a key of ``with_makers`` that allow less than they say."""
    return [standing for standing in standing_of(key) if standing.lost]


def successor_of(key: ApiKey) -> ApiKey | None:
    """The key that replaced this one."""
    return getattr(key, "successor", None)
