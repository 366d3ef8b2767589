"""What a server offers, as an immutable snapshot in memory. Runs no tool, keeps none, knows no wire."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import jsonschema_rs
import orjson

from core.crypto import Sealer, SealError
from marina.uritemplates import BadTemplate, UriTemplate, compile_template
from servers.execution.contract import Offered, Operation, Source
from servers.models import DataSource, Prompt, Resource, ServedVersion, Server, Tool, ToolVersion
from servers.services.aliases import alias_of
from servers.services.canaries import Canary, salt_of
from servers.services.quarantine import all_quarantined
from servers.services.reach import offered_by, offered_tools, served_by
from servers.services.results.plans import FindBackend, Shared, no_backend, plan_sharing
from servers.services.sealed import SecretAway, open_source, references_in
from servers.services.tasks.plans import Long, plan_running
from servers.services.withheld import Withheld, withheld_from
from tenants.access import Caller
from tenants.audit.originals import PLAIN, Detail
from tenants.models import Tenant
from tenants.scoping import tenant_scope
from tenants.services.originals import read_detail

_ROWS: Final = 500
_SURFACE_BYTES: Final = 4_096
_TOOL_BYTES: Final = 3_072
_ENTRY_BYTES: Final = 1_024
_SCHEMA_FACTOR: Final = 8
_TEXT_FACTOR: Final = 4
"""Bytes of memory for each byte of the same as JSON."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SurfaceTool:
    """A tool as a server offers it: what clients are shown, and what a call needs.

    ``fault`` is empty, or a sentence on why no call of the tool can run. The validators are there once it was called
    (``validators``).
    """

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    annotations: Mapping[str, Any]
    version: int
    operation: Operation
    source: Source | None
    validator: jsonschema_rs.Validator | None = field(default=None, repr=False)
    fault: str = ""
    icons: Sequence[Mapping[str, Any]] = ()
    output_validator: jsonschema_rs.Validator | None = field(default=None, repr=False)
    shared: Shared | None = None
    """How its calls share results; ``None`` where each runs for itself."""
    long: Long | None = None
    """How its calls run at a worker; ``None`` where they run within their requests."""
    deadline: int | None = None
    """Seconds that its team lets a call take; ``None``: it says nothing."""
    quarantine: str = ""
    """Why it is not to be called before somebody looked at it; empty where it is."""

    @property
    def only_reads(self) -> bool:
        """Whether it says of itself that it changes nothing."""
        return self.annotations.get("readOnlyHint") is True

    @property
    def offered(self) -> Offered:
        """It as other tools see it that call it."""
        return Offered(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=self.input_schema,
            output_schema=self.output_schema,
            annotations=self.annotations,
            operation=self.operation,
            icons=self.icons,
        )

    @property
    def kind(self) -> str:
        """The kind of its data source, where that can be used."""
        return "" if self.source is None else self.source.kind


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceResource:
    """A resource, or with ``template`` a resource template, as a server offers it. The last two as of a tool."""

    uri: str
    name: str
    title: str
    description: str
    mime_type: str
    annotations: Mapping[str, Any]
    icons: Sequence[Mapping[str, Any]]
    size: int | None
    template: bool
    operation: Operation
    source: Source | None
    fault: str = ""
    quarantine: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePrompt:
    """A prompt as a server offers it. ``arguments`` as in ``OfferedPrompt``; the last two as of a tool."""

    name: str
    title: str
    description: str
    arguments: Sequence[Mapping[str, Any]]
    icons: Sequence[Mapping[str, Any]]
    operation: Operation
    source: Source | None
    fault: str = ""
    quarantine: str = ""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Surface:
    """One server of a tenant at one moment. Tools and prompts are ordered by name, resources by URI."""

    tenant_id: int
    tenant_slug: str
    slug: str
    title: str
    instructions: str
    public: bool
    version: int
    tools: tuple[SurfaceTool, ...]
    by_name: Mapping[str, SurfaceTool] = field(repr=False)
    resources: tuple[SurfaceResource, ...] = ()
    templates: tuple[SurfaceResource, ...] = ()
    prompts: tuple[SurfacePrompt, ...] = ()
    size: int = 0
    """Bytes of memory that it takes, roughly."""
    canaries: tuple[Canary, ...] = ()
    """What some callers are offered in place of what is here: see ``seen_by``."""
    detail: Detail = PLAIN
    """What the log keeps of calls beside their masked arguments."""
    withheld: tuple[Withheld, ...] = ()
    """Tools that it does not offer, each with the reason."""

    _branches: dict[frozenset[Canary], Surface] = field(init=False, repr=False)
    _by_uri: Mapping[str, SurfaceResource] = field(init=False, repr=False)
    _prompts: Mapping[str, SurfacePrompt] = field(init=False, repr=False)
    _matched: Sequence[tuple[UriTemplate, SurfaceResource]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_branches", {})
        object.__setattr__(self, "_by_uri", {resource.uri: resource for resource in self.resources})
        object.__setattr__(self, "_prompts", {prompt.name: prompt for prompt in self.prompts})
        matched = [(_template_of(each), each) for each in self.templates]
        object.__setattr__(self, "_matched", tuple(pair for pair in matched if pair[0] is not None))

    def seen_by(self, caller: Caller) -> Surface:
        """The server as this caller is offered it. Only where it has canaries is that another snapshot.

        It is made once for all who are in the same ones.
        """
        if not self.canaries:
            return self
        chosen = frozenset(each for each in self.canaries if each.takes(caller))
        if not chosen:
            return self
        branch = self._branches.get(chosen)
        if branch is None:
            branch = self._branches[chosen] = self.with_tools(*(each.tool for each in chosen))
        return branch

    def with_tools(self, *tools: SurfaceTool) -> Surface:
        """The same with these tools, each in place of the one of its name, and without canaries."""
        by_name = {**self.by_name, **{tool.name: tool for tool in tools}}
        ordered = tuple(by_name[name] for name in sorted(by_name))
        return replace(self, tools=ordered, by_name={tool.name: tool for tool in ordered}, canaries=())

    def find_resource(self, uri: str) -> tuple[SurfaceResource, Mapping[str, str]] | None:
        """The resource with this URI, else the first template that it fits, with the values of its variables."""
        resource = self._by_uri.get(uri)
        if resource is not None:
            return resource, {}
        for template, each in self._matched:
            values = template.match(uri)
            if values is not None:
                return each, values
        return None

    def find_template(self, uri: str) -> SurfaceResource | None:
        """The resource template of exactly this text, whose variables can be completed."""
        return next((template for template in self.templates if template.uri == uri), None)

    def variables_of(self, resource: SurfaceResource) -> tuple[str, ...]:
        """The names of a template's variables, in their order; a resource has none."""
        return next((template.names for template, each in self._matched if each is resource), ())

    def find_prompt(self, name: str) -> SurfacePrompt | None:
        """The prompt of this name."""
        return self._prompts.get(name)


def find_tenant(slug: str) -> int | None:
    """The id of the tenant with this slug."""
    return Tenant.objects.filter(slug=slug).values_list("pk", flat=True).first()


def read_version(tenant_id: int) -> int | None:
    """The tenant's surface version now; ``None`` when there is no such tenant any more."""
    return Tenant.objects.filter(pk=tenant_id).values_list("surface_version", flat=True).first()


def read_public(tenant_id: int, slug: str) -> bool:
    """Whether the tenant has such a server, and made it public."""
    with tenant_scope(tenant_id):
        return Server.objects.filter(slug=slug, access=Server.Access.PUBLIC).exists()


def load_surface(
    tenant_id: int, slug: str, sealer: Sealer, find_backend: FindBackend = no_backend
) -> Surface | None:
    """Build the snapshot of one server from the database; ``None`` when the tenant has no such server.

    Without ``find_backend``, it is not for calling: none of its tools' calls share results.
    """
    with tenant_scope(tenant_id):
        # The version first: a change in between makes the next comparison fail, never the snapshot stale.
        tenant = Tenant.objects.filter(pk=tenant_id).first()
        server = Server.objects.filter(slug=slug).first()
        if tenant is None or server is None:
            return None
        detail = read_detail(tenant)
        opened = _Sources(
            DataSource.objects.all() if server.offers_all else server.sources.all(), sealer, find_backend
        )
        # Lists are ordered by code point, which no database collation changes.
        by_name, canaries = _tools(server, opened)
        withheld = withheld_from(server, by_name)
        tools = [by_name[name] for name in sorted(by_name)]
        resources = [
            _resource_snapshot(row, opened)
            for row in sorted(offered_by(server, Resource.objects.all()), key=attrgetter("uri"))
            if opened.knows(row)
        ]
        prompts = [
            _prompt_snapshot(row, opened)
            for row in sorted(offered_by(server, Prompt.objects.all()), key=attrgetter("name"))
            if opened.knows(row)
        ]
    return Surface(
        tenant_id=tenant_id,
        tenant_slug=tenant.slug,
        slug=server.slug,
        title=server.title,
        instructions=server.instructions,
        public=server.access == Server.Access.PUBLIC,
        version=tenant.surface_version,
        tools=tuple(tools),
        by_name={tool.name: tool for tool in tools},
        resources=tuple(each for each in resources if not each.template),
        templates=tuple(each for each in resources if each.template),
        prompts=tuple(prompts),
        # Each canary may make lists of their own for those who are in it.
        size=_weigh(tools, resources, prompts) * 2 ** len(canaries),
        canaries=canaries,
        detail=detail,
        withheld=tuple(withheld),
    )


def load_version(
    tenant_id: int, slug: str, tool_name: str, number: int, sealer: Sealer
) -> SurfaceTool | None:
    """A version of a tool as this server would offer it, were it the current one; ``None`` where it could not.

    Also one that nobody is offered, such as a draft.
    """
    with tenant_scope(tenant_id):
        server = Server.objects.filter(slug=slug).first()
        if server is None:
            return None
        row = offered_by(server, Tool.objects.filter(name=tool_name)).select_related("source").first()
        version = ToolVersion.objects.filter(tool=row, number=number).first()
        if row is None or version is None or version.state == ToolVersion.State.DISCARDED:
            return None
        return _snapshot(row, version, _Sources([row.source], sealer, no_backend))


def _tools(server: Server, opened: _Sources) -> tuple[dict[str, SurfaceTool], tuple[Canary, ...]]:
    """What the server offers everybody, by name, and what it tries with some."""
    rows = offered_tools(server).select_related("current")
    # Some at a time: with their schemas, all rows take more memory than what is made of them.
    tools = {
        row.name: _snapshot(row, row.current, opened)
        for row in rows.iterator(chunk_size=_ROWS)
        if opened.knows(row)
    }
    canaries = []
    for served in served_by(server).select_related("tool", "version"):
        tool, version = served.tool, served.version
        if not opened.knows(tool):
            continue
        snapshot = _snapshot(tool, version, opened)
        if served.use == ServedVersion.Use.CANARY:
            named = frozenset(str(each) for each in served.credentials)
            canaries.append(Canary(snapshot, served.share or 0, named, salt_of(tool.pk, version.number)))
        elif served.use == ServedVersion.Use.PIN:
            tools[tool.name] = snapshot
        else:
            alias = alias_of(tool.name, version.number)
            # A tool of that name wins, though none can be made while this stands.
            tools.setdefault(alias, replace(snapshot, name=alias))
    return tools, tuple(canaries)


class _Sources:
    """Each source read and opened once, while one snapshot is built."""

    def __init__(self, rows: Iterable[DataSource], sealer: Sealer, find_backend: FindBackend) -> None:
        self.rows = {row.pk: row for row in rows}
        self.sealer = sealer
        self.find_backend = find_backend
        self._opened: dict[object, Source | None] = {}
        self._quarantined: dict[UUID, dict[tuple[str, str], str]] | None = None

    def knows(self, row: Tool | Resource | Prompt) -> bool:
        """Whether its source is among them: one that was added since is in the next snapshot."""
        return row.source_id in self.rows

    def get(self, row: DataSource) -> Source | None:
        if row.pk not in self._opened:
            self._opened[row.pk] = _opened(row, self.sealer)
            # Imported in the thread that builds this, where it is the first of its kind, and not by a call on the loop.
            self.find_backend(row.kind)
        return self._opened[row.pk]

    def quarantine(self, row: DataSource, what: str, name: str) -> str:
        """Why something of a source is in quarantine; empty where it is not."""
        if self._quarantined is None:
            self._quarantined = all_quarantined()
        return self._quarantined.get(row.pk, {}).get((what, name), "")


def _opened(row: DataSource, sealer: Sealer) -> Source | None:
    try:
        return open_source(row, sealer)
    except SecretAway:
        # It is on the team's pages, with its reason.
        return None
    except (SealError, orjson.JSONDecodeError):
        logger.exception("a data source's settings do not open", extra={"source_id": str(row.id)})
        return None


def _snapshot(row: Tool, current: ToolVersion | None, opened: _Sources) -> SurfaceTool:
    if current is None:
        raise AssertionError("a tool without a version was selected")
    of = opened.rows[row.source_id]
    source = opened.get(of)
    return SurfaceTool(
        name=row.name,
        title=current.title,
        description=current.description,
        input_schema=current.input_schema,
        output_schema=current.output_schema,
        annotations=current.annotations,
        version=current.number,
        operation=Operation(kind=current.kind, definition=current.definition),
        source=source,
        fault=_source_fault(of, source),
        icons=current.icons,
        shared=plan_sharing(row, current, source, opened.find_backend, opened.sealer),
        long=plan_running(row, current, source, opened.find_backend),
        deadline=row.deadline,
        quarantine=opened.quarantine(of, "tool", row.name),
    )


def _resource_snapshot(row: Resource, opened: _Sources) -> SurfaceResource:
    of = opened.rows[row.source_id]
    source = opened.get(of)
    return SurfaceResource(
        uri=row.uri,
        name=row.name,
        title=row.title,
        description=row.description,
        mime_type=row.mime_type,
        annotations=row.annotations,
        icons=row.icons,
        size=row.size,
        template=row.template,
        operation=Operation(kind=row.kind, definition=row.definition),
        source=source,
        fault=_source_fault(of, source),
        quarantine=opened.quarantine(of, "resource", row.uri),
    )


def _prompt_snapshot(row: Prompt, opened: _Sources) -> SurfacePrompt:
    of = opened.rows[row.source_id]
    source = opened.get(of)
    return SurfacePrompt(
        name=row.name,
        title=row.title,
        description=row.description,
        arguments=row.arguments,
        icons=row.icons,
        operation=Operation(kind=row.kind, definition=row.definition),
        source=source,
        fault=_source_fault(of, source),
        quarantine=opened.quarantine(of, "prompt", row.name),
    )


def _source_fault(row: DataSource, source: Source | None) -> str:
    if source is not None:
        return ""
    if references_in(row.settings):
        return (
            f"The data source {row.name} needs a secret that has no value now. "
            "Ask an admin of the team to look at its page of secrets."
        )
    return (
        f"The settings of the data source {row.name} cannot be opened. "
        "Ask an editor of the team to enter its credentials again."
    )


def _template_of(resource: SurfaceResource) -> UriTemplate | None:
    try:
        return compile_template(resource.uri)
    except BadTemplate:
        # It was checked when it was stored, by rules that an earlier release may have had.
        logger.exception("a stored URI template does not compile")
        return None


def _weigh(
    tools: Sequence[SurfaceTool], resources: Sequence[SurfaceResource], prompts: Sequence[SurfacePrompt]
) -> int:
    """Bytes that a snapshot takes, roughly, with its lists. The factors are measured; validators count apart."""
    described = [
        (
            tool.description,
            tool.input_schema,
            tool.output_schema,
            tool.annotations,
            tool.icons,
            tool.operation.definition,
        )
        for tool in tools
    ]
    plain: list[object] = [
        *((each.uri, each.description, each.annotations, each.icons) for each in resources),
        *((each.description, each.arguments, each.icons) for each in prompts),
        *(each.operation.definition for each in resources),
        *(each.operation.definition for each in prompts),
    ]
    return (
        _SURFACE_BYTES
        + _TOOL_BYTES * len(tools)
        + _ENTRY_BYTES * (len(resources) + len(prompts))
        + _SCHEMA_FACTOR * len(orjson.dumps(described))
        + _TEXT_FACTOR * len(orjson.dumps(plain))
    )
