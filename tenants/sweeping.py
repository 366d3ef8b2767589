"""Deletes what expired long enough ago to be asked for no more: of tenants, each in its own scope, and of people.

In batches, a transaction each, of rows that nobody holds: a sweep makes nobody wait and can be ended at any moment.
What the log says of the rows stays. Knows no Celery.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from tenants.models import (
    Invitation,
    OAuthAccessToken,
    OAuthAuthorization,
    OAuthClient,
    OAuthCode,
    SignIn,
)
from tenants.scoping import tenant_scope

BATCH: Final = 500
MAX_BATCHES: Final = 20
"""Of one table of one tenant in one run; the next run goes on."""

TOKENS_KEPT: Final = timedelta(days=1)
"""A client that comes with an old token is told that it expired, and a second use of an old code is known for one."""

AUTHORIZATIONS_KEPT: Final = timedelta(days=30)
"""Refresh tokens go with them: one that comes again after its family ended is known so long."""

CLIENTS_KEPT: Final = timedelta(hours=1)
"""Longer than a member may take over the page of consent."""

INVITATIONS_KEPT: Final = timedelta(days=90)
"""Until then an expired invitation can be sent again."""

SIGN_INS_KEPT: Final = timedelta(days=30)


def sweep_tenant(tenant_id: int) -> int:
    """Delete what has expired of one tenant. How many rows that were, without those that hang on them."""
    now = timezone.now()
    return sum(_sweep(partial(due, now), tenant_id) for due in _OF_TENANTS)


def sweep_people() -> int:
    """Delete what has expired of people, who are no tenant's: browser sessions, and sign-ins that ended."""
    now = timezone.now()
    ended = Q(expires_at__lt=now - SIGN_INS_KEPT) | Q(ended_at__lt=now - SIGN_INS_KEPT)
    return _sweep(lambda: Session.objects.filter(expire_date__lt=now)) + _sweep(
        lambda: SignIn.objects.filter(ended)
    )


def _tokens(now: datetime) -> QuerySet[Any]:
    return OAuthAccessToken.objects.filter(expires__lt=now - TOKENS_KEPT)


def _codes(now: datetime) -> QuerySet[Any]:
    return OAuthCode.objects.filter(expires__lt=now - TOKENS_KEPT)


def _authorizations(now: datetime) -> QuerySet[Any]:
    oldest = now - AUTHORIZATIONS_KEPT
    return OAuthAuthorization.objects.filter(Q(expires_at__lt=oldest) | Q(revoked_at__lt=oldest))


def _clients(now: datetime) -> QuerySet[Any]:
    """Those that came by themselves and that nobody lets act. One that was shut out stays, and stays shut out."""
    oldest = now - CLIENTS_KEPT
    agreed = OAuthAuthorization.objects.filter(client=OuterRef("pk"))
    waiting = Q(expires_at__lt=oldest) | Q(
        registration_source=OAuthClient.RegistrationSource.CIMD, cimd_expires_at__lt=oldest
    )
    return OAuthClient.objects.filter(waiting, ~Exists(agreed), revoked_at=None)


def _invitations(now: datetime) -> QuerySet[Any]:
    return Invitation.objects.filter(expires_at__lt=now - INVITATIONS_KEPT)


_OF_TENANTS: Final[tuple[Callable[[datetime], QuerySet[Any]], ...]] = (
    _tokens,
    _codes,
    _authorizations,
    _clients,
    _invitations,
)
"""In this order: a client goes in the same run as what hung on it."""


def _sweep(due: Callable[[], QuerySet[Any]], tenant_id: int | None = None) -> int:
    """Delete rows batch by batch until a batch is not full."""
    gone = 0
    for _ in range(MAX_BATCHES):
        with transaction.atomic() if tenant_id is None else tenant_scope(tenant_id):
            swept = _sweep_batch(due())
        gone += swept
        if swept < BATCH:
            break
    return gone


def _sweep_batch(rows: QuerySet[Any]) -> int:
    held: QuerySet[Any] = rows.order_by().select_for_update(skip_locked=True)
    numbers = list(held.values_list("pk", flat=True)[:BATCH])
    rows.model.objects.filter(pk__in=numbers).delete()
    return len(numbers)
