"""Reads which trace a request is part of: W3C Trace Context in ``_meta`` (SEP-414). Keeps nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from servers.execution.contract import Trace

MAX_CHARACTERS: Final = 8_192
"""Of ``baggage`` and ``tracestate``, which are passed on as they are (W3C Baggage, section 3.3.2)."""

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


def trace_of(params: Mapping[str, Any]) -> Trace | None:
    """The trace of a request. What is no ``traceparent`` is ignored, as its standard asks."""
    meta = params.get("_meta")
    if not isinstance(meta, dict) or "traceparent" not in meta:
        return None
    given = meta["traceparent"]
    found = _TRACEPARENT.fullmatch(given) if isinstance(given, str) and len(given) <= 256 else None
    if found is None or not (found[1].strip("0") and found[2].strip("0")):
        return None
    carried = {"traceparent": given}
    for name in ("tracestate", "baggage"):
        value = meta.get(name)
        if isinstance(value, str) and 0 < len(value) <= MAX_CHARACTERS and value.isprintable():
            carried[name] = value
    return Trace(found[1], carried)
