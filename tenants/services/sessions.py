"""What the log keeps of people's sessions, and how often signing in may fail. Checks no password.

Failures are counted in Redis: by the address that a sign-in came from and the e-mail that it named together, and more
widely by each alone, whether or not there is such an account. Without Redis nothing is counted and everybody may try:
the password still decides.
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
MAX_FAILURES_OF_EMAIL: Final = 100
"""From all addresses together. Wide, since others can use it up for the person; their own address is counted apart."""

MAX_FAILURES_OF_ADDRESS: Final = 200
"""For all e-mails together: one password tried on many accounts. Wide, since a whole office may have one address."""

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
    key = _place("both", email, address)
    wide = (
        (_place("email", email), MAX_FAILURES_OF_EMAIL),
        (_place("address", address), MAX_FAILURES_OF_ADDRESS),
    )
    try:
        with redis_client().pipeline() as turn:
            turn.set(key, 0, ex=WINDOW_SECONDS, nx=True)
            turn.incr(key)
            turn.ttl(key)
            for place, _ in wide:
                turn.get(place)
                turn.ttl(place)
            _, attempts, left, *counted = turn.execute()
    except redis.RedisError:
        _log.warning("sign-in not counted: Redis did not take it")
        return 0
    waits = [left] if attempts > MAX_FAILURES else []
    waits += [
        counted[2 * place + 1] for place, (_, most) in enumerate(wide) if int(counted[2 * place] or 0) >= most
    ]
    return max(1, *waits) if waits else 0


def note_failure(email: str, *, address: str) -> None:
    """Count a wrong password for the e-mail and for the address, each by itself."""
    try:
        with redis_client().pipeline() as turn:
            for place in (_place("email", email), _place("address", address)):
                turn.set(place, 0, ex=WINDOW_SECONDS, nx=True)
                turn.incr(place)
            turn.execute()
    except redis.RedisError:
        _log.warning("sign-in not counted: Redis did not take it")


def forgive_attempts(email: str, *, address: str) -> None:
    """Forget what was counted of the two together: the password was right."""
    try:
        redis_client().delete(_place("both", email, address))
    except redis.RedisError:
        _log.warning("sign-ins not forgiven: Redis did not take it")


def _place(kind: str, *names: str) -> str:
    """The counter's key. Neither e-mail nor address stands in Redis."""
    return f"marina:sign-in:{kind}:" + hashlib.sha256("\0".join(names).encode()).hexdigest()
