"""One request to a server's metadata, or to an authorization server: bounded, followed nowhere, read as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from core.errors import SourceError
from core.outbound import AllowAddress
from core.outbound_http import OutboundClient, OutboundRefused
from core.strictjson import BadJson, read_object
from servers.execution.unanswered import host_of, unanswered

MAX_BYTES: Final = 262_144
SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. ``values`` are those of its JSON object; empty where it is none."""

    status: int
    values: Mapping[str, Any]


class Asker:
    """Asks on a connection of each request's own. ``allow`` says which addresses may be connected to."""

    def __init__(self, allow: AllowAddress) -> None:
        self.allow = allow

    async def get(self, url: str) -> Said:
        """A document. Raises ``SourceError`` where nothing answers."""
        return await self._send("GET", url, {}, None)

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Said:
        """The answer to a form. Raises ``SourceError``."""
        return await self._send(
            "POST",
            url,
            {**headers, "content-type": "application/x-www-form-urlencoded"},
            urlencode(form).encode(),
        )

    async def post_json(self, url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Said:
        """The answer to an object. Raises ``SourceError``."""
        return await self._send(
            "POST", url, {**headers, "content-type": "application/json"}, orjson.dumps(body)
        )

    async def _send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> Said:
        client = OutboundClient(allow=self.allow, http2=False, max_connections=1)
        try:
            answer = await client.send(
                method,
                url,
                headers={"accept": "application/json", **headers},
                content=content,
                seconds=SECONDS,
                most_bytes=MAX_BYTES,
            )
        except OutboundRefused as refused:
            raise _unanswered(refused, url) from None
        finally:
            await client.close()
        try:
            values = read_object(answer.body)
        except BadJson:
            values = {}
        return Said(answer.status, values)


def _unanswered(refused: OutboundRefused, url: str) -> SourceError:
    return unanswered(refused, f"For signing in, {host_of(url)}")
