"""A client for the official suite's scenarios: Marina's own connector, at the address that the suite gives.

What keeps tokens in Marina is rows, and who goes to the authorization server is a person's browser. Here memory and one
request stand for these, and for Marina's client somebody who agrees to each question; all that asks, judges and sends
is what runs in Marina.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2

from core.outbound import AddressRule, parse_networks
from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.challenges import Challenge, joined
from servers.execution.authorizing.clients import Client, make_known
from servers.execution.authorizing.discovery import discover
from servers.execution.authorizing.faults import needs_scopes
from servers.execution.authorizing.grants import Tokens, begin_visit, read_return, redeem_code
from servers.execution.backends.mcp import McpBackend
from servers.execution.backends.mcp.settings import read_settings
from servers.execution.backends.mcp.signing import ask_challenge
from servers.execution.context import Detached
from servers.execution.contract import Ask, AskMethod, Offered, Operation, Principal, Source
from servers.execution.signing_in import AccessToken, OnBehalf
from servers.execution.unanswered import host_of

ALLOW: Final = AddressRule(parse_networks(["127.0.0.0/8", "::1"])).allows
DOCUMENT: Final = "https://conformance-test.local/client-metadata.json"
"""The address of the suite's own document."""
REDIRECT: Final = "http://localhost:3000/callback"
MAX_VISITS: Final = 3
"""How often somebody would press the button."""

NOTHING_TO_USE: Final = ("initialize", "request-metadata", "json-schema-ref-no-deref")
"""Scenarios whose server offers nothing, or a tool whose schema leads elsewhere, which Marina does not take over."""


class InMemory:
    """Implements ``SignIns`` as the team's rows and a person who agrees to everything would."""

    def __init__(self, entered: tuple[str, str, str]) -> None:
        self._ask = Asker(ALLOW)
        self._entered = entered
        self._clients: dict[str, Client] = {}
        self._tokens: Tokens | None = None
        self._number = self._visits = 0
        self._asked: tuple[str, ...] = ()

    async def token(self, source: Source, url: str, member: int | None) -> AccessToken:
        if self._tokens is None:
            settings = read_settings(source.settings)
            await self._visit(url, await ask_challenge(settings, allow=ALLOW), ())
        assert self._tokens is not None
        return AccessToken(self._tokens.access, self._number)

    async def another(
        self,
        source: Source,
        url: str,
        member: int | None,
        refused: AccessToken,
        challenge: Challenge,
        *,
        checking: bool = False,
    ) -> AccessToken:
        if refused.number == self._number:
            if self._visits >= MAX_VISITS:
                raise needs_scopes(host_of(url), challenge.scopes)
            await self._visit(url, challenge, self._asked if challenge.wants_more else ())
        assert self._tokens is not None
        return AccessToken(self._tokens.access, self._number)

    async def _visit(self, url: str, challenge: Challenge, more: tuple[str, ...]) -> None:
        self._visits += 1
        found = await discover(self._ask, url, challenge)
        server = found.server
        client_id, secret, issuer = self._entered
        client = self._clients.get(server.issuer) or await make_known(
            self._ask,
            server,
            # Whoever entered the client knew whose it is.
            entered=(client_id, secret, issuer or server.issuer),
            document=DOCUMENT,
            redirect_uri=REDIRECT,
        )
        self._clients[server.issuer] = client
        self._asked = joined(more, found.asked)
        visit = begin_visit(found, client, REDIRECT, self._asked)
        async with httpx2.AsyncClient(follow_redirects=False, timeout=60) as browser:
            answer = await browser.get(visit.url)
        back = {
            name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()
        }
        assert back.get("state", visit.state) == visit.state
        code = read_return(back, issuer=server.issuer, names_issuer=server.names_issuer)
        self._tokens = await redeem_code(
            self._ask,
            server.token,
            client,
            code=code,
            verifier=visit.verifier,
            redirect_uri=REDIRECT,
            resource=found.resource,
        )
        self._number += 1


class Agreeing(Detached):
    """Implements ``Context`` for a client that can be asked anything and says yes, with the defaults of each form."""

    def can(self, method: AskMethod, part: str = "") -> bool:
        return True

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        return {name: _agreed(each) for name, each in asks.items()}


def _agreed(ask: Ask) -> dict[str, Any]:
    fields = ask.params.get("requestedSchema", {}).get("properties", {})
    content = {name: field["default"] for name, field in fields.items() if "default" in field}
    return {"action": "accept", "content": content or {"confirmed": True}}


async def run(url: str, scenario: str, context: dict[str, Any]) -> None:
    """Sign in where that is asked for, list what the server offers, and use of it what the scenario looks at."""
    settings: dict[str, Any] = {"url": url}
    client = (context.get("client_id", ""), context.get("client_secret", ""), "")
    if scenario.startswith("auth/"):
        settings["auth"] = "oauth"
    if scenario == "auth/client-credentials-basic":
        found = await discover(Asker(ALLOW), url, await ask_challenge(read_settings(settings), allow=ALLOW))
        settings |= {
            "sign_in": "client",
            "client_id": client[0],
            "client_secret": client[1],
            "issuer": found.server.issuer,
        }
    backend = McpBackend(allow_address=ALLOW, sign_ins=InMemory(client))
    source = Source(uuid4(), 1, "suite", "mcp", 1, settings)

    async def use(operation: Operation, arguments: Mapping[str, Any]) -> None:
        asker = Agreeing(Principal("suite", "team", "default", "r", "key:1"))
        await backend.execute(source, operation, arguments, timeout=20, context=asker)

    try:
        behalf = OnBehalf(source, None)
        fetched = await backend.fetch_documents(settings, anew=True, on_behalf=behalf)
        if scenario in NOTHING_TO_USE:
            return
        offered = backend.offered(fetched)
        tools = {tool.name: tool for tool in offered.tools}
        for name, arguments in _calls(scenario, tools, context):
            await use(tools[name].operation, arguments)
        if scenario == "http-standard-headers":
            for resource in offered.resources:
                await use(resource.operation, {"uri": resource.uri})
            for prompt in offered.prompts:
                await use(prompt.operation, {})
    finally:
        await backend.close()


def _calls(
    scenario: str, tools: Mapping[str, Offered], context: Mapping[str, Any]
) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Which of the offered tools a scenario wants called, and with what."""
    if "toolCalls" in context:
        return [(call["name"], call["arguments"]) for call in context["toolCalls"]]
    if scenario == "json-schema-2020-12-preservation":
        return [("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})]
    if scenario.startswith("auth/"):
        return [(name, {}) for name in list(tools)[:1]]
    return [(name, {"a": 2, "b": 3} if name == "add_numbers" else {}) for name in tools]


if __name__ == "__main__":
    asyncio.run(
        run(
            sys.argv[-1],
            os.environ.get("MCP_CONFORMANCE_SCENARIO", ""),
            json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}"),
        )
    )
