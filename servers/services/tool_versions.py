"""What becomes of a tool's versions: drafts are published, tools rolled back. Makes no version, runs no tool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal
from uuid import UUID

from core.errors import Conflict, NotFound
from servers.models import ServedVersion, Tool, ToolVersion
from servers.services.changes import publish_change
from servers.services.differences import diff_tools
from servers.services.tools import (
    check_definition,
    current_of,
    find_tool,
    is_published,
    locked_tool,
    offered_as,
    shown_tool,
    shown_version,
)
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change

MAX_LINES: Final = 3_000
"""Lines of a version that are compared one by one: the time that takes grows with their square."""

_AROUND: Final = 3
"""Lines that are shown before and after each that differs."""

State: Final = ToolVersion.State
Sign = Literal["+", "-", " ", "…"]


def list_versions(tool_id: UUID, *, caller: Caller) -> list[ToolVersion]:
    """Every version of a tool with who made it, newest first. Raises ``NotFound``."""
    caller.require(Action.TOOLS_READ)
    with tenant_scope(caller.tenant_id):
        tool = find_tool(tool_id, caller)
        return list(ToolVersion.objects.filter(tool=tool).select_related("created_by"))


def get_version(tool_id: UUID, number: int, *, caller: Caller) -> ToolVersion:
    """One version of a tool with who made it. Raises ``NotFound``."""
    caller.require(Action.TOOLS_READ)
    with tenant_scope(caller.tenant_id):
        return find_version(find_tool(tool_id, caller), number)


def publish_version(tool_id: UUID, number: int, *, caller: Caller) -> Tool:
    """Make a draft, or a version that the tool was rolled back from, the current one. Again, it does nothing.

    Raises ``NotFound``, ``Conflict`` where a newer one was published, or this one discarded, and ``InvalidInput``
    where its definition would not be accepted any more, as one that calls tools which are gone.
    """
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        version = find_version(tool, number)
        if not can_publish(version, tool):
            if version.pk == tool.current_id and is_published(version):
                return tool
            raise _cannot_publish(version, tool)
        if not tool.brought:
            check_definition(tool, version)
        before = shown_tool(tool)
        _set_state(State.PUBLISHED, version)
        _make_current(tool, version, "tool.published", before, _end_canaries(version), caller)
    return tool


def roll_back(tool_id: UUID, *, caller: Caller, to: int | None = None) -> Tool:
    """Make the version current that was published before the current one, or the earlier one numbered ``to``.

    Those after it are withdrawn: canaries of them end, pins of them stay. Raises ``NotFound`` and ``Conflict``.
    """
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        target = _target(tool, to)
        before = shown_tool(tool)
        left = list(ToolVersion.objects.filter(tool=tool, number__gt=target.number, state=State.PUBLISHED))
        _set_state(State.WITHDRAWN, *left)
        _make_current(tool, target, "tool.rolled_back", before, _end_canaries(*left), caller)
    return tool


def discard_draft(tool_id: UUID, number: int, *, caller: Caller) -> ToolVersion:
    """Put a draft aside for good. It stays in the list, for the log names it by its number.

    Raises ``NotFound`` and, for all but drafts, ``Conflict``.
    """
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        version = find_version(tool, number)
        if version.state != State.DRAFT:
            raise Conflict(
                f"Version {number} is no draft: it was offered, so it stays. Roll back, to take it away from clients.",
                code="version_no_draft",
            )
        if version.pk == tool.current_id:
            raise Conflict(
                "The tool was never published, and has no other version. Delete the tool instead.",
                code="version_only",
            )
        canary = ServedVersion.objects.filter(version=version).select_related("server").first()
        if canary is not None:
            raise Conflict(
                f"Version {number} is a canary on the server {canary.server.slug}. End that first.",
                code="version_served",
            )
        _set_state(State.DISCARDED, version)
        record_change("tool.draft_discarded", caller=caller, before=shown_version(version), tool=tool.name)
    return version


def can_publish(version: ToolVersion, tool: Tool) -> bool:
    """Whether the version can be made the current one: it waits for that, and no newer one came before it."""
    waits = version.state in (State.DRAFT, State.WITHDRAWN)
    current = current_of(tool)
    return waits and (version.number > current.number or not is_published(current))


def rollback_target(versions: Sequence[ToolVersion], tool: Tool) -> ToolVersion | None:
    """The version of these that rolling the tool back makes current, where there is one."""
    current = current_of(tool)
    if not is_published(current):
        return None
    before = [each for each in versions if each.state == State.PUBLISHED and each.number < current.number]
    return max(before, key=lambda each: each.number, default=None)


def find_version(tool: Tool, number: object) -> ToolVersion:
    """A version of the tool with who made it, in the scope that is open. Raises ``NotFound``."""
    found = None
    if type(number) is int:
        found = ToolVersion.objects.filter(tool=tool, number=number).select_related("created_by").first()
    if found is None:
        raise NotFound("This tool has no version of that number.", code="version_not_found")
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a version: that only the newer has (``+``), only the older (``-``), both; ``…`` stands for some."""

    sign: Sign
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one version differs from another. ``breaking``: calls as before may be refused."""

    before: ToolVersion
    after: ToolVersion
    words: Sequence[str]
    breaking: bool
    lines: Sequence[Line]


def compare_versions(tool_id: UUID, before: int, after: int, *, caller: Caller) -> Comparison:
    """How version ``after`` of a tool differs from version ``before``. Raises ``NotFound``."""
    caller.require(Action.TOOLS_READ)
    with tenant_scope(caller.tenant_id):
        tool = find_tool(tool_id, caller)
        old, new = find_version(tool, before), find_version(tool, after)
        found = diff_tools([offered_as(tool, old)], [offered_as(tool, new)])
    words = [word for each in found for word in each.words]
    return Comparison(
        old,
        new,
        words,
        any(each.breaking for each in found),
        list(_line_changes(_text_of(old), _text_of(new))),
    )


def _set_state(state: ToolVersion.State, *versions: ToolVersion) -> None:
    ToolVersion.objects.filter(pk__in=[each.pk for each in versions]).update(state=state)
    for each in versions:
        each.state = state


def _end_canaries(*versions: ToolVersion) -> list[str]:
    """End the canaries of versions that have become current, or were found wanting; the servers that had them."""
    canaries = ServedVersion.objects.filter(version__in=versions, use=ServedVersion.Use.CANARY)
    slugs = sorted(canaries.values_list("server__slug", flat=True))
    canaries.delete()
    return slugs


def _make_current(
    tool: Tool,
    version: ToolVersion,
    kind: Literal["tool.published", "tool.rolled_back"],
    before: dict[str, Any],
    canaries: Sequence[str],
    caller: Caller,
) -> None:
    tool.current = version
    tool.save(update_fields=["current"])
    publish_change(caller.tenant_id)
    after = shown_tool(tool)
    if canaries:
        after["canaries_ended"] = list(canaries)
    record_change(kind, caller=caller, before=before, after=after, tool=tool.name)


def _cannot_publish(version: ToolVersion, tool: Tool) -> Conflict:
    current = current_of(tool)
    if version.state == State.DISCARDED:
        return Conflict(
            f"Version {version.number} was discarded. Make a new version of it instead.",
            code="version_discarded",
        )
    if version.state == State.PUBLISHED:
        return Conflict(
            f"Version {version.number} was published already, before version {current.number}. Roll back to it.",
            code="version_published",
        )
    return Conflict(
        f"Version {current.number} was published after version {version.number} was made, and would be undone. Make "
        f"a new version of it instead.",
        code="version_overtaken",
    )


def _target(tool: Tool, to: int | None) -> ToolVersion:
    current = current_of(tool)
    if to is None:
        target = rollback_target(list(ToolVersion.objects.filter(tool=tool, state=State.PUBLISHED)), tool)
        if target is None:
            raise Conflict(
                f"No version was published before version {current.number}, so there is nothing to roll back to. "
                "Turn the tool off to take it away from clients.",
                code="nothing_before",
            )
        return target
    target = find_version(tool, to)
    if target.state != State.PUBLISHED or not is_published(current) or target.number >= current.number:
        raise Conflict(
            f"Version {to} is not one that was published before version {current.number}, and only to such a one a "
            "tool is rolled back.",
            code="version_not_before",
        )
    return target


def _text_of(version: ToolVersion) -> list[str]:
    """What a team writes of a version, as lines: texts of many lines as they are, the rest as JSON."""
    definition: Mapping[str, Any] = version.definition
    texts = {
        **{name: value for name, value in definition.items() if isinstance(value, str)},
        "title": version.title,
        "description": version.description,
    }
    lines = []
    for name, text in texts.items():
        lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    rest = {name: value for name, value in definition.items() if name not in texts}
    if rest:
        lines += json.dumps(rest, indent=2, ensure_ascii=False, sort_keys=True).splitlines()
    return lines


def _line_changes(before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    if before == after:
        return
    if max(len(before), len(after)) > MAX_LINES:
        yield Line("…", f"Over {MAX_LINES} lines: they are not compared one by one.")
        return
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for place, group in enumerate(matcher.get_grouped_opcodes(_AROUND)):
        if place:
            yield Line("…", "")
        for what, old_from, old_to, new_from, new_to in group:
            if what == "equal":
                yield from (Line(" ", text) for text in before[old_from:old_to])
                continue
            yield from (Line("-", text) for text in before[old_from:old_to])
            yield from (Line("+", text) for text in after[new_from:new_to])
