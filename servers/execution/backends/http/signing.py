"""Signs requests in: a token, a key, a password, or a token that is got by client credentials and renewed in time.

Tokens and secrets go to the source's own base address and to its token endpoint only, and into no message.
"""

from __future__ import annotations

import asyncio
import math
import re
from base64 import b64encode
from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from core.errors import SourceError
from core.outbound_http import OutboundClient, OutboundRefused
from core.strictjson import BadJson, read_json
from servers.execution.backends.http.settings import HttpSettings
from servers.execution.unanswered import host_of, unanswered

MAX_TOKEN_ANSWER: Final = 65_536
DEFAULT_LIFETIME: Final = 300.0
"""Seconds for which a token is used whose answer does not say how long it is good."""
MAX_LIFETIME: Final = 86_400.0
FAILURE_SECONDS: Final = 1.0
"""How long a refusal of the token endpoint answers those who wait behind it."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_KNOWN: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
"""RFC 6749, section 5.2: what is passed on of a refusal. Its other words may quote what was sent."""


class Signer:
    """The headers that sign one source's requests in."""

    def __init__(
        self, settings: HttpSettings, client: OutboundClient, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._token = self._former = ""
        self._until = -math.inf
        self._asking = asyncio.Lock()
        self._failure: tuple[float, SourceError] | None = None

    @property
    def renews(self) -> bool:
        """Whether another token can be had where one is refused."""
        return self._settings.auth == "oauth"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown to anybody: kept answers may hold the token before this one."""
        settings = self._settings
        known = [settings.token, settings.password, settings.client_secret, self._token, self._former]
        if settings.auth == "basic":
            known.append(_basic(settings.username, settings.password))
        return tuple(each for each in known if each)

    async def headers(self, *, seconds: float) -> dict[str, str]:
        """The headers for one request. Raises ``SourceError`` where no token could be had."""
        settings = self._settings
        match settings.auth:
            case "bearer":
                return {"authorization": f"Bearer {settings.token}"}
            case "api_key":
                return {settings.key_header.lower(): settings.token}
            case "basic":
                return {"authorization": f"Basic {_basic(settings.username, settings.password)}"}
            case "oauth":
                return {"authorization": f"Bearer {await self._current(seconds)}"}
            case _:
                return {}

    def refused(self, headers: dict[str, str]) -> bool:
        """Forget a token that the server took for none; whether trying again makes sense."""
        if self.renews and headers.get("authorization") == f"Bearer {self._token}":
            self._until = -math.inf
        return self.renews

    async def _current(self, seconds: float) -> str:
        if self._clock() < self._until:
            return self._token
        async with self._asking:  # everybody else waits for the one that asks
            if self._clock() < self._until:
                return self._token
            if self._failure is not None and self._clock() < self._failure[0]:
                known = self._failure[1]
                raise SourceError(
                    known.message, code=known.code, data=dict(known.data), retryable=known.retryable
                )
            try:
                token, lifetime = await self._ask(seconds)
            except SourceError as fault:
                self._failure = (self._clock() + FAILURE_SECONDS, fault)
                raise
            self._former, self._token = self._token, token
            # Renewed before it ends: a request takes a while to arrive.
            self._until = self._clock() + max(lifetime - min(30.0, lifetime / 10), 1.0)
            self._failure = None
            return self._token

    async def _ask(self, seconds: float) -> tuple[str, float]:
        """RFC 6749, section 4.4."""
        settings = self._settings
        form = {"grant_type": "client_credentials"}
        headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
        if settings.scope:
            form["scope"] = settings.scope
        if settings.secret_in_body:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        else:
            # Section 2.3.1: both are encoded as in a form before they are joined.
            pair = _basic(quote_plus(settings.client_id), quote_plus(settings.client_secret))
            headers["authorization"] = f"Basic {pair}"
        try:
            answer = await self._client.send(
                "POST",
                settings.token_url,
                headers=headers,
                content=urlencode(form).encode(),
                seconds=seconds,
                most_bytes=MAX_TOKEN_ANSWER,
            )
        except OutboundRefused as refused:
            raise unanswered(refused, f"The token endpoint at {host_of(settings.token_url)}") from None
        try:
            said = read_json(answer.body)
        except BadJson:
            said = None
        return _read_token(said, answer.status, host_of(settings.token_url))


def _read_token(said: Any, status: int, host: str) -> tuple[str, float]:
    values = said if isinstance(said, dict) else {}
    if status != 200:
        code = values.get("error")
        named = f" ({code})" if isinstance(code, str) and code in _KNOWN else ""
        raise SourceError(
            f"The token endpoint at {host} gave no token: it answered with status {status}{named}. Check the client "
            "id, its secret and the scopes in the settings of the data source.",
            code="source_auth",
            data={"status": status},
            retryable=status >= 500 or status == 429,
        )
    token, kind = values.get("access_token"), values.get("token_type", "bearer")
    if (
        not isinstance(token, str)
        or not _TOKEN.fullmatch(token)
        or not isinstance(kind, str)
        or kind.lower() != "bearer"
    ):
        raise SourceError(
            f"The token endpoint at {host} answered with something that is no bearer token. Check its address in the "
            "settings of the data source.",
            code="source_auth",
        )
    lifetime = values.get("expires_in")
    if isinstance(lifetime, str) and lifetime.isascii() and lifetime.isdigit() and len(lifetime) < 12:
        lifetime = int(lifetime)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime <= 0:
        return token, DEFAULT_LIFETIME
    return token, min(float(lifetime), MAX_LIFETIME)


def _basic(name: str, secret: str) -> str:
    return b64encode(f"{name}:{secret}".encode()).decode()
