"""Tenants with nobody in them, for tests of the log alone: a hundred times quicker than a team with members."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from tenants.models import Tenant


class Place(NamedTuple):
    """A tenant whose log is empty."""

    tenant_id: int
    slug: str


def make_place() -> Place:
    """A new tenant."""
    slug = f"log-{secrets.token_hex(6)}"
    return Place(Tenant.objects.create(slug=slug, name="A log").pk, slug)
