"""How lists of what sources bring are filtered and grouped. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TypeVar
from uuid import UUID

from servers.models import DataSource, Prompt, Resource, Server, Tool

Row = TypeVar("Row", Tool, Resource, Prompt)


def matches(words: str, *texts: str) -> bool:
    """Whether each of the words stands in one of the texts, in whatever case."""
    text = "\n".join(texts).casefold()
    return all(word in text for word in words.casefold().split())


def group_by_source(rows: Iterable[Row]) -> list[tuple[DataSource, list[Row]]]:
    """The rows of each data source, sources by name; within one, the order stays."""
    ordered = sorted(rows, key=lambda row: row.source.name)
    return [(source, list(group)) for source, group in groupby(ordered, key=lambda row: row.source)]


def offering_servers(servers: Iterable[Server], source_id: UUID) -> list[str]:
    """The slugs of the servers that offer what comes of a source, ``default`` first."""
    slugs = [
        server.slug
        for server in servers
        if server.offers_all or any(source.id == source_id for source in server.sources.all())
    ]
    return sorted(slugs, key=lambda slug: (slug != "default", slug))
