"""``fetch_json``: reads one JSON document of the web, by the one door for outbound HTTP. It sends no credential.

A client of its own a call: no connection is shared between two teams, or kept for the next call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import orjson

from core.errors import InvalidInput, SourceError
from core.outbound import AllowAddress
from core.outbound_http import Answer, OutboundClient, OutboundRefused, Reason
from core.strictjson import BadJson, read_json_beside
from servers.execution.backends.toolkit.values import MAX_RESULT_BYTES, refuse
from servers.execution.contract import Offered, Operation, Outcome
from servers.execution.unanswered import unanswered

MAX_URL: Final = 2_048
MAX_SECONDS: Final = 15.0
MAX_REDIRECTS: Final = 3
"""On the same host: to a slash at the end, or from http to https."""

_BOM: Final = b"\xef\xbb\xbf"
_TYPE: Final = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_NEXT: Final[Mapping[Reason, str]] = {
    "unresolved": "Check its spelling.",
    "certificate": "",
    "timeout": "",
    "too_large": "Ask for less of it.",
}
"""Of a source without settings, and of a host that whoever calls may not know."""

FETCH_JSON: Final = Offered(
    name="fetch_json",
    title="Fetch JSON",
    description="Read a JSON document by its public address, with GET and without any credential. At most "
    f"{MAX_RESULT_BYTES:,} bytes within {MAX_SECONDS:g} s.",
    input_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["url"],
        "additionalProperties": False,
        "properties": {
            "url": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_URL,
                "description": "Beginning with https:// or http://.",
            }
        },
    },
    output_schema={
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["data", "status", "url"],
        "properties": {
            "data": {"description": "The document."},
            "status": {"type": "integer"},
            "url": {"type": "string", "description": "Where it was found, after redirects on the same host."},
        },
    },
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": True,
    },
    operation=Operation("fetch_json", {}),
)


async def fetch_json(
    arguments: Mapping[str, Any], *, allow: AllowAddress, timeout: float, team: int
) -> Outcome:
    """The document at ``url``. Raises ``InvalidInput`` and ``SourceError``; neither quotes what was answered."""
    url = arguments.get("url")
    if not isinstance(url, str) or not re.match("(?i)https?://", url) or len(url) > MAX_URL:
        refuse("url", f"Give an address beginning with https:// or http://, of at most {MAX_URL} characters.")
    answer, found = await _get(url, allow=allow, seconds=min(timeout, MAX_SECONDS))
    if not 200 <= answer.status < 300:
        raise SourceError(
            f"The server at {_host(found)} answered with the status {answer.status}, not with a document.",
            code="source_failed",
            data={"status": answer.status},
            retryable=answer.status in {429, 502, 503, 504},
        )
    body = answer.body.removeprefix(_BOM)
    try:
        data = await read_json_beside(body, team=team)
    except BadJson as fault:
        named = _TYPE.match(answer.headers.get("content-type", ""))
        kind = f" ({named[0]})" if named and "json" not in named[0] else ""
        raise SourceError(
            f"What the server at {_host(found)} answered{kind} is not JSON that can be trusted: {fault}.",
            code="source_failed",
        ) from None
    structured = {"data": data, "status": answer.status, "url": found}
    text = orjson.dumps(structured)
    return Outcome(
        structured, text.decode(), rows=len(data) if isinstance(data, list) else None, size=len(text)
    )


async def _get(url: str, *, allow: AllowAddress, seconds: float) -> tuple[Answer, str]:
    """The answer, and where it came from. Each address on the way there is judged like the first."""
    client = OutboundClient(allow=allow)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await client.send(
                "GET",
                url,
                headers={"accept": "application/json"},
                seconds=seconds,
                most_bytes=MAX_RESULT_BYTES,
            )
            location = answer.headers.get("location")
            if not (300 <= answer.status < 400 and location):
                return answer, url
            url = _followed(url, location)
    except OutboundRefused as refused:
        raise _fault(refused, url) from None
    finally:
        await client.close()
    raise SourceError(f"The server at {_host(url)} redirects again and again.", code="source_failed")


def _followed(url: str, location: str) -> str:
    """Where a redirect leads. Raises ``SourceError`` where that is another host, or no longer encrypted."""
    try:
        target = urljoin(url, location)
        before, after = urlsplit(url), urlsplit(target)
        same = before.hostname == after.hostname and (before.port == after.port or after.scheme == "https")
    except ValueError:
        same = False
    if not same or (before.scheme == "https" and after.scheme != "https"):
        raise SourceError(
            f"The server at {_host(url)} redirects to another one, or away from https. Fetch that address itself.",
            code="source_failed",
        )
    return target.partition("#")[0]


def _fault(refused: OutboundRefused, url: str) -> InvalidInput | SourceError:
    if refused.reason == "address":
        message = f"The address cannot be fetched: {refused}."
        return InvalidInput(message, errors=[{"path": "url", "message": message}], code="arguments_invalid")
    return unanswered(refused, f"The server at {_host(url)}", following=_NEXT)


def _host(url: str) -> str:
    """Host and port, which may be told; a path or a query may hold a secret."""
    return urlsplit(url).netloc[:200]
