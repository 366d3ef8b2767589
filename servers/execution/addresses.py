"""Turns a data source's host name into addresses that may be connected to; what may not be is said in its words.

It opens no connection and judges no address. Callers connect to what it returns, never to the name again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.errors import SourceError
from core.lookups import Crowded
from core.outbound import AddressRule, AllowAddress, Denied, Unresolved, resolve

allow_public: Final[AllowAddress] = AddressRule().allows
"""The default rule: public addresses only. What else is allowed is the operator's to say."""


async def resolve_host(host: str, port: int, *, allow: AllowAddress) -> Sequence[str]:
    """As ``core.outbound.resolve``.

    Raises ``SourceError``: ``source_missing`` when the name does not resolve, ``source_denied`` when any answer is not
    allowed, ``source_unreachable`` while too many names are looked up.
    """
    try:
        return await resolve(host, port, allow=allow)
    except Unresolved:
        raise SourceError(
            f"The host name {host} does not resolve. Check its spelling in the settings of the data source.",
            code="source_missing",
            data={"host": host},
            retryable=True,
        ) from None
    except Crowded:
        raise SourceError(
            "Too many host names are being looked up just now: a name server answers slowly. Try again shortly.",
            code="source_unreachable",
            data={"host": host},
            retryable=True,
        ) from None
    except Denied:
        raise SourceError(
            f"The host {host} has an address that this installation does not connect to. "
            "Ask the operator to allow the address, or use another host.",
            code="source_denied",
            data={"host": host},
        ) from None
