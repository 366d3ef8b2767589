"""What of a record is data that went through a call, and what says only that, how and by whom it was made. Pure.

Data are the arguments, their mark and the beginning of the result, of all that an MCP client asks for, and the message
of an error, in which a data source may quote them. The mark says nothing by itself, but compared with others it
confirms a guess, as often as one likes. Why something was refused, or did not fit, is said in words of ours. A
resource's URI is what was read, as a tool's name is what was called: no data, whatever its template took into it. A
change of configuration has none: what it was before and after is what its record is about.
"""

from __future__ import annotations

import json
from typing import Final

import orjson

from tenants.audit.records import KIND_READ, canonical

MEMBERS: Final = ("arguments", "hmac", "preview")
"""The members of a body that are data as a whole, where its kind is one that has any."""

_OF_READS: Final = tuple(name for name in MEMBERS if name != "arguments")
"""Of a read: its arguments are the URI, which stands in ``tool`` as well."""

METHOD_MARK: Final = "/"
"""Stands in the name of every method of MCP (``tools/call``), and in no other kind of record."""


def has_payload(kind: str) -> bool:
    """Whether records of this kind hold data."""
    return METHOD_MARK in kind


def without_payload(body: bytes) -> bytes | None:
    """A body without its data; ``None`` where it has none, so that all of it is metadata."""
    fields = _decoded(body)
    if not has_payload(str(fields["kind"])):
        return None
    hidden = _OF_READS if fields["kind"] == KIND_READ else MEMBERS
    left = {name: value for name, value in fields.items() if name not in hidden}
    # A null says that there were none: nothing is taken out of such a body.
    taken = any(fields.get(name) is not None for name in hidden)
    reason = fields.get("reason")
    if fields["outcome"] == "error" and isinstance(reason, dict) and reason.get("message"):
        left["reason"] = {**reason, "message": ""}
        taken = True
    return canonical(left) if taken else None


def _decoded(body: bytes) -> dict[str, object]:
    fields: dict[str, object]
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Half of a pair of surrogates, or a number that orjson does not read: the standard library does both.
        fields = json.loads(body)
    return fields
