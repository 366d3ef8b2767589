"""Turns a host name into addresses that may be connected to; the one place where a resolved address is checked.

It opens no connection. Callers connect to what it returns, never to the name again (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from core.errors import SourceError
from core.outbound import AddressRule

AllowAddress = Callable[[str], bool]
"""Says whether an IP address, in its text form, may be connected to."""


allow_public: Final[AllowAddress] = AddressRule().allows
"""The default rule: public addresses only. What else is allowed is the operator's to say."""


async def resolve_host(host: str, port: int, *, allow: AllowAddress) -> Sequence[str]:
    """The addresses of ``host``, each once, in the resolver's order.

    Raises ``SourceError``: ``source_missing`` when the name does not resolve, ``source_denied`` when any
    answer is not allowed (one bad answer among good ones is how rebinding begins).
    """
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError):
        raise SourceError(
            f"The host name {host} does not resolve. Check its spelling in the settings of the data source.",
            code="source_missing",
            data={"host": host},
            retryable=True,
        ) from None
    addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not addresses or not all(allow(address) for address in addresses):
        raise SourceError(
            f"The host {host} has an address that this installation does not connect to. "
            "Ask the operator to allow the address, or use another host.",
            code="source_denied",
            data={"host": host},
        )
    return addresses
