"""Reads secrets of HashiCorp Vault's key/value store, version 2. Writes nothing there, and knows no tenant.

By Vault's HTTP API: ``GET /v1/:mount/data/:path``, ``POST /v1/auth/:mount/login`` of AppRole, and
``GET /v1/auth/token/lookup-self``. A token of AppRole is kept for most of its lease. What Vault decided (there is no
such secret, it was deleted, nobody may read it) is told from what it could not say just now: ``VaultFault.final``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

import orjson

from core.outbound_http import Answer, OutboundClient, OutboundRefused
from core.strictjson import BadJson, read_object
from core.vaultaccess import VaultAccess, is_vault_path

READ_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 1024 * 1024
AT_ONCE: Final = 8
"""Requests to Vault at the same time."""

REST_SECONDS: Final = 5.0
"""How long a Vault that could not say anything is left alone: secrets do not wait for it one after another."""

KEPT_OF_LEASE: Final = 0.8
"""The part of a token's lease for which it is used."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")


class VaultFault(Exception):
    """A secret was not read. The message says why, beginning with "Vault", and holds nothing of Vault's own words.

    ``final``: Vault answered, and decided so. Otherwise it may say something else in a while.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Vault:
    """One Vault as one process reads it. Keeps a token, and no connection between two calls."""

    def __init__(self, access: VaultAccess) -> None:
        self._access = access
        self._token = access.token
        self._until = float("inf") if access.token else 0.0
        self._signing_in = asyncio.Lock()
        self._down: VaultFault | None = None
        self._rests_until = 0.0

    async def read(self, paths: Sequence[str]) -> list[Mapping[str, Any] | VaultFault]:
        """The newest version of each secret: its keys and values, or why there are none, in the order of ``paths``."""
        # Its address is the operator's, like the database's: tenants name none, so the rule for theirs is not asked.
        client = OutboundClient(allow=lambda _: True, http2=False, max_connections=AT_ONCE)
        turns = asyncio.Semaphore(AT_ONCE)

        async def read(path: str) -> Mapping[str, Any] | VaultFault:
            async with turns:
                if self._down is not None and monotonic() < self._rests_until:
                    return self._down
                try:
                    found = await self._read(client, path)
                except VaultFault as fault:
                    if not fault.final:
                        self._down, self._rests_until = fault, monotonic() + REST_SECONDS
                    return fault
                self._down = None
                return found

        try:
            return list(await asyncio.gather(*(read(path) for path in paths)))
        finally:
            await client.close()

    async def _read(self, client: OutboundClient, path: str) -> Mapping[str, Any]:
        if not is_vault_path(path):
            raise VaultFault("Vault has no such path", final=True)
        answer = await self._ask(client, path)
        if answer.status == 200:
            return _values(answer)
        if answer.status == 404:
            raise _missing(answer)
        if answer.status == 403:
            raise VaultFault("Vault does not let Marina read it (403)", final=True)
        raise _unable(answer.status)

    async def _ask(self, client: OutboundClient, path: str) -> Answer:
        """The answer, after a second try with a new token where the first one was refused."""
        target = f"{self._access.mount}/data/{path}"
        token = await self._signed_in(client)
        answer = await self._send(client, "GET", target, token=token)
        if answer.status != 403:
            return answer
        # A policy that refuses and a token that has died have the same answer.
        if (await self._send(client, "GET", "auth/token/lookup-self", token=token)).status == 200:
            return answer
        if self._access.token:
            raise VaultFault("Vault does not know Marina's token, or it has expired")
        renewed = await self._signed_in(client, instead_of=token)
        return await self._send(client, "GET", target, token=renewed)

    async def _signed_in(self, client: OutboundClient, *, instead_of: str = "") -> str:
        async with self._signing_in:
            if monotonic() >= self._until or (instead_of and self._token == instead_of):
                self._token, self._until = await self._sign_in(client)
            return self._token

    async def _sign_in(self, client: OutboundClient) -> tuple[str, float]:
        access = self._access
        body = orjson.dumps({"role_id": access.role_id, "secret_id": access.secret_id})
        answer = await self._send(client, "POST", f"auth/{access.role_mount}/login", content=body)
        if answer.status in {400, 401, 403, 404}:
            raise VaultFault(f"Vault does not sign Marina in by AppRole ({answer.status})")
        if answer.status != 200:
            raise _unable(answer.status)
        auth = _object(answer).get("auth")
        token = auth.get("client_token") if isinstance(auth, Mapping) else None
        lease = auth.get("lease_duration") if isinstance(auth, Mapping) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not isinstance(lease, int):
            raise VaultFault("Vault signed Marina in and gave no token")
        # Of a token that does not expire, the lease is 0.
        return token, monotonic() + lease * KEPT_OF_LEASE if lease > 0 else float("inf")

    async def _send(
        self,
        client: OutboundClient,
        method: str,
        target: str,
        *,
        token: str = "",
        content: bytes | None = None,
    ) -> Answer:
        headers = {"X-Vault-Request": "true", "Accept": "application/json"}
        if token:
            headers["X-Vault-Token"] = token
        if self._access.namespace:
            headers["X-Vault-Namespace"] = self._access.namespace
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            return await client.send(
                method,
                f"{self._access.url}/v1/{target}",
                headers=headers,
                content=content,
                seconds=READ_SECONDS,
                most_bytes=MAX_ANSWER_BYTES,
            )
        except OutboundRefused as refused:
            raise VaultFault(f"Vault was not reached: {refused}") from None


def _values(answer: Answer) -> Mapping[str, Any]:
    data = _object(answer).get("data")
    values = data.get("data") if isinstance(data, Mapping) else None
    if not isinstance(values, Mapping):
        # Version 1 of the store has the values one level higher.
        raise VaultFault("Vault answered with no values: the mount has to be a key/value store of version 2")
    return values


def _missing(answer: Answer) -> VaultFault:
    """What a 404 says: of a version that was deleted or destroyed, Vault still gives the metadata."""
    body = _object(answer)
    data = body.get("data")
    metadata = data.get("metadata") if isinstance(data, Mapping) else None
    if not isinstance(metadata, Mapping):
        if not isinstance(body.get("errors"), list):
            # Something else stands at this address, or before Vault.
            return VaultFault("Vault answered 404, and not as Vault does: is the address Vault's?")
        return VaultFault("Vault has nothing at this path", final=True)
    what = "destroyed" if metadata.get("destroyed") is True else "deleted"
    return VaultFault(f"Vault has its newest version {what}", final=True)


def _unable(status: int) -> VaultFault:
    if status in {501, 503}:
        return VaultFault(f"Vault is sealed, not set up, or being maintained ({status})")
    if 300 <= status < 400:
        return VaultFault(f"Vault led elsewhere ({status}), and Marina does not follow: name the active node")
    return VaultFault(f"Vault answered with status {status}")


def _object(answer: Answer) -> dict[str, Any]:
    try:
        return read_object(answer.body)
    except BadJson:
        raise VaultFault("Vault's answer is not what Vault answers: is the address Vault's?") from None
