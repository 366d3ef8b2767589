"""Ties a client's trace (W3C Trace Context, in ``_meta``: SEP-414) to the request id under which the log has it.

Marina keeps no traces of its own, and passes none on: what can be followed is written down once, for the operator.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from servers.endpoint.incoming import Incoming

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")

logger = logging.getLogger(__name__)


def note_trace(incoming: Incoming) -> None:
    """Log which trace a request is part of. What is no ``traceparent`` is ignored, as its standard asks."""
    meta = incoming.params.get("_meta")
    given = meta.get("traceparent") if isinstance(meta, dict) else None
    if not isinstance(given, str) or len(given) > 256:
        return
    found = _TRACEPARENT.fullmatch(given)
    if found is not None and found[1].strip("0") and found[2].strip("0"):
        # Clients that trace do so with every request: no line each unless somebody looks for them.
        logger.debug(
            "request is part of a trace",
            extra={"request_id": incoming.request_id, "trace_id": found[1], "parent_id": found[2]},
        )
