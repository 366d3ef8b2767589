"""What handlers share: reading parameters, naming the client, and results that a client must add to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from core.errors import Forbidden, MarinaError, NotFound
from servers.endpoint.context import required_capabilities
from servers.endpoint.errors import describe
from servers.endpoint.incoming import Incoming
from servers.endpoint.specification import CLIENT_INFO, INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY
from servers.endpoint.wire import RpcError
from servers.services.redaction import mask_text

CLIENT_CHARACTERS: Final = 120
_LOOKED_AT: Final = 1_000
"""Characters of a client's name that are read at all."""


def client_of(headers: Mapping[bytes, bytes], params: Mapping[str, Any] | None = None) -> str:
    """The client as it names itself in a 2026-07-28 envelope, else as HTTP names it. Nothing is decided by it."""
    meta = None if params is None else params.get("_meta")
    info = meta.get(CLIENT_INFO) if isinstance(meta, dict) else None
    if isinstance(info, dict):
        return info_of(info)
    return _shown(headers.get(b"user-agent", b"").decode("latin-1")[:_LOOKED_AT])


def info_of(info: Mapping[str, Any]) -> str:
    """An ``Implementation`` in one line."""
    return _shown(f"{info.get('name', '')} {info.get('version', '')}".strip()[:_LOOKED_AT])


@lru_cache(maxsize=1_024)
def _shown(client: str) -> str:
    """A client's name as the log may have it. Few clients call often, so that most are looked up."""
    # Masked before it is cut: of a key that was cut, too much would stand there.
    return mask_text(client)[:CLIENT_CHARACTERS]


def client_in(incoming: Incoming) -> str:
    """The client of a request: as its session knows it, else as the request says."""
    session = incoming.session
    return (
        session.client
        if session is not None and session.client
        else client_of(incoming.headers, incoming.params)
    )


def invalid(message: str) -> RpcError:
    """The answer to parameters that are not as the specification has them."""
    return RpcError(INVALID_PARAMS, message, data={"code": "params_invalid"})


def unknown(error: NotFound, code: int = INVALID_PARAMS, **more: str) -> RpcError:
    """The answer to the name of something that is not there, which the decision path has recorded."""
    return RpcError(code, error.message, data={**describe(error), **more}, recorded=True)


def text_of(incoming: Incoming, name: str) -> str:
    """A parameter that must be a string."""
    value = incoming.params.get(name)
    if not isinstance(value, str):
        raise invalid(f"params.{name} must be a string. Send {incoming.method} as the specification has it.")
    return value


def cursor_of(incoming: Incoming) -> str | None:
    """The cursor of a list."""
    cursor = incoming.params.get("cursor")
    if cursor is not None and not isinstance(cursor, str):
        raise invalid("params.cursor must be a string: the nextCursor of the page before.")
    return cursor


async def record_refusal(incoming: Incoming, refusal: Forbidden, *, bounded: bool = False) -> None:
    """Record that a caller was refused something that the decision path does not record. Raises ``Unavailable``."""
    await incoming.runtime.refusals.refused_caller(
        incoming.caller,
        refusal,
        kind=incoming.method,
        server=incoming.surface.slug,
        client=client_in(incoming),
        request_id=incoming.request_id,
        bounded=bounded,
    )


def lacks_capability(error: MarinaError) -> RpcError:
    """The answer to a 2026-07-28 client that would have to be asked, and did not declare that it can be."""
    needed = required_capabilities(error.data)
    return RpcError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        error.message,
        data={**describe(error), "requiredCapabilities": needed},
        recorded=True,
    )


def complete(incoming: Incoming, members: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> bytes:
    """A result of these members, with what each result of the modern revision has. ``meta`` is its ``_meta`` beyond."""
    if meta is not None:
        members = {
            **members,
            "_meta": {**meta, **(orjson.loads(incoming.view.identity) if incoming.modern else {})},
        }
    if not incoming.modern:
        return orjson.dumps(members)
    return orjson.dumps(
        {"resultType": "complete", "_meta": orjson.Fragment(incoming.view.identity), **members}
    )
