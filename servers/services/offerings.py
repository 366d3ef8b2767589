"""Stores what a data source brings along, and takes over what changed of it. Connects to nothing, decides nothing.

Everything here happens in the scope, and so in the transaction, that is open: all of an offering, or none of it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from core.errors import Conflict
from core.resting import rest
from servers.execution.contract import Backend, Offered, OfferedResource, Offering, Operation
from servers.models import DataSource, Prompt, Resource, Tool
from servers.services.bounds import MAX_SCHEMA_BYTES, check_name, offered_fields
from servers.services.differences import Difference, Words, fingerprint_of
from servers.services.kinds import backend_of
from servers.services.likeness import first_alike, require_unlike
from servers.services.on_source import came_with_source
from servers.services.prompts import prompt_fields
from servers.services.quarantine import release
from servers.services.resources import require_free_uris, resource_fields
from servers.services.served_versions import ending_with
from servers.services.tools import renew_tool, store_tools
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.inputs import as_json, name_taken, refuse

_WORD: Final = re.compile(r"[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")
"""A name in a sentence: a full stop or a hyphen at its end is the sentence's."""

MAX_OFFERED: Final = 2_000
"""Tools, resources and prompts that one source may bring, of each."""


@dataclass(frozen=True, slots=True)
class Names:
    """What something was done to: tools and prompts by name, resources by URI."""

    tools: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.tools or self.resources or self.prompts)

    def shown(self) -> dict[str, list[str]]:
        """As the log has it."""
        return {"tools": self.tools, "resources": self.resources, "prompts": self.prompts}


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What taking over an offering did."""

    added: Names = field(default_factory=Names)
    changed: Names = field(default_factory=Names)
    removed: Names = field(default_factory=Names)
    ended: list[dict[str, Any]] = field(default_factory=list)
    """The versions of removed tools that servers offered otherwise, as the log has them."""
    differences: Sequence[Difference] = ()
    released: bool = False
    """Whether something was in quarantine, which has left it."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def require_approval(self, backend: Backend, caller: Caller) -> None:
        """Raise ``Forbidden`` where the source itself says what changed, and the caller may not decide about that.

        Also before a check found it: what was described otherwise is taken over by nobody else.
        """
        if self.released or (backend.describes_itself and self.changed):
            caller.require(Action.SOURCES_APPROVE)

    @property
    def fingerprint(self) -> str:
        """Says which differences these are."""
        return fingerprint_of(self.differences)

    def require_shown(self, fingerprint: str) -> None:
        """Raise ``Conflict`` unless the differences that somebody was shown are these."""
        if fingerprint != self.fingerprint:
            raise Conflict(
                "The differences are others by now: the data source was changed, or what it brings, or what servers "
                "offer of it. Look at the new ones.",
                code="differences_moved",
            )


def free_prefix(name: str, offering: Offering, *, unlike: bool) -> str:
    """Nothing where the names of all tools and prompts are free, and the URIs that may hold a source's name; otherwise
    the source's name. ``unlike``: whether a name is free that reads like another's is asked as well.

    Raises ``Conflict`` where neither is free, or another URI is taken, and ``InvalidInput`` for names too long.
    """
    require_free_uris([each.uri for each in offering.resources if not each.named_uri])
    for prefix in ("", f"{name}_"):
        tools = [prefix + each.name for each in offering.tools]
        prompts = [prefix + each.name for each in offering.prompts]
        for what, names in (("tool", tools), ("prompt", prompts)):
            long = [each for each in names if len(each) > 64]
            if long:
                refuse(
                    "name",
                    f"is too long: a {what} would be called {long[0]}, over 64 characters. Shorten it.",
                )
        uris = [_uri(each, prefix) for each in offering.resources if each.named_uri]
        taken = _first_taken(tools, prompts, uris)
        if taken is None and unlike:
            alike = first_alike(tools) or first_alike(prompts, Prompt)
            taken = alike and f"{alike[0]} reads like {alike[1]}, which"
        if taken is None:
            return prefix
    raise Conflict(f"{taken} exists already. Choose another name for the data source.", code="name_taken")


def tools_of(source: DataSource, offering: Offering) -> list[Offered]:
    """The tools of an offering as this source offers them: by the names that they get here, in the form in which they
    are stored.

    Raises ``InvalidInput``.
    """
    names = _names_in_sentences(offering)
    tools = []
    for each in offering.tools:
        tools.append(_prefixed(each, source.tool_prefix, names))
        rest()
    return tools


def take_over(source: DataSource, offering: Offering, *, caller: Caller) -> Refreshed:
    """Make what is stored of a source what it offers now: of a new one, everything is added.

    A tool that changed gets a new version, whoever made its current one; what is switched off stays off, and
    tools of the team's own stay as they are. What was in quarantine leaves it. Raises ``InvalidInput`` and
    ``Conflict`` that name the culprit.
    """
    _check_counts(offering)
    done = Refreshed(released=release(source))
    _take_over_tools(source, offering, done, caller=caller)
    _take_over_resources(source, offering, done)
    _take_over_prompts(source, offering, done)
    return done


def _take_over_tools(source: DataSource, offering: Offering, done: Refreshed, *, caller: Caller) -> None:
    present = {tool.name: tool for tool in source.tools.select_related("current")}
    offered = {each.name: each for each in tools_of(source, offering)}
    new: list[Offered] = []
    gone = [tool for name, tool in present.items() if tool.brought and name not in offered]
    done.ended.extend(ending_with(gone))
    for tool in gone:
        done.removed.tools.append(tool.name)
        tool.delete()
    for name, each in offered.items():
        rest()
        row = present.get(name)
        if row is not None and not row.brought and came_with_source(row):
            row.brought = True
            row.save(update_fields=["brought"])
        if row is None or not row.brought:
            new.append(each)
        elif renew_tool(row, each, caller=caller):
            done.changed.tools.append(name)
    store_tools(source, new, caller=caller)
    if backend_of(source.kind).describes_itself:
        # Its names are chosen by who runs the server, not by the team.
        require_unlike([each.name for each in new], besides=source.id)
    done.added.tools.extend(each.name for each in new)


def _take_over_resources(source: DataSource, offering: Offering, done: Refreshed) -> None:
    offered = _offered_resources(source, offering)
    present = {row.uri: row for row in Resource.objects.filter(source=source, brought=True)}
    gone = [uri for uri in present if uri not in offered]
    Resource.objects.filter(source=source, brought=True, uri__in=gone).delete()
    done.removed.resources.extend(gone)
    require_free_uris(list(offered), besides=source)
    new = []
    for uri, fields in offered.items():
        row = present.get(uri)
        if row is None:
            new.append(Resource(tenant_id=source.tenant_id, source=source, **fields))
        elif _update(row, fields):
            done.changed.resources.append(uri)
    with name_taken("servers_resource_uri_unique", "One of the URIs was taken this moment. Try again."):
        Resource.objects.bulk_create(new, batch_size=500)
    done.added.resources.extend(row.uri for row in new)


def _take_over_prompts(source: DataSource, offering: Offering, done: Refreshed) -> None:
    offered = _offered_prompts(source, offering)
    present = {row.name: row for row in Prompt.objects.filter(source=source, brought=True)}
    gone = [name for name in present if name not in offered]
    Prompt.objects.filter(source=source, brought=True, name__in=gone).delete()
    done.removed.prompts.extend(gone)
    if backend_of(source.kind).describes_itself:
        require_unlike([name for name in offered if name not in present], Prompt, besides=source.id)
    for name, fields in offered.items():
        row = present.get(name)
        if row is None:
            taken = f"A prompt called {name} exists already. Rename what offers it, then try again."
            with name_taken("servers_prompt_name_unique", taken):
                Prompt(tenant_id=source.tenant_id, source=source, **fields).save(force_insert=True)
            done.added.prompts.append(name)
        elif _update(row, fields):
            done.changed.prompts.append(name)


def _offered_resources(source: DataSource, offering: Offering) -> Words:
    each_named = [replace(each, uri=_uri(each, source.tool_prefix)) for each in offering.resources]
    return {each.uri: resource_fields(each) for each in each_named}


def _offered_prompts(source: DataSource, offering: Offering) -> Words:
    offered = {}
    names = _names_in_sentences(offering)
    for each in offering.prompts:
        name = source.tool_prefix + each.name
        offered[name] = prompt_fields(name, each, _with_prefix(each.description, source.tool_prefix, names))
    return offered


def _uri(offered: OfferedResource, prefix: str) -> str:
    """A resource's URI where the source's tools get this prefix: its name and an underscore, or nothing."""
    return offered.named_uri.replace("{source}", prefix[:-1]) if prefix and offered.named_uri else offered.uri


def _update(row: Resource | Prompt, fields: Mapping[str, Any]) -> bool:
    """Write what differs; whether anything did."""
    changed = [name for name, value in fields.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, fields[name])
    if changed:
        row.save(update_fields=changed)
    return bool(changed)


def _names_in_sentences(offering: Offering) -> frozenset[str]:
    return frozenset(each.name for each in offering.tools if not each.name.isalpha())


def _prefixed(offered: Offered, prefix: str, names: Container[str]) -> Offered:
    """A tool as this source offers it: by the name that it gets here, in the form in which it is stored."""
    name = prefix + offered.name
    path = f"tools.{name[:80]}"
    check_name(name, path)
    fields = offered_fields(offered, path, _with_prefix(offered.description, prefix, names))
    return replace(
        offered,
        name=name,
        title=fields["title"],
        description=fields["description"],
        input_schema=as_json(offered.input_schema, path, largest=MAX_SCHEMA_BYTES),
        output_schema=as_json(offered.output_schema, path, largest=MAX_SCHEMA_BYTES),
        annotations=as_json(offered.annotations, path, largest=MAX_SCHEMA_BYTES),
        icons=as_json(list(offered.icons), path, largest=MAX_SCHEMA_BYTES),
        operation=Operation(fields["kind"], fields["definition"]),
    )


def _with_prefix(description: str, prefix: str, names: Container[str]) -> str:
    """The description with the source's own tools by the names they got: a bare name is another source's.

    A name that is a plain word (``add``) is left alone: in a sentence it is rarely the tool.
    """
    if not prefix:
        return description
    return _WORD.sub(lambda found: prefix + found[0] if found[0] in names else found[0], description)


def _check_counts(offering: Offering) -> None:
    for what, keys in (
        ("tools", [each.name for each in offering.tools]),
        ("resources", [each.uri for each in offering.resources]),
        ("prompts", [each.name for each in offering.prompts]),
    ):
        if len(keys) > MAX_OFFERED:
            refuse(what, f"the data source brings {len(keys)}; at most {MAX_OFFERED} are taken.")
        twice = _first_double(keys)
        if twice is not None:
            refuse(what, f"the data source brings {twice[:200]} twice.")


def _first_double(keys: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _first_taken(tools: list[str], prompts: list[str], uris: list[str]) -> str | None:
    tool = Tool.objects.filter(name__in=tools).order_by("name").first()
    if tool is not None:
        return f"A tool called {tool.name}"
    prompt = Prompt.objects.filter(name__in=prompts).order_by("name").first()
    if prompt is not None:
        return f"A prompt called {prompt.name}"
    resource = Resource.objects.filter(uri__in=uris).order_by("uri").first()
    return None if resource is None else f"A resource at {resource.uri}"
