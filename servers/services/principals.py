"""Who a caller is to operations, and to what is kept for each of them. Decides nothing, keeps nothing."""

from __future__ import annotations

from servers.execution.contract import Principal
from tenants.access import Caller


def principal_as(caller: Caller, server: str, request_id: str) -> Principal:
    """The caller as operations may know them, on this server."""
    return Principal(
        actor=caller.actor,
        tenant=caller.tenant_slug,
        server=server,
        request_id=request_id,
        identity=identity_of(caller),
        member=caller.user_id,
    )


def identity_of(caller: Caller) -> str:
    """What is one caller's and no other's, whatever the log calls them: two keys may have one name.

    Of OAuth it is the client and its member together. Empty for whoever has no credential: an address is many people's.
    """
    if caller.principal:
        return caller.principal
    if caller.credential_id is not None:
        return str(caller.credential_id)
    return "" if caller.user_id is None else f"user:{caller.user_id}"
