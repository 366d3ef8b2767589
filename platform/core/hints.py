"""How long a hint that there may be work lies in the queue."""

from __future__ import annotations

from typing import Final

EXPIRES_SECONDS: Final = 900
"""Its sender's clock and its taker's decide, and those may be ten minutes apart.

It keeps what lies before a stopped worker from growing for ever, no more: a hint that is stale costs a look at the
database. Work that costs more is done ``core.rounds.InRounds``, so that of such hints it is one that does it.
"""
