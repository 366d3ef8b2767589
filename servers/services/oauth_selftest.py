"""Connects to a team as a client would, by the installation's public address, and says what came of each step.

What it finds is what clients meet: a proxy that passes not everything, a base URL that is wrong, http where https is
meant. It registers a client and removes it again. It signs nobody in, so it ends where a member would.
"""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import orjson

from core.asking import Answer, NotReached, ask
from core.loop import run_async
from core.pkce import challenge_of
from core.threads import run_sync
from servers.services.oauth_notes import SELF_TEST_AGENT
from tenants.access import Caller
from tenants.oauth_addresses import base_url, issuer, metadata_url, resource
from tenants.roles import Action
from tenants.services.oauth_apps import remove_tried_client
from tenants.services.oauth_clients import LOOPBACK

TOTAL_SECONDS: Final = 45.0
REDIRECT: Final = "http://127.0.0.1/marina-self-test"
ORIGIN: Final = "https://client.example"
"""Of a page that wants to read metadata: any will do."""

TITLES: Final[dict[str, str]] = {
    "challenge": "The server tells where tokens come from",
    "resource_metadata": "The server's metadata",
    "issuer_metadata": "The issuer's metadata",
    "browsers": "Clients in a browser may read it",
    "registration": "A client registers",
    "authorization": "Its member's browser is asked to sign in",
    "token": "The token endpoint judges a code",
    "scheme": "The address is one that clients accept",
}
_METADATA: Final = re.compile(r'resource_metadata="([^"]*)"')
_ANOTHER_MARINA: Final = (
    "Another Marina answers at this address, or its processes have different values of MARINA_BASE_URL."
)


@dataclass(frozen=True, slots=True)
class Check:
    """One step. ``passed`` is ``None`` where it could not be tried."""

    key: str
    passed: bool | None
    asked: str = ""
    answered: str = ""
    problem: str = ""
    next_step: str = ""

    @property
    def title(self) -> str:
        return TITLES[self.key]


@dataclass(frozen=True, slots=True)
class SelfTest:
    """All steps, at this base URL."""

    base_url: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.passed is not False for check in self.checks)


def run_self_test(*, caller: Caller) -> SelfTest:
    """Try it now. Takes as long as the address takes to answer, ``TOTAL_SECONDS`` at most."""
    caller.require(Action.KEYS_CHANGE)
    return run_async(_Trial(caller).run(), timeout=TOTAL_SECONDS)


class _Wrong(Exception):
    """A step is not as it should be: what is wrong, and what to do."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.next_step = next_step


@dataclass(slots=True)
class _Trial:
    """The test as it goes: the registration writes what it learnt for the steps after it."""

    caller: Caller
    client_id: str = ""
    secret: str = ""

    async def run(self) -> SelfTest:
        """All steps, each for itself, so that all that is wrong shows at once."""
        slug = self.caller.tenant_slug
        name = issuer(slug)
        path = f"/.well-known/oauth-authorization-server/oauth/{slug}"
        try:
            checks = await _all(
                self._step(
                    "challenge", "POST", resource(slug), self._judge_challenge, body=_PING, headers=_MCP
                ),
                self._step("resource_metadata", "GET", metadata_url(slug), self._judge_resource),
                self._step("issuer_metadata", "GET", f"{base_url()}{path}", self._judge_issuer),
                self._step(
                    "browsers", "OPTIONS", metadata_url(slug), self._judge_browsers, headers=_PREFLIGHT
                ),
                self._step(
                    "registration",
                    "POST",
                    f"{name}/register",
                    self._judge_registration,
                    body=_CLIENT,
                    headers=_JSON,
                ),
            )
            checks += await self._with_client(name)
        finally:
            if self.client_id:
                await run_sync(remove_tried_client, self.client_id, caller=self.caller)
        return SelfTest(base_url(), (self._judge_scheme(), *checks))

    async def _with_client(self, name: str) -> list[Check]:
        """The steps that take a registered client."""
        if not self.client_id:
            return [
                Check(key, None, answered="It takes a registered client.")
                for key in ("authorization", "token")
            ]
        query = urlencode(self._request())
        return await _all(
            self._step("authorization", "GET", f"{name}/authorize?{query}", self._judge_authorization),
            self._step(
                "token",
                "POST",
                f"{name}/token",
                self._judge_token,
                body=urlencode(self._exchange()).encode(),
                headers={**_FORM, "Authorization": f"Basic {self._basic()}"},
            ),
        )

    async def _step(
        self,
        key: str,
        method: str,
        url: str,
        judge: Callable[[Answer], str | None],
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Check:
        asked = f"{method} {url.partition('?')[0]}"
        answered = ""
        try:
            answer = await _ask(method, url, headers, body)
            answered = f"Status {answer.status}."
            _require_marina(answer, url)
            untried = judge(answer)
        except _Wrong as wrong:
            return Check(key, False, asked, answered, wrong.problem, wrong.next_step)
        return Check(key, True if untried is None else None, asked, untried or answered)

    def _judge_scheme(self) -> Check:
        parts = urlsplit(base_url())
        if parts.scheme == "https" or parts.hostname in LOOPBACK:
            return Check("scheme", True, answered=base_url())
        return Check(
            "scheme",
            False,
            answered=base_url(),
            problem="Clients take tokens over https, or over http from their own machine, and from nowhere else.",
            next_step="Put TLS before Marina and set MARINA_BASE_URL to the https address.",
        )

    def _judge_challenge(self, answer: Answer) -> str | None:
        if answer.status == 200:
            return "The default server is public: it asks nobody for a token."
        if answer.status != 401:
            raise _Wrong(
                f"A request without a credential got {answer.status}, not 401.",
                "See whether a proxy answers by itself at /mcp, or MARINA_ALLOWED_HOSTS lacks the public host.",
            )
        found = _METADATA.search(answer.headers.get("www-authenticate", ""))
        if found is None:
            raise _Wrong(
                "The 401 has no WWW-Authenticate header that names resource_metadata.",
                "Have the proxy pass WWW-Authenticate on, and leave authentication of /mcp to Marina.",
            )
        expected = metadata_url(self.caller.tenant_slug)
        if found[1] != expected:
            raise _Wrong(
                f"It names {found[1][:200]} and not {expected}.",
                _ANOTHER_MARINA,
            )
        return None

    def _judge_resource(self, answer: Answer) -> None:
        self._require(answer, 200)
        slug, found = self.caller.tenant_slug, answer.json()
        issuers = found.get("authorization_servers")
        own = isinstance(issuers, list) and issuers[:1] == [issuer(slug)]
        if found.get("resource") != resource(slug) or not own:
            raise _Wrong(
                "The metadata is not this team's: clients check it letter for letter.",
                _ANOTHER_MARINA,
            )

    def _judge_issuer(self, answer: Answer) -> None:
        self._require(answer, 200)
        name, found = issuer(self.caller.tenant_slug), answer.json()
        if found.get("issuer") != name or found.get("token_endpoint") != f"{name}/token":
            raise _Wrong(
                f"The metadata does not name the issuer {name}.",
                _ANOTHER_MARINA,
            )

    def _judge_browsers(self, answer: Answer) -> None:
        allowed = answer.headers.get("access-control-allow-origin")
        if answer.status >= 300 or allowed not in {"*", ORIGIN}:
            raise _Wrong(
                "Pages of other origins may not read the metadata: the answer to OPTIONS lacks "
                "Access-Control-Allow-Origin.",
                "Have the proxy pass OPTIONS and the Access-Control headers on, and answer neither by itself.",
            )

    def _judge_registration(self, answer: Answer) -> str | None:
        if answer.status == 429:
            return "Too many registrations came from Marina's own address. Try again in an hour."
        self._require(answer, 201)
        found = answer.json()
        self.client_id, self.secret = str(found.get("client_id", "")), str(found.get("client_secret", ""))
        return None

    def _judge_authorization(self, answer: Answer) -> None:
        where = urlsplit(answer.headers.get("location", ""))
        if answer.status in {302, 303} and where.path.startswith("/app/sign-in"):
            return
        raise _Wrong(
            f"The browser got {answer.status} and not the sign-in page.",
            "Have the proxy pass /oauth/ and /app/ on to Marina, and ask for no sign-in of its own there.",
        )

    def _judge_token(self, answer: Answer) -> None:
        error = answer.json().get("error")
        if error == "invalid_client":
            raise _Wrong(
                "The token endpoint did not learn who the client is.",
                "Have the proxy pass the Authorization header on.",
            )
        if answer.status != 400 or error != "invalid_grant":
            raise _Wrong(
                f"A made-up code got {answer.status}, and not the protocol's invalid_grant.",
                "Have the proxy pass POST below /oauth/ on as it is, with its body, and errors back as they are.",
            )

    def _require(self, answer: Answer, status: int) -> None:
        if answer.status != status:
            told = str(answer.json().get("error_description", ""))[:200]
            raise _Wrong(
                f"It got {answer.status}, not {status}. {told}".strip(),
                "Have the proxy pass /.well-known/ and /oauth/ on to Marina, with the whole path.",
            )

    def _request(self) -> dict[str, str]:
        return {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "code_challenge": challenge_of(_VERIFIER),
            "code_challenge_method": "S256",
            "resource": resource(self.caller.tenant_slug),
        }

    def _exchange(self) -> dict[str, str]:
        return {
            "grant_type": "authorization_code",
            "code": secrets.token_urlsafe(32),
            "redirect_uri": REDIRECT,
            "code_verifier": _VERIFIER,
            "resource": resource(self.caller.tenant_slug),
        }

    def _basic(self) -> str:
        return base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()


async def _all(*steps: Coroutine[Any, Any, Check]) -> list[Check]:
    """What came of steps that need nothing of each other, in this order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step) for step in steps]
    return [task.result() for task in tasks]


async def _ask(method: str, url: str, headers: dict[str, str] | None, body: bytes | None) -> Answer:
    """One request of the self-test's own. Raises ``_Wrong`` where nobody answers."""
    try:
        return await ask(method, url, headers={"User-Agent": SELF_TEST_AGENT, **(headers or {})}, body=body)
    except NotReached as why:
        raise _Wrong(
            f"Marina cannot reach its own address: {why}.",
            f"MARINA_BASE_URL is {base_url()}. Set it to the address that clients use. If it is that, clients "
            "may reach it where Marina itself cannot: let the host resolve and connect to it.",
        ) from None


def _require_marina(answer: Answer, url: str) -> None:
    """Raise ``_Wrong`` for an answer that is a proxy's own."""
    location = answer.headers.get("location", "")
    if answer.status in {301, 307, 308} or (
        answer.status in {302, 303} and "x-request-id" not in answer.headers
    ):
        if location.startswith("https:") and url.startswith("http:"):
            raise _Wrong(
                "A proxy sends http on to https, and MARINA_BASE_URL says http.",
                f"Set MARINA_BASE_URL to https://{urlsplit(base_url()).netloc}: clients follow no such redirect.",
            )
        raise _Wrong(
            f"The address sends clients elsewhere ({urlsplit(location).netloc or 'another path'}).",
            "Set MARINA_BASE_URL to the address where Marina answers itself.",
        )
    if "x-request-id" not in answer.headers:
        raise _Wrong(
            f"What answered with {answer.status} is not Marina: the answer has no X-Request-ID.",
            "Have the proxy pass this path on to Marina as it is; see that MARINA_BASE_URL is Marina's address.",
        )


_VERIFIER: Final = "marina-self-test-marina-self-test-marina-self-test"
"""No secret: no code was ever made for it."""

_PING: Final = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
_JSON: Final = {"Content-Type": "application/json"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_MCP: Final = {**_JSON, "Accept": "application/json, text/event-stream"}
_PREFLIGHT: Final = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "mcp-protocol-version",
}
_CLIENT: Final = orjson.dumps(
    {
        "client_name": "Marina's self-test",
        "redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "client_secret_basic",
    }
)
