"""The types that cross between services and execution backends. Plain data: no Django, no MCP wire."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from core.errors import InvalidInput, SourceError
from servers.execution.authorizing.challenges import Challenge
from servers.execution.dialogue import (
    Ask,
    AskMethod,
    Context,
    GoesOn,
    InputRequired,
    LogLevel,
    Principal,
    Trace,
)
from servers.execution.listening import Ears
from servers.execution.notes import (
    Hosted,
    HostedState,
    NoteHosted,
    NoteSlow,
    NoteUpstream,
    SlowStatement,
    UpstreamState,
)
from servers.execution.signing_in import OnBehalf, SignIns, SignInWanted

__all__ = [
    "NO_SETTINGS",
    "Ask",
    "AskMethod",
    "Backend",
    "Challenge",
    "Completion",
    "Context",
    "Draft",
    "GoesOn",
    "Health",
    "HealthState",
    "Hosted",
    "HostedState",
    "InputRequired",
    "LeftOut",
    "LogLevel",
    "Moved",
    "NoteHosted",
    "NoteSlow",
    "NoteUpstream",
    "Offered",
    "OfferedPrompt",
    "OfferedResource",
    "Offering",
    "OnBehalf",
    "Operation",
    "Outcome",
    "PartHealth",
    "Principal",
    "Running",
    "RunsWhere",
    "Sharing",
    "SignInWanted",
    "SignIns",
    "SlowStatement",
    "Source",
    "ToolKind",
    "Trace",
    "UpstreamState",
]

HealthState = Literal["unknown", "healthy", "degraded", "unhealthy", "quarantined", "needs_sign_in"]


@dataclass(frozen=True, slots=True)
class Source:
    """A data source as execution sees it.

    ``settings`` is complete, with its secrets in clear: it lives in memory only, is never logged, and
    ``repr`` leaves it out. ``version`` grows with each change, so pools keyed by (id, version) go stale.
    """

    id: UUID
    tenant_id: int
    name: str
    kind: str
    version: int
    settings: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a tool does on its source: one of the kind's own operations, or a tenant's definition."""

    kind: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that a source of some kind brings along, ready to be stored as version 1.

    ``input_schema`` and ``output_schema`` are JSON Schema 2020-12; ``annotations`` are MCP's tool hints;
    ``icons`` are MCP's icons (``src``, ``mimeType``, ``sizes``).
    """

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    annotations: Mapping[str, Any]
    operation: Operation
    icons: Sequence[Mapping[str, Any]] = ()

    @property
    def only_reads(self) -> bool:
        """Whether it says of itself that it changes nothing."""
        return self.annotations.get("readOnlyHint") is True


@dataclass(frozen=True, slots=True)
class OfferedResource:
    """A resource, or with ``template`` a resource template (``uri`` is then an RFC 6570 URI template).

    ``annotations`` are MCP's resource annotations (audience, priority, lastModified). ``named_uri`` is the URI with
    ``{source}`` in it for the source's name, for kinds of which a team may have several sources: it takes the place
    of ``uri`` where the source's tools get its name before theirs.
    """

    uri: str
    name: str
    title: str
    description: str
    mime_type: str
    operation: Operation
    template: bool = False
    annotations: Mapping[str, Any] = field(default_factory=dict)
    icons: Sequence[Mapping[str, Any]] = ()
    size: int | None = None
    named_uri: str = ""


@dataclass(frozen=True, slots=True)
class OfferedPrompt:
    """A prompt. ``arguments`` are MCP's: ``name``, ``title``, ``description``, ``required``."""

    name: str
    title: str
    description: str
    arguments: Sequence[Mapping[str, Any]]
    operation: Operation
    icons: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that a source has and does not bring, and why, in a sentence. ``what``: ``tool``, ``prompt`` …"""

    what: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Offering:
    """All that a source brings along."""

    tools: Sequence[Offered] = ()
    resources: Sequence[OfferedResource] = ()
    prompts: Sequence[OfferedPrompt] = ()
    left_out: Sequence[LeftOut] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation produced. ``rows`` and ``size`` (bytes) feed the record: plain whole numbers.

    Of a tool: ``structured`` is a JSON value, ``text`` its reading for models, ``content`` MCP content blocks where
    text alone will not do; ``failed`` marks a result that tells of the tool's own failure. Of a resource: ``content``
    is its contents (``uri``, ``mimeType``, ``text`` or ``blob``). Of a prompt: ``content`` is its messages
    and ``text`` its description. ``meta`` is what an MCP result has as ``_meta``.
    """

    structured: Any
    text: str
    rows: int | None = None
    size: int = 0
    truncated: bool = False
    content: Sequence[Mapping[str, Any]] | None = None
    failed: bool = False
    meta: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """Values that complete an argument. ``total`` counts those that there are, where that is known."""

    values: Sequence[str]
    total: int | None = None
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """What a source describes otherwise than when that was taken over, or no more: names that it gave them, and URIs,
    each with a sentence on what became of it.

    ``partial``: part of the source did not answer, and may describe more otherwise.
    """

    tools: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False

    def __bool__(self) -> bool:
        return bool(self.tools or self.resources or self.prompts)


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a check: ``reason`` is a sentence for a person, empty when healthy.

    ``moved`` is what is not to be used before somebody looked at it; ``None``: that could not be found out, or is not
    asked of sources of this kind. ``parts`` are the servers behind the source, each by itself, where there are several.
    """

    state: HealthState
    reason: str = ""
    code: str = ""
    latency_ms: float | None = None
    moved: Moved | None = None
    parts: Sequence[PartHealth] = ()


@dataclass(frozen=True, slots=True)
class PartHealth:
    """What a check found of one of the servers behind a source."""

    name: str
    state: HealthState
    reason: str = ""
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ToolKind:
    """A kind of tools that teams define on a source. ``sample`` is a definition to begin from, in an editor of JSON.

    ``text``: the member of the definition that is a text of several lines, and is written by itself.
    ``pasted``: what one can be made of as well, in words (``Backend.draft``).
    ``steps``: the types of steps that its definition is made of, where it is: an editor may show them as a list.
    """

    title: str
    sample: Mapping[str, Any]
    text: str = ""
    pasted: str = ""
    steps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A definition made of something that was pasted. ``notes`` say what of it the definition does not have."""

    definition: Mapping[str, Any]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Sharing:
    """What the result of an operation depends on besides its source and arguments, and so who may be given it.

    ``by_caller``: it may look at who calls, or at what their client can do. ``waits``: it waits for something outside
    of this process, so that running once for several calls spares something. ``opt_out`` names an argument that is
    ``false`` where the caller wants nothing that was kept.
    """

    by_caller: bool = True
    waits: bool = True
    opt_out: str = ""


RunsWhere = Literal["inline", "worker", "begins_inline"]


@dataclass(frozen=True, slots=True)
class Running:
    """How long an operation takes, as its kind knows.

    ``where``: within the request; at a worker; or within the request, until it says that what comes now takes long
    (``Context.go_on``). ``task_only``: clients that speak no tasks cannot be served.
    """

    where: RunsWhere = "inline"
    task_only: bool = False


NO_SETTINGS: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {},
}
"""The schema of settings that there are none of."""


class Backend(Protocol):
    """A kind of data source. One object a process; it owns the pools of its kind, on one event loop.

    A kind that inherits from it need not say what it has none of: settings, tools that teams define, completions, and
    connections to close.
    """

    kind: str
    title: str
    summary: str = ""
    """What it is for, in a sentence, for people who choose a kind."""
    settings_schema: Mapping[str, Any] = NO_SETTINGS
    """JSON Schema 2020-12 of the settings that an admin enters."""
    secret_settings: frozenset[str] = frozenset()
    """Names of settings that are sealed at rest and never shown again."""
    tool_kinds: Mapping[str, ToolKind] = MappingProxyType({})
    """The kinds of tools that teams define on such a source (``compile``), by name."""
    composes: bool = False
    """Whether its operations call other tools (``Context.call``). Each run of one is in the log before it begins."""
    document_settings: frozenset[str] = frozenset()
    """Names of settings that hold a document, or say where one is. What it brings is stored; it is not."""
    describes_itself: bool = False
    """Whether the source is asked what it brings, whenever that is wanted anew: ``fetch_documents`` connects to it."""

    tells_of_changes: bool = False
    """Whether sources may say by themselves that they bring something else now (``listen``)."""

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Check and normalise settings. Runs no I/O. Raises ``InvalidInput`` with a path a fault."""
        message = f"{self.title}: there are no settings."
        if settings:
            raise InvalidInput(message, errors=[{"path": str(name), "message": message} for name in settings])
        return {}

    async def fetch_documents(
        self,
        settings: Mapping[str, Any],
        *,
        anew: bool = False,
        on_behalf: OnBehalf | None = None,
        team: int = 0,
    ) -> Mapping[str, Any]:
        """The settings with the documents that they only name, for ``clean_settings`` to read.

        With ``anew`` these are stored settings, whose documents are wanted again. ``on_behalf`` says whose sign-in may
        be used; where one is missing, the documents are, too, and with ``anew`` that is raised. ``team`` is who asks.
        Raises ``InvalidInput`` and, of a sign-in, ``SourceError``.
        """
        return settings

    def sign_in_wanted(self, settings: Mapping[str, Any]) -> SignInWanted | None:
        """What people sign in to before a source with these settings can be used; ``None``: nothing."""
        return None

    async def challenge(self, settings: Mapping[str, Any]) -> Challenge:
        """How the source refuses who has not signed in; empty where it does not. Raises ``SourceError``."""
        raise SourceError(f"{self.title}: nobody signs in to this.", code="source_auth")

    def keep_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Of settings that were cleaned what is stored: all but documents, of which ``offered`` has made its tools."""
        return dict(settings)

    def describe_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the settings that may be shown (host, database, user …), without any secret."""
        kept = self.keep_settings(settings)
        return {name: value for name, value in kept.items() if name not in self.secret_settings}

    def servers_behind(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The addresses of the servers that such a source asks, where its kind says which are asked just now."""
        return ()

    @abstractmethod
    def offered(self, settings: Mapping[str, Any]) -> Offering:
        """The tools, resources and prompts that come with a source of this kind.

        Of stored settings whose documents were not kept: ``InvalidInput`` (``document_missing``).
        """
        ...

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        """Check a tenant's own tool definition and derive its schemas. Raises ``InvalidInput``."""
        raise self.no_such_tool_kind(kind)

    def no_such_tool_kind(self, kind: str) -> InvalidInput:
        """What ``compile`` raises for a kind of tools that teams do not define here."""
        message = f"{self.title}: there are no tools of the kind {kind}. "
        if self.tool_kinds:
            message += f"Use {' or '.join(self.tool_kinds)}."
        else:
            message += "None can be added to those that it brings."
        return InvalidInput(message, errors=[{"path": "kind", "message": message}])

    def no_such_operation(self, operation: Operation) -> InvalidInput:
        """What ``execute`` raises for an operation that this release does not have."""
        message = f"{self.title}: there is no operation {operation.kind}."
        return InvalidInput(message, errors=[{"path": "operation", "message": message}])

    def compile_resource(self, definition: Mapping[str, Any]) -> OfferedResource:
        """Check a resource or template of a tenant's own. Raises ``InvalidInput``; most kinds take none."""
        raise InvalidInput("This kind of data source takes no resources of one's own.")

    def compile_prompt(self, definition: Mapping[str, Any]) -> OfferedPrompt:
        """Check a prompt of a tenant's own. Raises ``InvalidInput``; most kinds take none."""
        raise InvalidInput("This kind of data source takes no prompts of one's own.")

    def uses(self, operation: Operation) -> Sequence[str]:
        """The names of the tools that the operation may call, of a backend that ``composes``."""
        return ()

    def link(self, offered: Offered, tools: Mapping[str, Offered]) -> Offered:
        """Check what was compiled against the team's ``tools`` that it uses, by name; one that is not there is missing.

        Raises ``InvalidInput`` with a path a fault.
        """
        return offered

    def check_tools(self, operation: Operation, tools: Mapping[str, Offered]) -> None:
        """Check a resource's or prompt's operation against the team's ``tools`` that it uses, as ``link`` does."""
        return

    def sharing(self, operation: Operation) -> Sharing:
        """Whether calls of the operation may have one result. A kind that does not say is taken to look at who calls.

        A run whose result others may have is told of no caller, and can ask nobody.
        """
        return Sharing()

    def running(self, operation: Operation) -> Running:
        """Where the operation runs, unless its team decides otherwise."""
        return Running()

    def draft(self, kind: str, text: str, settings: Mapping[str, Any]) -> Draft:
        """A definition of a tool of this kind, made of what was pasted. Raises ``InvalidInput``."""
        message = f"A tool of the kind {kind} is not made of anything that is pasted. Write its definition."
        raise InvalidInput(message, errors=[{"path": "text", "message": message}])

    @abstractmethod
    async def check(self, source: Source) -> Health:
        """Connect once, outside the pool, and say in words what is wrong. Never raises for a bad source."""
        ...

    @abstractmethod
    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        """Run the operation of a tool, a resource or a prompt. ``timeout`` in seconds.

        A resource's arguments are ``uri`` and, of a template, the values of its variables. Raises
        ``SourceError``, ``InvalidInput`` or ``InputRequired``; ``NotFound`` for a resource that is not there.
        """
        ...

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
        context: Context,
    ) -> Completion:
        """Values for an argument of a prompt or a variable of a template that begin with ``value``.

        ``given`` holds the arguments that are filled in already. The ``context`` reaches no client: nobody is asked.
        """
        return Completion(())

    async def listen(self, source: Source, ears: Ears) -> bool:
        """Tell ``ears`` whenever the source says that it or a resource changed, until that ends. ``False``: it never
        says so."""
        return False

    async def close(self) -> None:
        """Close every pool. The backend may be used again afterwards."""
        return
