"""Where a person is signed in, and how they end that. Knows no request and no session store: a session holds an id.

The row decides: a session whose row has ended opens nothing from the next request on, on every replica.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from core.errors import NotFound
from tenants.arrivals import Arrival, Proof, read_proofs
from tenants.models import SignIn

SESSION_KEY: Final = "sign_in"
"""Where a session names its row."""

SEEN_AFTER: Final = timedelta(seconds=60)
"""How far behind ``seen_at`` may be, so that not every request writes."""


def begin_sign_in(user_id: int, *, address: str, browser: str, proof: Proof | None = None) -> SignIn:
    """Note that a person signed in, from where, and with which browser (its ``User-Agent``).

    By a team's provider, whose word ``proof`` is, and otherwise by password.
    """
    now = timezone.now()
    return SignIn.objects.create(
        user_id=user_id,
        address=address[:64],
        browser="".join(character for character in browser if character.isprintable())[:300],
        by_password=proof is None,
        proofs=[] if proof is None else [proof.as_json()],
        created_at=now,
        seen_at=now,
        expires_at=now + timedelta(seconds=settings.SESSION_COOKIE_AGE),
    )


def add_proof(sign_in_id: str, user_id: int, proof: Proof) -> None:
    """Add what a team's provider said of the person to their sign-in, in place of what it said before."""
    with transaction.atomic():
        row = _living(user_id).select_for_update().filter(pk=sign_in_id).first()
        if row is None:
            raise NotFound("You are not signed in there, or no longer.", code="sign_in_not_found")
        others = [each for each in row.proofs or () if each["team"] != proof.tenant_slug]
        row.proofs = [*others, proof.as_json()]
        row.save(update_fields=["proofs"])


def arrival_of(sign_in_id: str, user_id: int) -> Arrival | None:
    """By which ways this sign-in of this person came; ``None``: it opens nothing any more."""
    row = _living(user_id).filter(pk=sign_in_id).first()
    return None if row is None else _arrival(row)


def see_sign_in(sign_in_id: str, user_id: int, *, address: str) -> Arrival | None:
    """As ``arrival_of``; notes too that it was used, and from where."""
    row = _living(user_id).filter(pk=sign_in_id).first()
    if row is None:
        return None
    now = timezone.now()
    if now - row.seen_at > SEEN_AFTER or row.address != address:
        # Not a row that ended meanwhile: it must stay ended, which this update leaves alone.
        SignIn.objects.filter(pk=row.pk).update(seen_at=now, address=address[:64])
    return _arrival(row)


def list_sign_ins(user_id: int, *, arrival: Arrival) -> list[SignIn]:
    """Where the person is signed in now, the last used first.

    Who came by a team's provider sees what came by that team's alone: the person's other browsers are not its business.
    """
    rows = list(_living(user_id))
    if arrival.by_password:
        return rows
    return [
        row
        for row in rows
        if not row.by_password and all(arrival.reaches(each.tenant_slug) for each in read_proofs(row.proofs))
    ]


def end_sign_in(sign_in_id: UUID | str, user_id: int) -> None:
    """End one sign-in of the person. Raises ``NotFound`` where they have no such one."""
    if not _living(user_id).filter(pk=sign_in_id).update(ended_at=timezone.now()):
        raise NotFound("You are not signed in there, or no longer.", code="sign_in_not_found")


def end_sign_ins(user_id: int, *, but: str | None = None, among: Collection[UUID] | None = None) -> int:
    """End every sign-in of the person (``among`` these, where given), ``but`` one. How many those were."""
    rows = _living(user_id) if among is None else _living(user_id).filter(pk__in=among)
    return (rows if but is None else rows.exclude(pk=but)).update(ended_at=timezone.now())


def _arrival(row: SignIn) -> Arrival:
    return Arrival(row.by_password, read_proofs(row.proofs))


def _living(user_id: int) -> QuerySet[SignIn]:
    return SignIn.objects.filter(user_id=user_id, ended_at__isnull=True, expires_at__gt=timezone.now())
