"""Which rows that stand on data sources a server offers, or a caller's scopes leave to it. Checks no right."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from servers.models import DataSource, ServedVersion, Server, Tool, ToolVersion
from servers.services.visibility import servers_left
from tenants.access import Caller

M = TypeVar("M", bound=Model)


def within_servers(rows: QuerySet[M], caller: Caller) -> QuerySet[M]:
    """Those of ``rows`` (each with a ``source``) that a server within the caller's reach can offer.

    In the scope of the caller's tenant.
    """
    slugs = servers_left(caller)
    if slugs is None or Server.objects.filter(slug__in=slugs, offers_all=True).exists():
        return rows
    return rows.filter(source__in=DataSource.objects.filter(servers__slug__in=slugs))


def offered_by(server: Server, rows: QuerySet[M]) -> QuerySet[M]:
    """Those of ``rows`` (tools, resources or prompts) that the server offers: what is switched on of its sources."""
    rows = rows.filter(enabled=True)
    return rows if server.offers_all else rows.filter(source__in=server.sources.all())


def offers_source(server: Server, source_id: UUID) -> bool:
    """Whether the server offers what comes of this source."""
    return server.offers_all or server.sources.filter(pk=source_id).exists()


def offered_tools(server: Server) -> QuerySet[Tool]:
    """The tools that the server offers to everybody: of those that were never published, none."""
    return offered_by(server, Tool.objects.filter(current__state=ToolVersion.State.PUBLISHED))


def served_by(server: Server) -> QuerySet[ServedVersion]:
    """The versions that the server offers otherwise, of tools that it offers or could."""
    rows = ServedVersion.objects.filter(server=server, tool__enabled=True)
    return rows if server.offers_all else rows.filter(tool__source__in=server.sources.all())
