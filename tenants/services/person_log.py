"""Puts what concerns a person, and no one team, into the logs of the teams that they have come to.

A team that somebody was added to and never came to learns nothing of them: anybody may add any address.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from core.errors import Forbidden
from core.requestid import current_request_id
from tenants.access import Caller, caller_of_membership
from tenants.models import Membership, User
from tenants.scoping import directory_scope, tenant_scope
from tenants.services.recording import record_change, record_refusal

_log = logging.getLogger(__name__)


def record_of_person(kind: str, *, user: User, after: Mapping[str, Any]) -> None:
    """Append that the person changed something of their account, in the caller's own transaction.

    It holds the heads of those teams' logs, in the order of their ids, until the transaction ends.
    """
    _log.info(kind, extra={"user_id": user.pk, "request_id": current_request_id()})
    for caller in _callers(user):
        with tenant_scope(caller.tenant_id):
            record_change(kind, caller=caller, after=after)


def record_refused_person(kind: str, refusal: Forbidden, *, operation: str, user: User) -> None:
    """Append that a rule refused somebody who wanted to be this person."""
    _log.warning(kind, extra={"user_id": user.pk, "code": refusal.code, "request_id": current_request_id()})
    for caller in _callers(user):
        record_refusal(kind, refusal, operation=operation, caller=caller)


def _callers(user: User) -> list[Caller]:
    with directory_scope(user_id=user.pk):
        rows = list(
            Membership.directory.select_related("tenant")
            .filter(user_id=user.pk, visited_at__isnull=False)
            .order_by("tenant_id")
        )
    now = timezone.now()
    return [caller_of_membership(row, user.email, row.tenant.slug) for row in rows if row.is_live(now)]
