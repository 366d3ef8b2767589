"""Tools that a reader takes for another data source's: who chooses their names chooses no such one. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from core.errors import Conflict
from servers.execution.lookalikes import look
from servers.models import Tool


def first_alike(names: Iterable[str], *, besides: UUID | None = None) -> tuple[str, str, str] | None:
    """The first of these names that is a tool's of another source than ``besides``, or reads like it, with the names of
    that tool and of its source. In the open scope.
    """
    wanted = {look(name): name for name in names}
    if not wanted:
        return None
    tools = Tool.objects.exclude(source=besides).values_list("name", "source__name")
    return next(
        ((wanted[like], tool, source) for tool, source in tools if (like := look(tool)) in wanted), None
    )


def require_unlike(names: Iterable[str], *, besides: UUID) -> None:
    """Raise ``Conflict`` where a name is one that another source's tool has, or reads like it. In the open scope."""
    found = first_alike(names, besides=besides)
    if found is not None:
        name, tool, source = found
        raise Conflict(
            f"The name {name} reads like that of the tool {tool} of the data source {source}. Have "
            "it called otherwise, by an override or a prefix, so that nobody takes one for the other.",
            code="name_taken",
        )
