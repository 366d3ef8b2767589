"""Tools and their versions: what a tool is never changes, it gets a new version. Runs no tool."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from django.db.models import Max, OuterRef, QuerySet, Subquery

from core.errors import Conflict, NotFound
from core.resting import rest
from servers.execution.contract import Offered, Operation
from servers.execution.schemas import compile_schema
from servers.models import DataSource, ServedVersion, Tool, ToolVersion
from servers.services.aliases import require_no_alias, served_beside
from servers.services.bounds import (
    MAX_DEFINITION_BYTES,
    MAX_SCHEMA_BYTES,
    check_name,
    clean_description,
    clean_title,
)
from servers.services.changes import publish_change
from servers.services.kinds import backend_of, tools_called
from servers.services.reach import within_servers
from servers.services.redaction import mask_secrets
from servers.services.visibility import tools_left
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import check_json, clean_text, faults_below, name_taken, refuse
from tenants.services.recording import record_change

State: Final = ToolVersion.State

ROWS_AT_ONCE: Final = 20
"""Stored by one statement. Its text is written without a pause for anybody else, and a version has up to 200 kB."""


def list_tools(*, caller: Caller) -> list[Tool]:
    """The tools that the caller may see, by name, each with its source and current version."""
    caller.require(Action.TOOLS_READ)
    with tenant_scope(caller.tenant_id):
        return list(_visible(caller).select_related("source", "current"))


def get_tool(tool_id: UUID, *, caller: Caller) -> Tool:
    """One tool with its source and current version. Raises ``NotFound``."""
    caller.require(Action.TOOLS_READ)
    with tenant_scope(caller.tenant_id):
        return find_tool(tool_id, caller)


def get_tool_name(tool_id: UUID, *, caller: Caller) -> str:
    """The name to call a tool by. Raises ``NotFound``.

    It asks for no right of its own: the call's one decision path decides, and records what it refuses.
    """
    with tenant_scope(caller.tenant_id):
        name = Tool.objects.filter(pk=tool_id).values_list("name", flat=True).first()
    if name is None:
        raise _no_such_tool()
    return name


def create_tool(
    name: str,
    source: str,
    kind: str,
    definition: Mapping[str, Any],
    title: str = "",
    description: str = "",
    *,
    caller: Caller,
    draft: bool = False,
) -> Tool:
    """Make a tool of the team's own on the data source called ``source``; a ``draft`` is not offered yet.

    Raises ``InvalidInput`` (with a path a fault), ``NotFound`` (the source) and ``Conflict`` (the name).
    """
    caller.require(Action.TOOLS_CHANGE)
    check_name(name)
    with tenant_scope(caller.tenant_id):
        row = DataSource.objects.filter(name=clean_text(source, "source", longest=64)).first()
        if row is None:
            known = ", ".join(DataSource.objects.values_list("name", flat=True)[:20]) or "none yet"
            refuse("source", f"there is no data source of that name. This team's: {known}.")
        offered = _compiled(row.kind, kind, definition, name)
        tool = store_tool(
            row,
            replace(
                offered,
                name=name,
                title=clean_title(title) or offered.title,
                description=clean_description(description) or offered.description,
            ),
            caller=caller,
            draft=_flag(draft, "draft"),
        )
        publish_change(caller.tenant_id)
        require_no_alias([tool.name])
        record_change("tool.created", caller=caller, after=shown_tool(tool), tool=tool.name)
    return tool


def change_tool(
    tool_id: UUID,
    *,
    caller: Caller,
    definition: Mapping[str, Any] | None = None,
    title: str | None = None,
    description: str | None = None,
    enabled: bool | None = None,
    based_on: int | None = None,
    draft: bool = False,
) -> Tool:
    """Give a tool a new version; what is ``None`` stays. No difference makes no version.

    A ``draft`` is kept beside the current version. ``enabled`` is not part of a version: it is as ``set_tool_enabled``
    has it.

    ``based_on`` is the version that the change was made from, which may be a draft: where another was published
    since, the answer is ``Conflict``. Also raises ``InvalidInput`` and ``NotFound``.
    """
    caller.require(Action.TOOLS_CHANGE)
    draft = _flag(draft, "draft")
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        base = _base(tool, based_on)
        new = replace(
            offered_as(tool, base),
            title=base.title if title is None else clean_title(title),
            description=base.description if description is None else clean_description(description),
        )
        if definition is not None:
            compiled = _compiled(tool.source.kind, base.kind, definition, tool.name)
            new = replace(
                compiled, name=tool.name, title=new.title, description=new.description, icons=new.icons
            )
        if _differs(new, base) or not (draft or is_published(base)):
            before = shown_tool(tool)
            version = _add_version(tool, new, caller=caller, draft=draft)
            publish_change(caller.tenant_id)
            kind = "tool.draft_saved" if draft else "tool.changed"
            after = {**shown_tool(tool), **shown_version(version)}
            record_change(kind, caller=caller, before=before, after=after, tool=tool.name)
        if enabled is not None:
            return set_tool_enabled(tool_id, enabled, caller=caller)
    return tool


def set_tool_enabled(tool_id: UUID, enabled: bool, *, caller: Caller) -> Tool:
    """Offer a tool, or take it off every server without losing it. Raises ``NotFound``."""
    caller.require(Action.TOOLS_CHANGE)
    _flag(enabled, "enabled")
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        if tool.enabled == enabled:
            return tool
        before = shown_tool(tool)
        tool.enabled = enabled
        tool.save(update_fields=["enabled"])
        kind = "tool.enabled" if enabled else "tool.disabled"
        publish_change(caller.tenant_id)
        record_change(kind, caller=caller, before=before, after=shown_tool(tool), tool=tool.name)
    return tool


def delete_tool(tool_id: UUID, *, caller: Caller) -> None:
    """Delete a tool with its versions; the log keeps what it was.

    Raises ``NotFound``, and ``Conflict`` while a server is bound to one of its versions.
    """
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        _require_unserved(tool)
        before, name = shown_tool(tool), tool.name
        tool.delete()
        publish_change(caller.tenant_id)
        record_change("tool.deleted", caller=caller, before=before, tool=name)


def store_tool(source: DataSource, offered: Offered, *, caller: Caller, draft: bool = False) -> Tool:
    """Write a tool with its version 1, in the scope that is open. Raises ``Conflict`` for a taken name."""
    name = offered.name
    with name_taken("servers_tool_name_unique", f"A tool called {name} exists already. Choose another name."):
        tool = Tool.objects.create(name=name, source=source)
    _add_version(tool, offered, caller=caller, draft=draft)
    return tool


def store_tools(source: DataSource, offered: Sequence[Offered], *, caller: Caller) -> None:
    """Write tools that come with their source, each with its version 1, in the scope that is open.

    All at once, as a source may bring thousands, and in the form in which they are stored (``tools_of``). Raises
    ``Conflict`` for a taken name.
    """
    taken = Tool.objects.filter(name__in=[each.name for each in offered]).order_by("name").first()
    words = (
        f"A tool called {taken.name} exists already." if taken else "One of the names was taken this moment."
    )
    if taken is not None:
        raise Conflict(f"{words} Choose another name.", code="name_taken")
    tools = [
        Tool(tenant_id=source.tenant_id, name=each.name, source=source, brought=True) for each in offered
    ]
    versions = []
    for tool, each in zip(tools, offered, strict=True):
        versions.append(_version(tool, 1, each, caller))
        rest()
    with name_taken("servers_tool_name_unique", f"{words} Try again."):
        _store(Tool, tools)
    _store(ToolVersion, versions)
    first = ToolVersion.objects.filter(tool=OuterRef("pk"), number=1).values("pk")[:1]
    Tool.objects.filter(pk__in=[tool.pk for tool in tools]).update(current=Subquery(first))


def _store(model: type[Tool | ToolVersion], rows: Sequence[Any]) -> None:
    for first in range(0, len(rows), ROWS_AT_ONCE):
        model.objects.bulk_create(rows[first : first + ROWS_AT_ONCE])
        rest()


def renew_tool(tool: Tool, offered: Offered, *, caller: Caller) -> bool:
    """Give a tool that came with its source a new version where ``offered`` differs; whether it did.

    What the tool was rolled back from does not come back by this. In the scope that is open.
    """
    if not _differs(offered, current_of(tool)):
        return False
    newest = ToolVersion.objects.filter(tool=tool).exclude(state__in=[State.DISCARDED, State.DRAFT]).first()
    if newest is not None and newest.state == State.WITHDRAWN and not _differs(offered, newest):
        return False
    _add_version(tool, offered, caller=caller)
    return True


def find_offered(names: Collection[str]) -> dict[str, Offered]:
    """The team's tools of these names as they are now, by name, in the scope that is open."""
    return {name: offered_as(*callee) for name, callee in _callees(names).items()}


def compile_tool(source_kind: str, kind: str, definition: Mapping[str, Any], name: str) -> Offered:
    """What a definition makes of a tool of this name, in the scope that is open.

    Raises ``InvalidInput`` with a path below the definition a fault, or ``kind``.
    """
    backend = backend_of(source_kind)
    offered = backend.compile(kind, definition)
    called = backend.uses(offered.operation)
    callees = _callees(called)
    if backend.composes:
        offered = backend.link(offered, {name: offered_as(*callee) for name, callee in callees.items()})
    _refuse_to_call_itself(name, called, callees)
    return offered


def locked_tool(tool_id: UUID, caller: Caller) -> Tool:
    """The tool as it is now, locked for who is about to change it, in the scope that is open. Raises ``NotFound``."""
    find_tool(tool_id, caller)
    Tool.objects.select_for_update().get(pk=tool_id)
    return find_tool(tool_id, caller)


def find_tool(tool_id: UUID, caller: Caller) -> Tool:
    """The tool with its source and current version, in the scope that is open. Raises ``NotFound``."""
    tool = _visible(caller).select_related("source", "current").filter(pk=tool_id).first()
    if tool is None:
        raise _no_such_tool()
    return tool


def find_tool_named(name: object, caller: Caller) -> Tool:
    """As ``find_tool``, by name. Raises ``InvalidInput``."""
    tool = None
    if isinstance(name, str) and "\0" not in name:
        tool = _visible(caller).select_related("source", "current").filter(name=name).first()
    if tool is None:
        refuse("tool", "there is no tool of that name.")
    return tool


def current_of(tool: Tool) -> ToolVersion:
    """The version that counts. Raises ``NotFound``."""
    if tool.current is None:
        raise NotFound("This tool has no version yet.", code="tool_not_found")
    return tool.current


def check_definition(tool: Tool, version: ToolVersion) -> None:
    """Raise ``InvalidInput`` where the definition of the tool's version would not be accepted now."""
    _compiled(tool.source.kind, version.kind, version.definition, tool.name)


def is_published(version: ToolVersion | None) -> bool:
    """Whether it is one that a tool may be current at."""
    return version is not None and version.state == State.PUBLISHED


def offered_as(tool: Tool, version: ToolVersion) -> Offered:
    """A version of the tool as a source would offer it."""
    return Offered(
        name=tool.name,
        title=version.title,
        description=version.description,
        input_schema=version.input_schema,
        output_schema=version.output_schema,
        annotations=version.annotations,
        operation=_operation(version),
        icons=version.icons,
    )


def shown_tool(tool: Tool) -> dict[str, Any]:
    """A tool at its current version, as the log has it."""
    return {
        "id": str(tool.id),
        "name": tool.name,
        "source": tool.source.name,
        "enabled": tool.enabled,
        **shown_version(current_of(tool)),
    }


def shown_version(version: ToolVersion) -> dict[str, Any]:
    """What a version makes of its tool, as the log has it."""
    return {
        "version": version.number,
        "state": str(version.state),
        "kind": version.kind,
        "title": version.title,
        "description": version.description,
        "definition": mask_secrets(version.definition),
    }


def _visible(caller: Caller) -> QuerySet[Tool]:
    """The tools of the tenant in scope, less those that a narrowed credential does not reach."""
    tools: QuerySet[Tool] = within_servers(Tool.objects.all(), caller)
    names = tools_left(caller)
    return tools if names is None else tools.filter(name__in=names)


def _require_unserved(tool: Tool) -> None:
    slugs = ServedVersion.objects.filter(tool=tool).values_list("server__slug", flat=True)
    if slugs:
        raise Conflict(
            f"Servers have versions of this tool pinned, beside the current one, or as canaries: "
            f"{', '.join(sorted(set(slugs)))}. End that first, or turn the tool off.",
            code="tool_served",
        )


def _no_such_tool() -> NotFound:
    return NotFound("There is no such tool in this team.", code="tool_not_found")


def _compiled(source_kind: str, kind: str, definition: Mapping[str, Any], name: str) -> Offered:
    if not isinstance(kind, str):
        refuse("kind", "must be text.")
    if not isinstance(definition, Mapping):
        refuse("definition", "must be an object.")
    check_json(definition, "definition", largest=MAX_DEFINITION_BYTES)
    with faults_below("definition", but="kind"):
        return compile_tool(source_kind, kind, definition, name)


_Callees = Mapping[str, tuple[Tool, ToolVersion]]
"""By the name that they are called by."""


def _refuse_to_call_itself(name: str, called: Iterable[str], callees: _Callees) -> None:
    """Follow the tools that a tool calls, and those that these call."""
    # Each with the way to it.
    ways = {each: [name, each] for each in called}
    seen: set[str] = set()
    while ways:
        if name in ways:
            refuse("", f"The tool would call itself: {' → '.join(ways[name])}.")
        seen |= ways.keys()
        ways = {
            each: [*ways[callee], each]
            for callee, (tool, version) in callees.items()
            for each in tools_called(tool.source.kind, _operation(version))
            if each not in seen
        }
        callees = _callees(ways)


def _callees(names: Collection[str]) -> _Callees:
    """The tools that there are by these names, at their current versions, or at those that servers offer beside."""
    if not names:
        return {}
    tools = Tool.objects.select_related("source", "current")
    found = tools.filter(name__in=list(names), current__state=State.PUBLISHED)
    callees = {tool.name: (tool, current_of(tool)) for tool in found}
    for alias, served in served_beside([name for name in names if name not in callees]).items():
        callees[alias] = (served.tool, served.version)
    return callees


def _base(tool: Tool, based_on: int | None) -> ToolVersion:
    """The version that a change is made from. Raises ``Conflict``."""
    current = current_of(tool)
    if based_on is None or based_on == current.number:
        return current
    draft = ToolVersion.objects.filter(tool=tool, number=based_on, state=State.DRAFT).first()
    if draft is None or (draft.number < current.number and is_published(current)):
        raise Conflict(
            f"The tool is at version {current.number} now, and this change was made from version "
            f"{based_on}. Read it again and repeat the change.",
            code="version_moved",
        )
    return draft


def _add_version(tool: Tool, offered: Offered, *, caller: Caller, draft: bool = False) -> ToolVersion:
    check_json(offered.input_schema, "definition", largest=MAX_SCHEMA_BYTES)
    check_json(offered.output_schema, "definition", largest=MAX_SCHEMA_BYTES)
    newest = ToolVersion.objects.filter(tool=tool).aggregate(newest=Max("number"))["newest"] or 0
    version = _version(tool, newest + 1, offered, caller)
    if draft:
        version.state = State.DRAFT
    version.save(force_insert=True)
    if not (draft and is_published(tool.current)):
        tool.current = version
        tool.save(update_fields=["current"])
    return version


def _version(tool: Tool, number: int, offered: Offered, caller: Caller) -> ToolVersion:
    """A version that is not stored yet. Raises ``InvalidInput`` where its schema is none."""
    compile_schema(offered.input_schema)
    return ToolVersion(
        tenant_id=tool.tenant_id,
        tool=tool,
        number=number,
        kind=offered.operation.kind,
        title=offered.title,
        description=offered.description,
        definition=dict(offered.operation.definition),
        input_schema=dict(offered.input_schema),
        output_schema=None if offered.output_schema is None else dict(offered.output_schema),
        annotations=dict(offered.annotations),
        icons=[dict(icon) for icon in offered.icons],
        created_by_id=caller.user_id,
    )


def _flag(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        refuse(path, "must be true or false.")
    return value


def _operation(version: ToolVersion) -> Operation:
    return Operation(kind=version.kind, definition=version.definition)


def _differs(new: Offered, current: ToolVersion) -> bool:
    return (
        new.title != current.title
        or new.description != current.description
        or new.operation.kind != current.kind
        or dict(new.operation.definition) != current.definition
        or dict(new.input_schema) != current.input_schema
        or (None if new.output_schema is None else dict(new.output_schema)) != current.output_schema
        or dict(new.annotations) != current.annotations
        or list(new.icons) != current.icons
    )
