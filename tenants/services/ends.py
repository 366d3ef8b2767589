"""Puts the ends of memberships into the log. Ends nothing: a membership opens nothing from its time on, by itself."""

from __future__ import annotations

from django.utils import timezone

from tenants.access import marina_of
from tenants.models import Membership
from tenants.scoping import tenant_scope
from tenants.services.members import shown
from tenants.services.recording import record_change


def note_ends(tenant_id: int) -> int:
    """Record each membership of the tenant that has ended since, once (``member.expired``). How many there were."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        due = Membership.objects.filter(ends_at__lte=now, end_noted_at=None)
        rows = list(due.select_related("user").select_for_update(of=("self",), skip_locked=True))
        if not rows:
            return 0
        Membership.objects.filter(pk__in=[row.pk for row in rows]).update(end_noted_at=now)
        marina = marina_of(tenant_id)
        for row in rows:
            record_change("member.expired", caller=marina, before=shown(row))
    return len(rows)
