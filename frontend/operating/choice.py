"""Which team the operator looks into, kept in their session until its time is over. Records nothing."""

from __future__ import annotations

from dataclasses import dataclass
from time import time
from typing import Final

from django.http import HttpRequest

from tenants.models import Tenant
from tenants.services.operating import LOOK

_KEY: Final = "operator_team"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A team that is looked into, until ``until`` (seconds since 1970)."""

    tenant_id: int
    slug: str
    until: float

    @property
    def minutes_left(self) -> int:
        """Whole minutes, rounded up."""
        return max(0, -int(-(self.until - time()) // 60))


def chosen_team(request: HttpRequest) -> Chosen | None:
    """The team that this session looks into, while its time lasts."""
    kept = request.session.get(_KEY)
    chosen = None if kept is None else Chosen(*kept)
    return chosen if chosen is not None and time() < chosen.until else None


def choose_team(request: HttpRequest, tenant: Tenant) -> None:
    """Look into this team from now on."""
    request.session[_KEY] = [tenant.pk, tenant.slug, time() + LOOK.total_seconds()]


def forget_team(request: HttpRequest) -> None:
    """Look into none."""
    request.session.pop(_KEY, None)
