"""Tools and prompts that a reader takes for another data source's: who chooses their names chooses no such one.
Changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from core.errors import Conflict
from servers.execution.lookalikes import look
from servers.models import Prompt, Tool


def first_alike(
    names: Iterable[str], of: type[Tool | Prompt] = Tool, *, besides: UUID | None = None
) -> tuple[str, str, str] | None:
    """The first of these names that another source than ``besides`` has a tool (or what ``of`` says) by, or that reads
    like it, with the name of that and of its source. In the open scope.
    """
    wanted = {look(name): name for name in names}
    if not wanted:
        return None
    there = of.objects.exclude(source=besides).values_list("name", "source__name")
    return next(
        ((wanted[like], name, source) for name, source in there if (like := look(name)) in wanted), None
    )


def require_unlike(names: Iterable[str], of: type[Tool | Prompt] = Tool, *, besides: UUID) -> None:
    """Raise ``Conflict`` where a name is one that another source's tool has (or what ``of`` says), or reads like it. In
    the open scope.
    """
    found = first_alike(names, of, besides=besides)
    if found is not None:
        name, other, source = found
        word, way = ("tool", ", by an override or a prefix,") if of is Tool else ("prompt", ", by a prefix,")
        raise Conflict(
            f"The name {name} reads like that of the {word} {other} of the data source {source}. Have "
            f"it called otherwise{way} so that nobody takes one for the other.",
            code="name_taken",
        )
