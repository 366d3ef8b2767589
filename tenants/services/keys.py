"""API keys: issued once in clear, kept as a hash, rolled, revoked for good. Never logs or stores the key itself."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from core.errors import Conflict, Forbidden, NotFound
from core.faults import Faults
from tenants.access import Caller, caller_of_key, key_digest
from tenants.changes import announce_change
from tenants.keyrights import with_makers
from tenants.models import ApiKey
from tenants.roles import NARROWING, SCOPE_ACTIONS, SCOPES, Action
from tenants.scopenames import is_narrowing
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, one_of, refuse, whole_number
from tenants.services.networks import all_within, clean_networks
from tenants.services.recording import record_change

DEFAULT_DAYS: Final = 90
MAX_DAYS: Final = 3650
MAX_SCOPES: Final = 64

OVERLAP_HOURS: Final = 24
MAX_OVERLAP_HOURS: Final = 720
"""How long a key goes on beside the one that replaces it: 30 days at most."""

_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_CHARACTERS: Final = 43
"""43 characters of 62 hold 256 bits, and a double click selects them whole."""

_PREFIX_BYTES: Final = 5


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: its row, and the only sight of its text there will ever be."""

    row: ApiKey
    key: str = field(repr=False)


def issue_key(
    name: str,
    scopes: list[str],
    expires_in_days: int = DEFAULT_DAYS,
    mode: str = ApiKey.Mode.LIVE,
    networks: Sequence[str] = (),
    *,
    caller: Caller,
) -> IssuedKey:
    """Make a key that may do no more than its maker. Raises ``InvalidInput``, ``Forbidden`` and ``Unauthenticated``.

    One that a key makes ends with that key at the latest. Without ``networks`` it may be used from anywhere, or from
    where the key may that makes it.
    """
    caller.require(Action.KEYS_CHANGE)
    label = clean_text(name, "name", longest=80)
    wanted = _clean_scopes(scopes)
    kind = one_of(mode, "mode", ApiKey.Mode.values)
    places = clean_networks(networks, "networks")
    require_within_rights(wanted, caller)
    lifetime = _lifetime(expires_in_days)
    with tenant_scope(caller.tenant_id):
        maker = _Maker.of(caller)
        if not places:
            places = maker.networks
        maker.require_within(places)
        issued = _make(
            maker,
            name=label,
            scopes=wanted,
            mode=kind,
            networks=places,
            expires_at=maker.cap(timezone.now() + lifetime),
        )
        record_change("key.created", caller=caller, after=_shown(issued.row))
    return issued


def list_keys(*, caller: Caller) -> list[ApiKey]:
    """Every key of the tenant, also expired and revoked ones, newest first."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        return list(with_makers(ApiKey.objects.select_related("successor")))


def get_key(key_id: UUID, *, caller: Caller) -> ApiKey:
    """One key. Raises ``NotFound``."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        return _key(key_id)


def restrict_key(key_id: UUID, networks: Sequence[str], *, caller: Caller) -> ApiKey:
    """Set where a key may be used from; no networks: anywhere. Raises ``NotFound``, ``Conflict``, ``Forbidden``."""
    caller.require(Action.KEYS_CHANGE)
    places = clean_networks(networks, "networks")
    with tenant_scope(caller.tenant_id):
        row = _key(key_id, lock=True)
        _require_live(row)
        _Maker.of(caller).require_within(places)
        if row.networks != places:
            before = _shown(row)
            row.networks = places
            row.save(update_fields=["networks"])
            record_change("key.changed", caller=caller, before=before, after=_shown(row))
            announce_change(caller.tenant_id)
        return _key(key_id)


def roll_key(key_id: UUID, overlap_hours: int = OVERLAP_HOURS, *, caller: Caller) -> IssuedKey:
    """Issue a successor of the same settings; the old key goes on for the overlap, at most until its own end.

    Who rolls a key sees its successor's text, so they become its maker and it may do no more than they may.
    Raises ``NotFound``, ``InvalidInput``, ``Conflict`` (it was replaced, revoked or has expired) and ``Forbidden``.
    """
    caller.require(Action.KEYS_CHANGE)
    hours = whole_number(overlap_hours, "overlap_hours", low=0, high=MAX_OVERLAP_HOURS)
    with tenant_scope(caller.tenant_id):
        maker = _Maker.of(caller)
        row = _key(key_id, lock=True)
        if row.replaced_at is not None:
            raise Conflict("This key was rolled already. Roll the key that replaced it.", code="key_replaced")
        _require_live(row)
        require_within_rights(row.scopes, caller)
        maker.require_within(row.networks)
        before = _shown(row)
        now = timezone.now()
        lifetime = timedelta(days=DEFAULT_DAYS) if row.expires_at is None else row.expires_at - row.created_at
        row.replaced_at = now
        if hours == 0:
            row.revoked_at = now
        else:
            end = now + timedelta(hours=hours)
            row.expires_at = end if row.expires_at is None else min(row.expires_at, end)
        row.save(update_fields=["replaced_at", "revoked_at", "expires_at"])
        issued = _make(
            maker,
            name=row.name,
            scopes=row.scopes,
            mode=row.mode,
            networks=row.networks,
            # A key that rolls itself goes on as its successor; another is the maker's, and ends with it.
            expires_at=now + lifetime if caller.credential_id == row.pk else maker.cap(now + lifetime),
            predecessor=row,
        )
        record_change(
            "key.rolled", caller=caller, before=before, after={"old": _shown(row), "new": _shown(issued.row)}
        )
        announce_change(caller.tenant_id)
    return issued


def revoke_key(key_id: UUID, *, caller: Caller) -> ApiKey:
    """End a key for good, everywhere, and with it the keys that it made, and theirs.

    Revoking a revoked key changes nothing. Raises ``NotFound``.
    """
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _key(key_id, lock=True)
        if row.revoked_at is not None:
            return row
        now = timezone.now()
        for each in (row, *_made_of(row)):
            before = _shown(each)
            each.revoked_at = now
            each.save(update_fields=["revoked_at"])
            because = {} if each is row else {"revoked_with": str(row.id)}
            record_change("key.revoked", caller=caller, before=before, after={**_shown(each), **because})
        announce_change(caller.tenant_id)
    return row


@dataclass(frozen=True, slots=True)
class _Maker:
    """Who a new key depends on: a person, also where a key of theirs makes it, or the team itself."""

    user_id: int | None
    team_owned: bool
    made_with: ApiKey | None = None

    @classmethod
    def of(cls, caller: Caller) -> _Maker:
        if caller.credential_id is None:
            # The operator's command has nobody's account.
            return cls(caller.user_id, team_owned=caller.user_id is None)
        # Whoever revokes it waits, and then ends what is made here too.
        list(ApiKey.objects.select_for_update(no_key=True).filter(pk=caller.credential_id))
        key = _key(caller.credential_id)
        caller_of_key(key)
        return cls(key.created_by_id, key.team_owned, key)

    @property
    def networks(self) -> list[str]:
        return [] if self.made_with is None else list(self.made_with.networks)

    def cap(self, end: datetime) -> datetime:
        """``end``, or that of the key that makes, where that comes first."""
        own = None if self.made_with is None else self.made_with.expires_at
        return end if own is None else min(end, own)

    def require_within(self, networks: Sequence[str]) -> None:
        """A key that may be used from some addresses must not make one for others."""
        if self.networks and not (networks and all_within(networks, self.networks)):
            raise Forbidden(
                "This key may be used from some addresses only, so it cannot let another key be used from "
                "elsewhere, nor itself. Name networks within its own, or ask an admin to do it in the dashboard.",
                rule="key:networks",
                code="networks_exceed_rights",
            )


def _make(
    maker: _Maker,
    *,
    name: str,
    scopes: list[str],
    mode: str,
    networks: list[str],
    expires_at: datetime,
    predecessor: ApiKey | None = None,
) -> IssuedKey:
    prefix = secrets.token_hex(_PREFIX_BYTES)
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARACTERS))
    row = ApiKey(mode=mode, prefix=prefix)
    key = f"{row.public_part}_{secret}"
    made = ApiKey.objects.create(
        name=name,
        mode=mode,
        prefix=prefix,
        last_four=secret[-4:],
        digest=key_digest(key),
        scopes=list(scopes),
        networks=list(networks),
        created_by_id=maker.user_id,
        team_owned=maker.team_owned,
        made_with=maker.made_with,
        predecessor=predecessor,
        created_at=timezone.now(),
        expires_at=expires_at,
    )
    return IssuedKey(_key(made.pk), key)


def _key(key_id: UUID, *, lock: bool = False) -> ApiKey:
    rows = ApiKey.objects.filter(pk=key_id)
    if lock:
        # A key that another makes points at that one, which locks its key alone.
        rows = rows.select_for_update(no_key=True)
    else:
        rows = with_makers(rows.select_related("made_with", "predecessor", "successor"))
    row = rows.first()
    if row is None:
        raise NotFound("There is no such API key in this team.", code="key_not_found")
    return row


def _made_of(row: ApiKey) -> list[ApiKey]:
    """The keys not yet revoked that a key made, and that those made: also before it was rolled, under its former text.

    Not its own successor, which goes on in its place.
    """
    lineage = {row.pk}
    former = row.predecessor_id
    while former is not None and former not in lineage:
        lineage.add(former)
        former = ApiKey.objects.filter(pk=former).values_list("predecessor_id", flat=True).first()
    rows = ApiKey.objects.filter(revoked_at=None).select_for_update(no_key=True).order_by("pk")
    found: dict[UUID, ApiKey] = {}
    makers, own = lineage, Q(predecessor__in=lineage)
    while makers:
        young = {each.pk: each for each in rows.filter(made_with__in=makers).exclude(own)}
        makers = {pk for pk in young if pk not in found}
        found |= young
        own = Q(pk__in=lineage)
    return list(found.values())


def _require_live(row: ApiKey) -> None:
    if not row.is_live(timezone.now()):
        state = "was revoked" if row.revoked_at is not None else "has expired"
        raise Conflict(f"This key {state} and opens nothing. Issue a new one.", code="key_ended")


def _clean_scopes(scopes: object) -> list[str]:
    if not isinstance(scopes, list | tuple) or not scopes:
        refuse("scopes", f"must be a list with at least one of: {', '.join(SCOPES)}.")
    if len(scopes) > MAX_SCOPES:
        refuse("scopes", f"lists {len(scopes)}; at most {MAX_SCOPES} are allowed.")
    faults = Faults()
    for place, scope in enumerate(scopes):
        if not isinstance(scope, str) or not (scope in SCOPES or is_narrowing(scope)):
            faults.add(
                f"scopes.{place}",
                f"is not a known scope. Known are {', '.join(SCOPES)}, and tool:<name> or server:<slug> to narrow "
                "them.",
            )
    faults.require_none()
    wanted = list(dict.fromkeys(scopes))
    narrowed = [scope for scope in wanted if scope.startswith(NARROWING)]
    if len(narrowed) == len(wanted):
        refuse("scopes", f"only narrows ({', '.join(narrowed)}). Add what it may do, such as tools:execute.")
    if narrowed and "admin" in wanted:
        refuse("scopes", f"admin cannot be narrowed by {narrowed[0]}. Leave one of them out.")
    return wanted


def _lifetime(days: object) -> timedelta:
    return timedelta(days=whole_number(days, "expires_in_days", low=1, high=MAX_DAYS))


def require_within_rights(wanted: list[str], caller: Caller) -> None:
    """Raise ``Forbidden`` where a scope would allow what the caller may not do."""
    for scope in wanted:
        missing = sorted(action.value for action in SCOPE_ACTIONS.get(scope, ()) if not caller.may(action))
        if missing:
            raise Forbidden(
                f"A key cannot do more than who issues it: scope {scope} would allow {missing[0]}, which you "
                "may not do. Leave that scope out, or ask an owner to issue the key.",
                rule=f"rights:{scope}",
                code="scope_exceeds_rights",
            )


def _shown(row: ApiKey) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "prefix": row.prefix,
        "mode": row.mode,
        "scopes": list(row.scopes),
        "networks": list(row.networks),
        "made_with": str(row.made_with_id) if row.made_with_id else None,
        "predecessor": str(row.predecessor_id) if row.predecessor_id else None,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }
