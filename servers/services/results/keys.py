"""Says which calls are the same call: one key for what nobody could tell apart, else another. Pure.

Nothing is taken for the same that a data source could tell apart: 1, 1.0 and true are three values, a letter with an
accent is not the letter and the accent, and an argument that is left out is not its default. The order of an object's
members, which JSON does not have, makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from servers.execution.contract import AskMethod, Context
from servers.services.results.plans import Shared
from tenants.access import Caller

_DIGEST_BYTES: Final = 32
_LONGEST: Final = 512
"""Arguments of more bytes stand in a key by their digest: to take the digest of short ones costs more than it saves."""

_PLAIN: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
"""Only what JSON itself has: a date, say, would else be written like the text of it."""

_ABILITIES: Final[tuple[tuple[AskMethod, str], ...]] = (
    ("elicitation/create", ""),
    ("elicitation/create", "form"),
    ("elicitation/create", "url"),
    ("sampling/createMessage", ""),
    ("sampling/createMessage", "context"),
    ("sampling/createMessage", "tools"),
    ("roots/list", ""),
    ("roots/list", "listChanged"),
)
"""What a client can declare that it may be asked (client/elicitation, client/sampling, client/roots)."""


def key_of(
    shared: Shared, arguments: Mapping[str, Any], caller: Caller, server: str, context: Context
) -> bytes | None:
    """The call's key; ``None`` where its arguments have no exact form, so that it shares with no other call."""
    try:
        told = orjson.dumps(arguments, option=_PLAIN)
    except (TypeError, RecursionError):
        return None
    # What is no number (NaN) is written as null.
    if b"null" in told and not _is_exact(arguments):
        return None
    who = _who(caller, server, context) if shared.by_caller else b""
    if len(told) > _LONGEST:
        # JSON begins with no NUL.
        told = b"\0" + blake2b(told, digest_size=_DIGEST_BYTES).digest()
    # The start has a fixed length and says whether a caller follows, whose length is fixed too.
    return shared.start + who + told


def _who(caller: Caller, server: str, context: Context) -> bytes:
    """All by which an operation, or what stands behind it, could tell callers apart, and their clients."""
    told = [
        caller.tenant_id,
        caller.actor,
        caller.user_id,
        caller.credential_id,
        caller.principal,
        caller.issuer_id,
        caller.audience,
        server,
        [context.can(method, part) for method, part in _ABILITIES],
    ]
    return blake2b(orjson.dumps(told), digest_size=_DIGEST_BYTES).digest()


def _is_exact(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_is_exact, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(map(_is_exact, value))
    return True
