"""How lists of what sources bring are filtered and grouped. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, TypeVar
from uuid import UUID

from servers.models import DataSource, Prompt, Resource, Server, Tool

Row = TypeVar("Row", Tool, Resource, Prompt)


def matches(words: str, *texts: str) -> bool:
    """Whether each of the words stands in one of the texts, in whatever case."""
    text = "\n".join(texts).casefold()
    return all(word in text for word in words.casefold().split())


def filtered_list(given: str, rows: Sequence[Row], texts: Callable[[Row], Iterable[str]]) -> dict[str, Any]:
    """What ``offering_list.html`` shows: the rows whose texts, or data source, hold the words of the filter."""
    words = given.strip()
    shown = [row for row in rows if matches(words, *texts(row), row.source.name)]
    return {"groups_of_rows": group_by_source(shown), "words": words, "any": bool(rows)}


def group_by_source(rows: Iterable[Row]) -> list[tuple[DataSource, list[Row]]]:
    """The rows of each data source, sources by name; within one, the order stays."""
    ordered = sorted(rows, key=lambda row: row.source.name)
    return [(source, list(group)) for source, group in groupby(ordered, key=lambda row: row.source)]


def offers(server: Server, source_id: UUID) -> bool:
    """Whether a server, with its sources, offers what comes of this one."""
    return server.offers_all or any(source.id == source_id for source in server.sources.all())


def offering_servers(servers: Iterable[Server], source_id: UUID) -> list[str]:
    """The slugs of the servers that offer what comes of a source, ``default`` first."""
    slugs = [server.slug for server in servers if offers(server, source_id)]
    return sorted(slugs, key=lambda slug: (slug != "default", slug))
