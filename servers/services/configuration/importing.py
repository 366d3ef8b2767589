"""Plans and applies a configuration file. A plan is an application that is undone, and finds what applying finds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from core.errors import Conflict, InvalidInput
from servers.services.configuration.changes import Plan, compare, describe_brought
from servers.services.configuration.converging import Convergence
from servers.services.configuration.exporting import require_whole
from servers.services.configuration.mcp_lists import KIND as MCP
from servers.services.configuration.mcp_lists import convert_list, is_mcp_list
from servers.services.configuration.reading import Fault, File, check_form, read_text
from servers.services.configuration.settings import (
    KeptSetting,
    Wanted,
    kept_settings,
    read_given,
    wanted_settings,
    written_settings,
)
from servers.services.configuration.states import State, describe_state, load_state
from servers.services.hosted_runs import allowed_commands
from servers.services.kinds import list_kinds
from servers.services.served_versions import ending_words
from servers.services.sources import list_sources
from tenants.access import Caller
from tenants.models import Tenant
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import refuse
from tenants.services.recording import record_change, records_last

APPLIED = "configuration.applied"


class _Undone(Exception):
    """Ends the transaction of a plan without keeping anything of it."""


def _undo() -> NoReturn:
    raise _Undone


def plan_configuration(
    text: str | bytes, *, caller: Caller, prune: bool = False, secrets: Mapping[str, Any] | None = None
) -> Plan:
    """What applying the file would change. Saves nothing; may fetch documents that it names.

    A list of MCP servers, as clients keep it, is a file of data sources, too.

    ``secrets`` are settings that are not in the file: by source, then by name. With ``prune`` goes what the sections of
    the file do not name. Needs the rights that applying needs. Raises ``InvalidInput`` with the path and line of each
    fault, and ``Forbidden``.
    """
    file, notes, given = _read(text, secrets, prune, caller)
    wanted, faults = _wanted(file, given, caller)
    plans: list[Plan] = []
    try:
        with tenant_scope(caller.tenant_id), records_last(caller.tenant_id):
            plans.append(_converge(file, wanted, faults, prune, caller))
            _undo()
    except _Undone:
        return replace(plans[0], notes=notes)


def apply_configuration(
    text: str | bytes,
    *,
    caller: Caller,
    prune: bool = False,
    secrets: Mapping[str, Any] | None = None,
    fingerprint: str = "",
) -> Plan:
    """Make the team what the file says: all of it, or nothing.

    ``fingerprint`` is that of the plan that was looked at: where the plan is another one by now, the answer is
    ``Conflict``. Raises as ``plan_configuration`` does.
    """
    file, notes, given = _read(text, secrets, prune, caller)
    wanted, faults = _wanted(file, given, caller)
    with tenant_scope(caller.tenant_id), records_last(caller.tenant_id):
        # Two at once would each compare with what the other is about to change.
        Tenant.objects.select_for_update(no_key=True).only("pk").get(pk=caller.tenant_id)
        plan = _converge(file, wanted, faults, prune, caller)
        if fingerprint and fingerprint != plan.fingerprint:
            raise Conflict(
                "The plan is another one by now: the team was changed, or the file. Look at the new plan.",
                code="plan_moved",
            )
        if plan.changes:
            digest = hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()
            counts = {f"{action}d": plan.count(action) for action in ("create", "change", "delete")}
            record_change(APPLIED, caller=caller, after={"file_sha256": digest, "prune": prune, **counts})
    return Plan(plan.changes, applied=True, notes=notes)


def list_kept(text: str | bytes) -> list[KeptSetting]:
    """The settings that a file, or a list of MCP servers, leaves out. Raises ``InvalidInput``."""
    found = read_text(text)
    if is_mcp_list(found):
        return kept_settings(convert_list(found, taken=(), kinds=[MCP], commands=allowed_commands()).file)
    return kept_settings(check_form(found))


def _read(
    text: str | bytes, secrets: Mapping[str, Any] | None, prune: bool, caller: Caller
) -> tuple[File, tuple[str, ...], dict[str, dict[str, Any]]]:
    """The file, what is said of it, and what was given with it."""
    require_whole(caller)
    caller.require(Action.SOURCES_CHANGE)
    found = read_text(text)
    notes: tuple[str, ...] = ()
    if is_mcp_list(found):
        if prune:
            refuse("prune", "a list of MCP servers says nothing of other data sources. Leave prune out.")
        taken = [row.name for row in list_sources(caller=caller)]
        made = convert_list(
            found,
            taken=taken,
            kinds=[kind.name for kind in list_kinds()],
            commands=allowed_commands(),
        )
        file, notes = made.file, made.notes
    else:
        file = check_form(found)
    given = read_given(secrets or {})
    for name in given:
        if name not in file.entries("sources"):
            refuse(f"secrets.{name}", "the file has no data source of that name.")
    return file, notes, given


def _wanted(
    file: File, given: Mapping[str, Mapping[str, Any]], caller: Caller
) -> tuple[dict[str, Wanted], list[Fault]]:
    """The settings of each source of the file. Outside of any transaction: documents may be fetched."""
    rows = {row.name: row for row in list_sources(caller=caller)}
    wanted: dict[str, Wanted] = {}
    faults: list[Fault] = []
    for name, entry in file.entries("sources").items():
        row = rows.get(name)
        wished = entry.get("settings") or {}
        if (
            row is not None
            and (row.kind != entry["kind"] or wished == written_settings(row))
            and not given.get(name)
        ):
            wanted[name] = Wanted(None, version=row.version)
            continue
        try:
            wanted[name] = wanted_settings(entry["kind"], wished, given.get(name, {}), row, caller=caller)
        except InvalidInput as fault:
            errors = fault.errors or [{"path": "settings", "message": fault.message}]
            faults += [Fault(("sources", name), each["message"], each["path"]) for each in errors]
    return wanted, faults


def _converge(
    file: File, wanted: Mapping[str, Wanted], faults: list[Fault], prune: bool, caller: Caller
) -> Plan:
    """Do it, in the scope that is open, and say what became different. Raises ``InvalidInput``."""
    before = load_state(caller=caller)
    was, had = describe_state(before), _brought_names(before)
    run = Convergence(file, wanted, prune, caller, faults)
    run.run()
    if run.faults:
        raise file.refusal(run.faults)
    after = load_state(caller=caller)
    has = _brought_names(after)
    ended = _ended(before, after)
    return compare(
        was,
        describe_state(after),
        renewed={name: each.renewed for name, each in wanted.items()},
        brought={
            name: [*describe_brought(had.get(name, {}), has.get(name, {})), *ended.get(name, ())]
            for name in {*had, *has}
        },
    )


def _brought_names(state: State) -> dict[str, dict[str, set[str]]]:
    return {
        name: {section: set(rows) for section, rows in state.brought(row).items()}
        for name, row in state.sources.items()
    }


def _ended(before: State, after: State) -> dict[str, list[str]]:
    """Sentences on what servers that stay had set for tools that go, by the names of their sources."""
    stays = {row.pk for row in after.served}
    names = {row.pk: name for name, row in before.sources.items()}
    sentences: dict[str, list[str]] = {}
    for row in before.served:
        if row.pk not in stays and row.server.slug in after.servers:
            told = f"Of {row.tool.name}: {ending_words(row)}"
            sentences.setdefault(names[row.tool.source_id], []).append(told)
    return sentences
