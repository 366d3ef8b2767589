"""What a team says of an upstream's tools in place of their server: told beside what that says, and changed.

The overrides are settings of the source, and the rest of them stays, secrets too: nothing is sent elsewhere by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.errors import Conflict, InvalidInput
from servers.execution.contract import Offering, OnBehalf
from servers.models import DataSource
from servers.services.kinds import backend_of
from servers.services.offerings import Refreshed
from servers.services.override_rules import SETTING, require_new_names
from servers.services.sources import (
    cleaned_settings,
    execution_source,
    get_source,
    taken_over_anew,
    with_documents,
)
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import faults_below, refuse
from tenants.services.recording import record_change


@dataclass(frozen=True, slots=True)
class ToolOverride:
    """What is said of one tool, by the name that its server gives it. ``original`` is what the server says of it.

    That is empty where the server lists no such tool: then the override changes nothing.
    """

    tool: str
    override: Mapping[str, Any]
    original: Mapping[str, Any]


def list_overrides(source_id: UUID, *, caller: Caller) -> list[ToolOverride]:
    """The overrides of a source, by tool. Raises ``NotFound``."""
    return overrides_of(get_source(source_id, caller=caller))


def overrides_of(source: DataSource) -> list[ToolOverride]:
    """The same of a source that was read."""
    given = source.settings.get(SETTING) or {}
    upstream = source.settings.get("upstream")
    originals = upstream.get("originals", {}) if isinstance(upstream, Mapping) else {}
    return [ToolOverride(tool, given[tool], originals.get(tool, {})) for tool in sorted(given)]


def set_overrides(source_id: UUID, overrides: Mapping[str, Any], *, caller: Caller) -> Refreshed:
    """Have a source's tools described so, in place of all overrides that it has. Asks the server what it says now.

    Raises ``NotFound``, ``Forbidden``, ``InvalidInput`` with a path a fault, and ``Conflict`` where the server
    describes something otherwise than when that was taken over: that is looked at first, by itself.
    """
    caller.require(Action.SOURCES_CHANGE)
    caller.require(Action.SOURCES_APPROVE)
    row = get_source(source_id, caller=caller)
    backend = backend_of(row.kind)
    if SETTING not in backend.settings_schema.get("properties", {}):
        refuse(SETTING, "this kind of data source takes none.")
    stored = execution_source(row)
    before = overrides_of(row)
    given = with_documents(
        backend,
        {**stored.settings, SETTING: dict(overrides)},
        team=caller.tenant_id,
        anew=True,
        on_behalf=OnBehalf(stored, caller.user_id),
    )
    backend, cleaned = cleaned_settings(row.kind, given)
    # What is compared goes by the overrides, too: a tool may be there by its other name alone.
    as_before = backend.keep_settings({**cleaned, SETTING: stored.settings.get(SETTING, {})})["upstream"]
    if as_before["fingerprint"] != stored.settings.get("upstream", {}).get("fingerprint"):
        raise Conflict(
            "The server describes something otherwise than when that was taken over. Refresh the data source first, "
            "and look at what changed.",
            code="definitions_changed",
        )
    with faults_below("settings"):
        offering = backend.offered(cleaned)
    _require_fitting(cleaned.get(SETTING, {}), offering)
    with tenant_scope(caller.tenant_id):
        require_new_names(row, cleaned.get(SETTING, {}))
        source, done = taken_over_anew(source_id, backend, cleaned, row.version, caller=caller, approved=True)
        shown = {"id": str(source.id), "name": source.name}
        record_change(
            "source.overridden",
            caller=caller,
            before={**shown, SETTING: {each.tool: each.override for each in before}},
            after={**shown, SETTING: cleaned.get(SETTING, {})},
        )
    return done


def _require_fitting(overrides: Mapping[str, Any], offering: Offering) -> None:
    """Raise ``InvalidInput`` where an override is of no tool, or does not fit it."""
    offered = {each.operation.definition["name"] for each in offering.tools}
    reasons = {each.name: each.reason for each in offering.left_out if each.what == "tool"}
    faults = [
        {
            "path": f"{SETTING}.{tool}",
            "message": reasons.get(tool, "The server lists no such tool that is taken."),
        }
        for tool in overrides
        if tool not in offered
    ]
    if faults:
        raise InvalidInput(faults[0]["message"], errors=faults)
