"""The kind of data source for MCP servers elsewhere: hands each operation to its module, and holds their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from core.errors import InvalidInput, SourceError
from core.hostedcommands import HostedCommand
from core.hostlists import in_words
from core.outbound import AllowAddress
from core.talks import Talk, Talks
from servers.execution.addresses import allow_public
from servers.execution.authorizing.faults import NEEDED
from servers.execution.backends.mcp.calls import PROMPT, RESOURCE, TOOL, complete, go_on, margin_of, run
from servers.execution.backends.mcp.catalog import Catalog, as_input_fault, fetch_catalog
from servers.execution.backends.mcp.faults import HOSTED
from servers.execution.backends.mcp.form import SETTINGS_SCHEMA, schema_with
from servers.execution.backends.mcp.health import check_source, probe
from servers.execution.backends.mcp.hosting import Hosting
from servers.execution.backends.mcp.listening import listen
from servers.execution.backends.mcp.offers import describe_server, offer_catalog
from servers.execution.backends.mcp.pools import IDLE_SECONDS, Reach, Upstreams
from servers.execution.backends.mcp.relaying import SUBJECT, answer_others
from servers.execution.backends.mcp.replicas import Circles
from servers.execution.backends.mcp.routes import Route
from servers.execution.backends.mcp.settings import (
    CATALOG,
    KEPT,
    SECRETS,
    McpSettings,
    clean_settings,
    read_settings,
)
from servers.execution.backends.mcp.signing import Signers, ask_challenge, require_sound
from servers.execution.contract import (
    Backend,
    Challenge,
    Completion,
    Context,
    Health,
    NoteHosted,
    NoteUpstream,
    Offering,
    OnBehalf,
    Operation,
    Outcome,
    Running,
    SignIns,
    SignInWanted,
    Source,
    UpstreamState,
)
from servers.execution.listening import Ears
from servers.execution.notes import NoteChanged
from servers.execution.signing_in import NoSignIns


class McpBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop."""

    kind: str = "mcp"
    title: str = "MCP server"
    summary: str = "What an MCP server elsewhere offers, behind this URL."
    settings_schema: Mapping[str, Any] = SETTINGS_SCHEMA
    secret_settings: frozenset[str] = SECRETS
    document_settings: frozenset[str] = frozenset({CATALOG})
    describes_itself: bool = True
    tells_of_changes: bool = True

    def __init__(
        self,
        *,
        allow_address: AllowAddress = allow_public,
        commands: Sequence[HostedCommand] = (),
        note_hosted: NoteHosted | None = None,
        note_upstream: NoteUpstream | None = None,
        note_changed: NoteChanged | None = None,
        talks: Talks | None = None,
        sign_ins: SignIns | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._hosting = Hosting({command.name: command for command in commands}, allow_address)
        if note_hosted is not None:
            self._hosting.note = note_hosted
        self._signers = Signers(sign_ins or NoSignIns(), allow=allow_address)
        self._reach = Reach(allow_address, self._hosting, talks, self._signers, note_changed=note_changed)
        self.upstreams = Upstreams(reach=self._reach, idle_seconds=idle_seconds)
        self.circles = Circles(ping=partial(probe, reach=self._reach), note=note_upstream or _drop)
        self.settings_schema = schema_with({command.name: _told(command) for command in commands})
        if talks is not None:
            talks.answer(SUBJECT, self._answer_others)

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        cleaned = clean_settings(settings)
        self._require_allowed(read_settings(cleaned))
        catalog = settings.get(CATALOG)
        if isinstance(catalog, Catalog):
            cleaned[CATALOG] = catalog
        return cleaned

    async def fetch_documents(
        self,
        settings: Mapping[str, Any],
        *,
        anew: bool = False,
        on_behalf: OnBehalf | None = None,
        team: int = 0,
    ) -> Mapping[str, Any]:
        given = {name: value for name, value in settings.items() if name != CATALOG}
        checked = read_settings(given)
        self._require_allowed(checked)
        if checked.browses and on_behalf is None:
            # Nobody can have signed in yet: it is stored first, and asked afterwards.
            return given
        signer = self._signers.for_settings(checked, on_behalf)
        reach = replace(self._reach, team=team)
        try:
            return {**given, CATALOG: await fetch_catalog(checked, reach=reach, signer=signer)}
        except SourceError as fault:
            if checked.browses and fault.code == NEEDED:
                if anew:
                    raise
                return given
            raise as_input_fault(fault, checked) from None

    def running(self, operation: Operation) -> Running:
        if operation.definition.get("task") is True:
            return Running("worker")
        return Running("begins_inline" if operation.definition.get("tasks") is True else "inline")

    def sign_in_wanted(self, settings: Mapping[str, Any]) -> SignInWanted | None:
        checked = read_settings(settings)
        if not checked.browses:
            return None
        return SignInWanted(
            checked.url,
            checked.each_member,
            checked.client_id,
            checked.client_secret,
            checked.issuer,
            checked.scopes,
        )

    async def challenge(self, settings: Mapping[str, Any]) -> Challenge:
        return await ask_challenge(read_settings(settings), allow=self._reach.allow)

    def keep_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        catalog = settings.get(CATALOG)
        if not isinstance(catalog, Catalog):
            return dict(settings)
        kept = {name: value for name, value in settings.items() if name != CATALOG}
        return {**kept, KEPT: describe_server(catalog, read_settings(kept))}

    def describe_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        shown = super().describe_settings(settings)
        if isinstance(kept := shown.get(KEPT), Mapping):
            # Of use to the check alone, and long.
            shown[KEPT] = {name: value for name, value in kept.items() if name != "fingerprints"}
        return shown

    def servers_behind(self, settings: Mapping[str, Any]) -> Sequence[str]:
        first = settings.get("url") or f"{HOSTED}://{settings.get('command', '')}"
        return first, *settings.get("replicas", ())

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        catalog = settings.get(CATALOG)
        if not isinstance(catalog, Catalog):
            if read_settings(settings).browses:
                return Offering()
            raise InvalidInput(
                "What this MCP server offers is not kept: it has to be asked again.", code="document_missing"
            )
        return offer_catalog(catalog, read_settings(settings))

    async def check(self, source: Source) -> Health:
        return await check_source(source, reach=self._reach)

    async def listen(self, source: Source, ears: Ears) -> bool:
        return await listen(source, read_settings(source.settings), ears, reach=self._reach)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        if operation.kind not in (TOOL, RESOURCE, PROMPT):
            raise self.no_such_operation(operation)
        route = self._route(source, context)
        most = timeout - margin_of(timeout)
        seconds = most if operation.definition.get("task") is True else min(most, route.settings.timeout)
        return await run(route, operation, arguments, seconds=seconds, most_seconds=most, context=context)

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
        seconds = timeout - margin_of(timeout)
        return await complete(
            self._route(source, context), operation, argument, value, given, seconds=seconds, context=context
        )

    def _require_allowed(self, checked: McpSettings) -> None:
        """Raise ``InvalidInput`` for a command that the operator does not allow, or tokens that would go in clear."""
        if checked.auth == "oauth":
            try:
                require_sound(checked, allow=self._reach.allow)
            except SourceError as fault:
                raise InvalidInput(
                    fault.message, errors=[{"path": "url", "message": fault.message}], code=fault.code
                ) from None
        if not checked.command:
            return
        try:
            self._hosting.command_of(checked)
        except SourceError as fault:
            path = str(fault.data["setting"])
            raise InvalidInput(fault.message, errors=[{"path": path, "message": fault.message}]) from None

    async def close(self) -> None:
        await self.circles.close()
        await self.upstreams.close()

    def _route(self, source: Source, context: Context) -> Route:
        return Route(self.upstreams, source, self.circles.get(source), member=context.principal.member)

    async def _answer_others(self, talk: Talk) -> None:
        await answer_others(talk, self.upstreams.taking, go_on)


def _told(command: HostedCommand) -> str:
    """What a command is, and what it reaches, for the people who choose."""
    reaches = ""
    if command.reach == "machine":
        reaches = "reaches all that this machine does"
    elif command.reach == "hosts":
        reaches = f"reaches {in_words(command.hosts)} alone"
    return "; ".join(filter(None, (command.note.rstrip("."), reaches)))


def _drop(source: Source, state: UpstreamState) -> None:
    """Where nobody wants to know."""
