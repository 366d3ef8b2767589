"""How a tool's calls share results, as its team sets and sees it. Runs nothing; ``results`` does what is set here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import F

from core.errors import Unavailable
from core.loop import run_async
from servers.execution.contract import Operation
from servers.models import MAX_CACHE_SECONDS, Tool
from servers.services.changes import publish_change
from servers.services.results.counts import DAYS, Counts
from servers.services.results.plans import why_not_collapsed, why_not_kept
from servers.services.runtime import get_runtime
from servers.services.tools import get_tool, locked_tool
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import refuse, whole_number
from tenants.services.recording import record_change

_READ_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Caching:
    """How one tool's calls share results. Reasons are sentences, empty where there is none.

    ``seconds``: how long a result is kept; 0: not at all. ``why_not_kept``: why none is, whatever is set.
    ``by_caller``: what a caller left is for that caller alone. ``collapses``: calls made at once may run once;
    ``why_not_collapsed``: why they do not, whatever is set. ``counts`` are of ``DAYS`` days, all processes;
    ``None`` while they cannot be read.
    """

    tool_id: UUID
    seconds: int
    collapses: bool
    why_not_kept: str
    why_not_collapsed: str
    by_caller: bool
    counts: Counts | None

    @property
    def keeps(self) -> bool:
        """Whether results are kept."""
        return bool(self.seconds) and not self.why_not_kept

    @property
    def days(self) -> int:
        """Of how many days the counts are."""
        return DAYS


def get_caching(tool_id: UUID, *, caller: Caller) -> Caching:
    """How a tool's calls share results, and how often they did. Raises ``NotFound``."""
    return _described(get_tool(tool_id, caller=caller), _counts(tool_id, caller))


def change_caching(
    tool_id: UUID, *, seconds: int | None = None, collapses: bool | None = None, caller: Caller
) -> Caching:
    """As ``set_caching``, and how it is then. Not within a transaction: what was counted is read from Redis."""
    return _described(
        set_caching(tool_id, seconds=seconds, collapses=collapses, caller=caller), _counts(tool_id, caller)
    )


def set_caching(
    tool_id: UUID, *, seconds: int | None = None, collapses: bool | None = None, caller: Caller
) -> Tool:
    """Say how long results are kept (0: not at all), and whether calls made at once run once; ``None`` stays.

    What was kept so far is not given any more once ``seconds`` become fewer. Raises ``NotFound``, and ``InvalidInput``:
    for a tool whose results may not be kept with the reason.
    """
    caller.require(Action.TOOLS_CHANGE)
    if collapses is not None and not isinstance(collapses, bool):
        refuse("collapses", "must be true or false.")
    if seconds is not None:
        whole_number(seconds, "seconds", low=0, high=MAX_CACHE_SECONDS)
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        before = _shown(tool)
        if seconds and (reason := _described(tool, None).why_not_kept):
            refuse("seconds", reason)
        if seconds is not None and seconds != tool.cache_seconds:
            # Else what was kept for an hour would be given for an hour, also where a minute is meant now.
            tool.cache_generation += seconds < tool.cache_seconds
            tool.cache_seconds = seconds
        if collapses is not None:
            tool.collapses = collapses
        if _shown(tool) != before:
            tool.save(update_fields=["cache_seconds", "cache_generation", "collapses"])
            publish_change(caller.tenant_id)
            record_change(
                "tool.cache_changed", caller=caller, before=before, after=_shown(tool), tool=tool.name
            )
    return tool


def clear_cache(tool_id: UUID, *, caller: Caller) -> None:
    """Give no result any more that was kept until now, on every replica. Raises ``NotFound``."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        Tool.objects.filter(pk=tool.pk).update(cache_generation=F("cache_generation") + 1)
        publish_change(caller.tenant_id)
        record_change("tool.cache_cleared", caller=caller, after=_shown(tool), tool=tool.name)


def _described(tool: Tool, counts: Counts | None) -> Caching:
    version = tool.current
    backend = get_runtime().engine.find(tool.source.kind)
    if version is None or backend is None:
        reason = why_not_kept({}, None)
        return Caching(tool.pk, tool.cache_seconds, tool.collapses, reason, reason, True, counts)
    sharing = backend.sharing(Operation(version.kind, version.definition))
    return Caching(
        tool_id=tool.pk,
        seconds=tool.cache_seconds,
        collapses=tool.collapses,
        why_not_kept=why_not_kept(version.annotations, backend),
        why_not_collapsed=why_not_collapsed(version.annotations, backend, sharing),
        by_caller=sharing.by_caller,
        counts=counts,
    )


def _counts(tool_id: UUID, caller: Caller) -> Counts | None:
    try:
        return run_async(get_runtime().counter.read(caller.tenant_id, tool_id), timeout=_READ_SECONDS)
    except (Unavailable, TimeoutError):
        return None


def _shown(tool: Tool) -> dict[str, Any]:
    return {
        "id": str(tool.id),
        "name": tool.name,
        "cache_seconds": tool.cache_seconds,
        "collapses": tool.collapses,
    }
