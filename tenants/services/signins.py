"""Where a person is signed in, and how they end that. Knows no request and no session store: a session holds an id.

The row decides: a session whose row has ended opens nothing from the next request on, on every replica.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from core.errors import NotFound
from tenants.models import SignIn

SESSION_KEY: Final = "sign_in"
"""Where a session names its row."""

SEEN_AFTER: Final = timedelta(seconds=60)
"""How far behind ``seen_at`` may be, so that not every request writes."""


def begin_sign_in(user_id: int, *, address: str, browser: str) -> SignIn:
    """Note that a person signed in, from where and with which browser (its ``User-Agent``)."""
    now = timezone.now()
    return SignIn.objects.create(
        user_id=user_id,
        address=address[:64],
        browser="".join(character for character in browser if character.isprintable())[:300],
        created_at=now,
        seen_at=now,
        expires_at=now + timedelta(seconds=settings.SESSION_COOKIE_AGE),
    )


def sign_in_lives(sign_in_id: str, user_id: int) -> bool:
    """Whether this sign-in of this person still opens anything."""
    return _living(user_id).filter(pk=sign_in_id).exists()


def see_sign_in(sign_in_id: str, user_id: int, *, address: str) -> bool:
    """As ``sign_in_lives``; notes too that it was used, and from where."""
    row = _living(user_id).filter(pk=sign_in_id).first()
    if row is None:
        return False
    now = timezone.now()
    if now - row.seen_at > SEEN_AFTER or row.address != address:
        # Not a row that ended meanwhile: it must stay ended, which this update leaves alone.
        SignIn.objects.filter(pk=row.pk).update(seen_at=now, address=address[:64])
    return True


def list_sign_ins(user_id: int) -> list[SignIn]:
    """Where the person is signed in now, the last used first."""
    return list(_living(user_id))


def end_sign_in(sign_in_id: UUID | str, user_id: int) -> None:
    """End one sign-in of the person. Raises ``NotFound`` where they have no such one."""
    if not _living(user_id).filter(pk=sign_in_id).update(ended_at=timezone.now()):
        raise NotFound("You are not signed in there, or no longer.", code="sign_in_not_found")


def end_sign_ins(user_id: int, *, but: str | None = None) -> int:
    """End every sign-in of the person, ``but`` one. How many those were."""
    rows = _living(user_id)
    return (rows if but is None else rows.exclude(pk=but)).update(ended_at=timezone.now())


def _living(user_id: int) -> QuerySet[SignIn]:
    return SignIn.objects.filter(user_id=user_id, ended_at__isnull=True, expires_at__gt=timezone.now())
