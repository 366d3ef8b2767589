"""The names under which servers offer versions of tools beside the current ones. Offers nothing itself.

``echo_v1`` is version 1 of ``echo``, on every server that offers it: so a pipeline or a scope that names it means one
thing. No tool may have such a name while a server uses it, and none is offered under a name that a tool has.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from core.errors import Conflict
from servers.models import ServedVersion

_ALIAS: Final = re.compile(r"(.+)_v([1-9][0-9]{0,8})")


def alias_of(name: str, number: int) -> str:
    """The name of version ``number`` of the tool ``name`` where it stands beside the current one."""
    return f"{name}_v{number}"


def read_alias(name: str) -> tuple[str, int] | None:
    """The tool and the number that such a name is of; ``None``: it is none. There may be no such tool."""
    found = _ALIAS.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def served_beside(names: Collection[str]) -> dict[str, ServedVersion]:
    """Those of the names that a server offers a version under, with one such server's. In the scope that is open."""
    tools = {found[0] for name in names if (found := read_alias(name)) is not None}
    if not tools:
        return {}
    rows = ServedVersion.objects.filter(use=ServedVersion.Use.BESIDE, tool__name__in=tools)
    beside = {
        alias_of(row.tool.name, row.version.number): row
        for row in rows.select_related("server", "tool__source", "version")
    }
    return {name: beside[name] for name in names if name in beside}


def require_no_alias(names: Collection[str]) -> None:
    """Raise ``Conflict`` where a server offers a version of another tool under one of the names.

    Asked after the change was published, which makes one change of a tenant wait for the other: so neither misses it.
    """
    for alias, row in served_beside(names).items():
        raise Conflict(
            f"The server {row.server.slug} offers version {row.version.number} of {row.tool.name} as {alias}. Choose "
            "another name, or end that first.",
            code="name_taken",
        )
