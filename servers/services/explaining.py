"""Why a credential can or cannot call a tool: the decision's own rules, one after another. Runs and records nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from django.utils import timezone

from core.errors import Forbidden, MarinaError, NotFound, SourceError
from core.sealing import sealer
from servers.models import ServedVersion, Server, Tool, ToolVersion
from servers.services.aliases import read_alias
from servers.services.decisions import CHECKS
from servers.services.reach import offers_source
from servers.services.surfaces import Surface, SurfaceTool, load_surface
from servers.services.validators import find_fault
from servers.services.visibility import require_audience, require_server
from tenants.access import Caller, caller_of_key, require_address
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.keys import get_key
from tenants.services.oauth_apps import get_connection
from tenants.services.outside_issuers import caller_with_values, get_issuer
from tenants.tokens import caller_of_newest_token

T = TypeVar("T")

QUESTIONS: Final[dict[str, str]] = {
    "credential": "Does the credential work?",
    "address": "May it be used from there?",
    "reach": "May it use this server?",
    "exists": "Is there such a server?",
    "scope": "Do its scopes, and what the person behind it may do, allow calling tools?",
    "server": "Do its scopes leave this server to it?",
    "tool": "Do its scopes leave this tool to it?",
    "offered": "Does the server offer the tool?",
    "quarantine": "Is it what the team took over?",
    "usable": "Can the tool run?",
}
"""The steps in the order in which a call passes them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``passed`` is ``None`` where an earlier refusal leaves nothing to ask about.

    ``answer`` is a sentence; of a refusal it is what the client is told. ``code`` and ``rule`` are the record's.
    """

    name: str
    question: str
    passed: bool | None
    answer: str
    code: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every step, and whether a call would be let through to its tool."""

    allowed: bool
    steps: tuple[Step, ...]

    @property
    def refusal(self) -> Step | None:
        """The step that decides against the call: the first that refuses."""
        return next((step for step in self.steps if step.passed is False), None)


def explain_call(
    credential_id: UUID,
    server: str,
    tool: str,
    *,
    address: str = "",
    values: Sequence[str] = (),
    caller: Caller,
) -> Explanation:
    """What would become of a call of ``tool`` at ``server`` with this credential now, from ``address`` if one is named.

    A credential is an API key or a connected app, which stands for the newest access token that it got. Arguments are
    not looked at, nor how busy anybody is. Of an outside issuer, a token is meant that is for the server and has these
    ``values`` in the claim that counts. Raises ``NotFound`` for a credential that the team has not.
    """
    caller.require(Action.KEYS_READ)
    credential = _credential(credential_id, values, server, caller)
    asked = _Asking()
    who = asked.step("credential", credential.caller, "It does.")
    if who is None:
        if credential.ended:
            asked.add("credential", credential.ended)
        return asked.explanation()
    asked.step("address", lambda: _judge_address(who, address), _from_where(who, address))
    asked.step("reach", lambda: _judge_server(who, server), "It may.")
    surface = asked.step("exists", lambda: _surface_of(caller.tenant_id, server), "There is.")
    if surface is None:
        return asked.explanation()
    surface = surface.seen_by(who)
    for name, check in CHECKS.items():
        asked.step(name, partial(check, who, surface, tool), "Yes.")
    found = surface.by_name.get(tool)
    if found is None:
        asked.add("offered", _why_missing(caller.tenant_id, server, tool))
    else:
        asked.step("usable", lambda: _require_usable(found), "It can.")
    return asked.explanation()


def _require_usable(tool: SurfaceTool) -> None:
    # Not the decision path's own: it keeps what it compiles, for the process's event loop alone.
    fault = find_fault(tool)
    if fault:
        raise SourceError(fault, code="tool_unusable")


class _Asking:
    """The steps so far. Each is taken for itself, so that all that stands in the way shows at once."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}

    def step(self, name: str, ask: Callable[[], T], answer: str) -> T | None:
        """Take a step; what it gives, or ``None`` where it refuses."""
        try:
            given = ask()
        except MarinaError as refusal:
            rule = refusal.rule if isinstance(refusal, Forbidden) else ""
            self._note(name, passed=False, answer=refusal.message, code=refusal.code, rule=rule)
            return None
        self._note(name, passed=True, answer=answer)
        return given

    def add(self, name: str, reason: str) -> None:
        """Say more about a step than a client is told."""
        self._steps[name] = replace(self._steps[name], answer=f"{self._steps[name].answer} {reason}")

    def explanation(self) -> Explanation:
        """All steps; those that could not be taken are open."""
        for name in QUESTIONS:
            if name not in self._steps:
                self._note(name, passed=None, answer="It did not come to that.")
        steps = tuple(self._steps[name] for name in QUESTIONS)
        return Explanation(all(step.passed for step in steps), steps)

    def _note(self, name: str, *, passed: bool | None, answer: str, code: str = "", rule: str = "") -> None:
        self._steps[name] = Step(name, QUESTIONS[name], passed, answer, code, rule)


@dataclass(frozen=True, slots=True)
class _Credential:
    """What an id stands for: the caller that it is now, and that it has ended, where it is known."""

    caller: Callable[[], Caller]
    ended: str = ""


def _credential(credential_id: UUID, values: Sequence[str], server: str, caller: Caller) -> _Credential:
    try:
        key = get_key(credential_id, caller=caller)
    except NotFound:
        pass
    else:
        return _Credential(lambda: caller_of_key(key))
    try:
        row = get_connection(credential_id, caller=caller)
    except NotFound:
        pass
    else:
        return _Credential(
            lambda: caller_of_newest_token(row.pk, caller=caller),
            "" if row.is_live(timezone.now()) else "What its member agreed to has ended.",
        )
    try:
        issuer = get_issuer(credential_id, caller=caller)
    except NotFound:
        raise NotFound(
            "There is no such API key, connected app or outside issuer in this team.",
            code="credential_not_found",
        ) from None
    return _Credential(lambda: caller_with_values(issuer, values, server, caller=caller))


def _judge_server(who: Caller, server: str) -> None:
    require_audience(who, server)
    require_server(who, server)


def _judge_address(who: Caller, address: str) -> None:
    if address:
        require_address(who, address)


def _from_where(who: Caller, address: str) -> str:
    if who.networks is None:
        return "From anywhere."
    return "From there, yes." if address else f"From {', '.join(map(str, who.networks))} only."


def _surface_of(tenant_id: int, slug: str) -> Surface:
    surface = load_surface(tenant_id, slug, sealer())
    if surface is None:
        raise NotFound(f"The team has no server {slug[:80]}.", code="server_not_found")
    return surface


def _why_missing(tenant_id: int, slug: str, name: str) -> str:
    """Why a server does not offer a tool, for those who may see what the team has."""
    with tenant_scope(tenant_id):
        server = Server.objects.filter(slug=slug).first()
        if server is None:
            return "The team has no such server any more."
        tool = _find(name)
        if tool is not None:
            return _why_not(tool, server) or "No version of the tool was published yet."
        alias = read_alias(name)
        tool = None if alias is None else _find(alias[0])
        if alias is None or tool is None:
            return "The team has no tool of this name."
        return _why_not_beside(tool, alias[1], server)


def _find(name: str) -> Tool | None:
    return Tool.objects.select_related("source").filter(name=name).first()


def _why_not(tool: Tool, server: Server) -> str:
    """Why a server offers no version of a tool; empty where it could."""
    if not tool.enabled:
        return "The tool is switched off."
    if not offers_source(server, tool.source_id):
        return f"The server does not offer the data source {tool.source.name}, which the tool stands on."
    return ""


def _why_not_beside(tool: Tool, number: int, server: Server) -> str:
    """Why a server does not offer a version of a tool under a name of its own."""
    version = ToolVersion.objects.filter(tool=tool, number=number).first()
    if version is None:
        return f"The team has no tool of this name, and its tool {tool.name} has no version {number}."
    if version.state == ToolVersion.State.DISCARDED:
        return (
            f"The team has no tool of this name, and version {number} of its tool {tool.name} was discarded."
        )
    rows = ServedVersion.objects.filter(version=version, use=ServedVersion.Use.BESIDE)
    slugs = list(rows.values_list("server__slug", flat=True))
    if server.slug in slugs:
        return f"It is version {number} of {tool.name}. {_why_not(tool, server)}".strip()
    elsewhere = f". Offered by: {', '.join(slugs)}" if slugs else ""
    return f"The server does not offer version {number} of {tool.name} beside the current one{elsewhere}."
