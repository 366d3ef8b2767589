"""Resources and prompts of a team's own: made, changed and deleted. Reads and renders none.

Each stands on a data source of a kind that takes such: of the one that was named, else of the team's own for them,
which is made with the first. What came with a source is its source's and is not touched here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db.models import Count, Sum

from core.errors import MAX_PATH, Conflict, InvalidInput
from core.readable import readable
from servers.execution.contract import OfferedPrompt, OfferedResource, Operation
from servers.models import DataSource, Prompt, Resource
from servers.services.bounds import MAX_DEFINITION_BYTES
from servers.services.changes import publish_change
from servers.services.kinds import backend_of, tools_called
from servers.services.prompts import access_prompt, prompt_fields, set_prompt_enabled, shown_prompt
from servers.services.resources import (
    access_resource,
    require_free_uris,
    resource_fields,
    set_resource_enabled,
    shown_resource,
)
from servers.services.sources import create_source
from servers.services.tools import find_offered
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import check_json, clean_text, name_taken, refuse
from tenants.services.recording import record_change

Row = TypeVar("Row", Resource, Prompt)

KIND: Final = "handmade"
"""The kind, and the name of the source, that is made where a team has none for what it writes."""

MAX_OWN: Final = 500
"""Resources, and prompts, of a team's own, of each."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of all resources of a team's own together: they stand in the memory of each web process."""

_URI_TAKEN: Final = ("servers_resource_uri_unique", "The URI was taken this moment. Choose another one.")
_CONTENTS: Final = ("text", "blob", "result")
_TOOL_FIRST: Final = ("tool", "arguments", "pick", "member")
_LARGEST: Final = MAX_DEFINITION_BYTES + 64 * 1024


def create_resource(definition: Mapping[str, Any], *, caller: Caller, source: str | None = None) -> Resource:
    """Make a resource, or with braces in its URI a template. Raises ``InvalidInput`` and ``Conflict`` (the URI)."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _source_for(source, caller)
        offered = _compiled_resource(row, definition)
        require_free_uris([offered.uri])
        _check_room(offered)
        made = Resource(tenant_id=caller.tenant_id, source=row, brought=False, **_fields(offered))
        with name_taken(*_URI_TAKEN):
            _insert(made, "resource.created", shown_resource, caller)
    return made


def change_resource(
    resource_id: UUID,
    definition: Mapping[str, Any],
    *,
    caller: Caller,
    enabled: bool | None = None,
) -> Resource:
    """Change members of a resource of the team's own; what is not given stays, and ``None`` takes one away.

    Raises ``InvalidInput``, ``NotFound`` and ``Conflict`` (it came with its source, or the URI is taken).
    """
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = access_resource(resource_id, caller, lock=True)
        if definition:
            _require_own(row)
            offered = _compiled_resource(row.source, _merged(resource_definition(row), definition))
            if offered.uri != row.uri:
                require_free_uris([offered.uri])
            _check_room(offered, besides=row)
            with name_taken(*_URI_TAKEN):
                _write(row, _fields(offered), "resource.changed", shown_resource, caller)
        if enabled is not None:
            return set_resource_enabled(resource_id, enabled, caller=caller)
    return row


def delete_resource(resource_id: UUID, *, caller: Caller) -> None:
    """Delete a resource of the team's own. Raises ``NotFound``, and ``Conflict`` where it came with its source."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = access_resource(resource_id, caller, lock=True)
        _delete(row, "resource.deleted", shown_resource, caller)


def create_prompt(definition: Mapping[str, Any], *, caller: Caller, source: str | None = None) -> Prompt:
    """Make a prompt. Raises ``InvalidInput`` with a path a fault, and ``Conflict`` (the name)."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _source_for(source, caller)
        offered = _compiled_prompt(row, definition)
        if Prompt.objects.filter(brought=False).count() >= MAX_OWN:
            raise _too_many("prompts")
        made = Prompt(tenant_id=caller.tenant_id, source=row, brought=False, **_prompt_fields(offered))
        with name_taken(*_prompt_taken(offered.name)):
            _insert(made, "prompt.created", shown_prompt, caller)
    return made


def change_prompt(
    prompt_id: UUID,
    definition: Mapping[str, Any],
    *,
    caller: Caller,
    enabled: bool | None = None,
) -> Prompt:
    """Change members of a prompt of the team's own; what is not given stays, and ``None`` takes one away.

    Raises as ``change_resource`` does.
    """
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = access_prompt(prompt_id, caller, lock=True)
        if definition:
            _require_own(row)
            offered = _compiled_prompt(row.source, _merged(prompt_definition(row), definition))
            with name_taken(*_prompt_taken(offered.name)):
                _write(row, _prompt_fields(offered), "prompt.changed", shown_prompt, caller)
        if enabled is not None:
            return set_prompt_enabled(prompt_id, enabled, caller=caller)
    return row


def delete_prompt(prompt_id: UUID, *, caller: Caller) -> None:
    """Delete a prompt of the team's own. Raises ``NotFound``, and ``Conflict`` where it came with its source."""
    caller.require(Action.TOOLS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = access_prompt(prompt_id, caller, lock=True)
        _delete(row, "prompt.deleted", shown_prompt, caller)


def resource_definition(row: Resource) -> dict[str, Any]:
    """A resource of the team's own as it was defined; of one that came with its source, nothing."""
    if row.brought:
        return {}
    held = row.definition
    found: dict[str, Any] = {
        "uri": row.uri,
        "name": row.name,
        "title": row.title,
        "description": row.description,
        "mime_type": row.mime_type,
        **{part: _in_order(held[part]) for part in _CONTENTS if part in held},
    }
    if held.get("variables"):
        found["variables"] = _in_order(held["variables"])
    if row.annotations:
        found["annotations"] = row.annotations
    return found


def prompt_definition(row: Prompt) -> dict[str, Any]:
    """A prompt of the team's own as it was defined; of one that came with its source, nothing."""
    if row.brought:
        return {}
    return {
        "name": row.name,
        "title": row.title,
        "description": row.description,
        "arguments": _in_order(row.definition.get("arguments", [])),
        **({"results": _in_order(row.definition["results"])} if row.definition.get("results") else {}),
        "messages": row.definition.get("messages", []),
    }


def find_faults(row: Resource | Prompt) -> list[dict[str, str]]:
    """What keeps it from working now: tools that it names and that are gone, or not as they were.

    Each with its ``path`` in the definition and a ``message``.
    """
    with tenant_scope(row.tenant_id):
        operation = Operation(row.kind, row.definition)
        used = tools_called(row.source.kind, operation)
        if not used:
            return []
        try:
            backend_of(row.source.kind).check_tools(operation, find_offered(used))
        except InvalidInput as fault:
            return fault.errors
    return []


def _in_order(held: Any) -> Any:
    """With what names a tool as it reads best: ``jsonb`` keeps no order."""
    if isinstance(held, list):
        return [_in_order(each) for each in held]
    if not isinstance(held, dict):
        return held
    if "tool" in held:
        held = {name: held[name] for name in (*_TOOL_FIRST, *held) if name in held}
    return {name: _in_order(value) for name, value in held.items()}


def _source_for(name: str | None, caller: Caller) -> DataSource:
    if name is not None:
        found = DataSource.objects.filter(name=clean_text(name, "source", longest=64)).first()
        if found is None:
            refuse("source", "there is no data source of that name. Leave it out for the team's own.")
        return found
    own = DataSource.objects.filter(kind=KIND).order_by("name").first()
    if own is not None:
        return own
    taken = set(DataSource.objects.filter(name__startswith=KIND).values_list("name", flat=True))
    names = chain([KIND], (f"{KIND}-{number}" for number in count(2)))
    free = next(each for each in names if each not in taken)
    return create_source(free, KIND, {}, caller=caller)


def _merged(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**stored, **given}
    # One content takes the place of the other.
    content = next((part for part in _CONTENTS if given.get(part) is not None), None)
    if content is not None:
        merged = {name: value for name, value in merged.items() if name not in _CONTENTS or name in given}
    return {name: value for name, value in merged.items() if value is not None}


def _compiled_resource(source: DataSource, definition: Mapping[str, Any]) -> OfferedResource:
    check_json(definition, "definition", largest=_LARGEST)
    backend = backend_of(source.kind)
    offered = backend.compile_resource(definition)
    backend.check_tools(offered.operation, find_offered(backend.uses(offered.operation)))
    return offered


def _compiled_prompt(source: DataSource, definition: Mapping[str, Any]) -> OfferedPrompt:
    check_json(definition, "definition", largest=_LARGEST)
    backend = backend_of(source.kind)
    offered = backend.compile_prompt(definition)
    backend.check_tools(offered.operation, find_offered(backend.uses(offered.operation)))
    return offered


def _fields(offered: OfferedResource) -> dict[str, Any]:
    with _paths_of_one(f"resources.{offered.uri[:200]}", "uri"):
        return resource_fields(offered)


def _prompt_fields(offered: OfferedPrompt) -> dict[str, Any]:
    with _paths_of_one(f"prompts.{offered.name[:80]}", "name"):
        return prompt_fields(offered.name, offered, offered.description)


@contextmanager
def _paths_of_one(before: str, itself: str) -> Iterator[None]:
    """Leave out of the paths of faults which of many it is: here there is one."""
    # As the paths of faults tell it.
    before = readable(before, MAX_PATH)
    try:
        yield
    except InvalidInput as fault:
        errors = [
            {"path": each["path"].removeprefix(before).lstrip(".") or itself, "message": each["message"]}
            for each in fault.errors
        ]
        raise InvalidInput(f"{errors[0]['path']}: {errors[0]['message']}", errors=errors) from None


def _insert(row: Row, kind: str, shown: Callable[[Row], dict[str, Any]], caller: Caller) -> None:
    """Store a new one, with its record of this kind."""
    row.save(force_insert=True)
    publish_change(caller.tenant_id)
    record_change(kind, caller=caller, after=shown(row))


def _write(
    row: Row, fields: Mapping[str, Any], kind: str, shown: Callable[[Row], dict[str, Any]], caller: Caller
) -> None:
    """Store what differs, with its record of this kind."""
    changed = [name for name, value in fields.items() if getattr(row, name) != value]
    if not changed:
        return
    before = shown(row)
    for name in changed:
        setattr(row, name, fields[name])
    row.save(update_fields=changed)
    publish_change(caller.tenant_id)
    record_change(kind, caller=caller, before=before, after={**shown(row), "changed": changed})


def _delete(row: Row, kind: str, shown: Callable[[Row], dict[str, Any]], caller: Caller) -> None:
    """Delete one of the team's own, with its record of this kind. Raises ``Conflict`` for others."""
    _require_own(row)
    before = shown(row)
    row.delete()
    publish_change(caller.tenant_id)
    record_change(kind, caller=caller, before=before)


def _check_room(offered: OfferedResource, *, besides: Resource | None = None) -> None:
    """Raise ``Conflict`` where one more, or one in place of ``besides``, would be too many or too large."""
    rows = Resource.objects.filter(brought=False)
    if besides is not None:
        rows = rows.exclude(pk=besides.pk)
    held = rows.aggregate(count=Count("pk"), size=Sum("size"))
    if besides is None and held["count"] >= MAX_OWN:
        raise _too_many("resources")
    if (held["size"] or 0) + (offered.size or 0) > MAX_BYTES:
        raise Conflict(
            f"The team's own resources would have more than {MAX_BYTES:,} bytes together. Delete some, or put "
            "them into a data source for files.",
            code="too_large",
        )


def _too_many(what: str) -> Conflict:
    return Conflict(f"A team has at most {MAX_OWN} {what} of its own. Delete some first.", code="too_many")


def _require_own(row: Resource | Prompt) -> None:
    if row.brought:
        raise Conflict(
            f"It came with data source {row.source.name}, which decides what it is. It can be switched off.",
            code="brought",
        )


def _prompt_taken(name: str) -> tuple[str, str]:
    return "servers_prompt_name_unique", f"A prompt called {name} exists already. Choose another name."
