"""What the log keeps of people's sessions, and how often signing in may fail. Checks no password.

Failures are counted in Redis, by the address that a sign-in came from and the e-mail that it named, whether or not
there is such an account. Without Redis nothing is counted and everybody may try: the password still decides.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final

import redis

from tenants.access import Caller
from tenants.changes import redis_client
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change

MAX_FAILURES: Final = 10
WINDOW_SECONDS: Final = 15 * 60
"""From the first failure on; then the count begins anew."""

_log = logging.getLogger(__name__)


def record_session(*, caller: Caller) -> None:
    """Append ``session.signed_in``: a signed-in person came to this tenant. No other tenant of theirs hears of it."""
    with tenant_scope(caller.tenant_id):
        record_change("session.signed_in", caller=caller)


def claim_attempt(email: str, *, address: str) -> int:
    """Count an attempt to sign in, before its password is looked at. The seconds to wait; 0: it may be made.

    Counted first and forgiven on success, so that attempts made at once cannot pass the limit together.
    """
    key = _place(email, address)
    try:
        with redis_client().pipeline() as turn:
            turn.set(key, 0, ex=WINDOW_SECONDS, nx=True)
            turn.incr(key)
            turn.ttl(key)
            _, attempts, left = turn.execute()
    except redis.RedisError:
        _log.warning("sign-in not counted: Redis did not take it")
        return 0
    return max(left, 1) if attempts > MAX_FAILURES else 0


def forgive_attempts(email: str, *, address: str) -> None:
    """Forget what was counted: the password was right."""
    try:
        redis_client().delete(_place(email, address))
    except redis.RedisError:
        _log.warning("sign-ins not forgiven: Redis did not take it")


def _place(email: str, address: str) -> str:
    """The counter's key. Neither e-mail nor address stands in Redis."""
    return "marina:sign-in:" + hashlib.sha256(f"{address}\0{email}".encode()).hexdigest()
