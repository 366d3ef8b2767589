"""Which of a tool's calls may have one result, and why others may not. Decided once a snapshot; keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from core.crypto import Sealer
from servers.execution.contract import Backend, Operation, Sharing, Source
from servers.models import Tool, ToolVersion

FindBackend = Callable[[str], Backend | None]
"""The backend of a kind of data source, where it is installed."""


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """How calls of one version of a tool share results.

    ``start`` begins the key of each: it is the same as long as nothing changed on which results depend besides the
    arguments. For ``seconds`` a result is kept; 0: not at all. ``collapses``: calls that are made at once run once.
    ``by_caller`` and ``opt_out`` are as of ``Sharing``.
    """

    tenant_id: int
    tool_id: UUID
    start: bytes = field(repr=False)
    seconds: int = 0
    collapses: bool = False
    by_caller: bool = True
    opt_out: str = ""


def plan_sharing(
    tool: Tool, version: ToolVersion, source: Source | None, find: FindBackend, sealer: Sealer
) -> Shared | None:
    """How calls of this version share results; ``None`` where each runs for itself."""
    backend = None if source is None else find(source.kind)
    if source is None or backend is None or why_not_kept(version.annotations, backend):
        return None
    sharing = backend.sharing(Operation(version.kind, version.definition))
    collapses = tool.collapses and not why_not_collapsed(version.annotations, backend, sharing)
    if not tool.cache_seconds and not collapses:
        return None
    # The settings as they are opened: what stands behind the name of a secret changes without the source.
    settings = sealer.fingerprint(orjson.dumps(dict(source.settings), option=orjson.OPT_SORT_KEYS))
    depends_on = [
        "result",
        tool.tenant_id,
        version.pk,
        tool.cache_generation,
        source.id,
        source.version,
        settings.hex(),
        sharing.by_caller,
    ]
    return Shared(
        tenant_id=tool.tenant_id,
        tool_id=tool.pk,
        start=sealer.fingerprint(orjson.dumps(depends_on)),
        seconds=tool.cache_seconds,
        collapses=collapses,
        by_caller=sharing.by_caller,
        opt_out=sharing.opt_out,
    )


def no_backend(kind: str) -> Backend | None:
    """A ``FindBackend`` where no call is to be made: nothing is known of any kind."""
    return None


def why_not_kept(annotations: Mapping[str, Any], backend: Backend | None) -> str:
    """Why no result of such a tool may be kept, as a sentence; empty where it may."""
    if backend is None:
        return "The kind of its data source is not installed any more, so nothing is known of its results."
    if annotations.get("readOnlyHint") is not True:
        return "The tool may change something (it does not say readOnlyHint), so each call of it has to run."
    if backend.composes:
        return "The tool calls other tools, each decided and recorded for itself. Keep the results of those."
    return ""


def why_not_collapsed(annotations: Mapping[str, Any], backend: Backend | None, sharing: Sharing) -> str:
    """Why calls of such a tool that are made at once each run, as a sentence; empty where one run serves all."""
    reason = why_not_kept(annotations, backend)
    if reason:
        return reason
    if annotations.get("idempotentHint") is not True:
        return "The tool does not say that the same call does the same again (idempotentHint)."
    if sharing.by_caller:
        return "What it answers may depend on who calls."
    if not sharing.waits:
        return "It waits for nothing outside of Marina, so one run for several calls would spare nothing."
    return ""
