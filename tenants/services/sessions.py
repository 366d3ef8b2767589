"""What the log keeps of people's sessions, and how often signing in may fail. Checks no password.

Failures are counted in Redis: by the e-mail that a sign-in named together with the address that it came from (of IPv6,
the network that one customer gets), and more widely by each alone, whether or not there is such an account. Without
Redis nothing is counted and everybody may try: the password still decides.
"""

from __future__ import annotations

from typing import Final

from django.utils import timezone

from core.clientaddress import address_block
from tenants.access import Caller
from tenants.models import Membership
from tenants.scoping import tenant_scope
from tenants.services.counting import Counter, count, forget
from tenants.services.recording import record_change

MAX_FAILURES: Final = 10
MAX_FAILURES_OF_EMAIL: Final = 100
"""From all addresses together. Wide, since others can use it up for the person; their own address is counted apart."""

MAX_FAILURES_OF_ADDRESS: Final = 200
"""For all e-mails together: one password tried on many accounts. Wide, since a whole office may have one address."""

WINDOW_SECONDS: Final = 15 * 60
"""From the first failure on; then the count begins anew."""


def record_session(*, caller: Caller) -> None:
    """Append ``session.signed_in``: a signed-in person came to this tenant. No other tenant of theirs hears of it."""
    with tenant_scope(caller.tenant_id):
        if caller.user_id is not None:
            Membership.objects.filter(user_id=caller.user_id).update(visited_at=timezone.now())
        record_change("session.signed_in", caller=caller)


def claim_attempt(email: str, *, address: str) -> int:
    """Count an attempt to sign in, before its password is looked at. The seconds to wait; 0: it may be made.

    Counted first and forgiven on success, so that attempts made at once cannot pass the limit together.
    """
    return count([_together(email, address)], seconds=WINDOW_SECONDS, beside=_each(email, address))


def note_failure(email: str, *, address: str) -> None:
    """Count a wrong password for the e-mail and for the address, each by itself."""
    count(_each(email, address), seconds=WINDOW_SECONDS)


def forgive_attempts(email: str, *, address: str) -> None:
    """Forget what was counted of the two together: the password was right."""
    forget(_together(email, address))


def _together(email: str, address: str) -> Counter:
    return Counter("sign-in:both", (email, address_block(address)), MAX_FAILURES)


def _each(email: str, address: str) -> tuple[Counter, Counter]:
    return (
        Counter("sign-in:email", (email,), MAX_FAILURES_OF_EMAIL),
        Counter("sign-in:address", (address_block(address),), MAX_FAILURES_OF_ADDRESS),
    )
