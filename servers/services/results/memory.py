"""The results that this process keeps: bounded in bytes, of each tenant and of all. Knows no other process."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import Final

from servers.services.results.kept import Kept

MAX_BYTES: Final = 32 * 1024 * 1024
"""Of all that a process keeps."""

TENANT_BYTES: Final = 8 * 1024 * 1024
"""Of these, one tenant's share at most."""

ENTRY_BYTES: Final = 1024 * 1024
"""A result that takes more is not kept."""


class _Tenant:
    """One tenant's results, the one used longest ago first, each with when it ends."""

    __slots__ = ("results", "weight")

    def __init__(self) -> None:
        self.results: OrderedDict[bytes, tuple[float, Kept]] = OrderedDict()
        self.weight = 0

    def drop(self, key: bytes) -> int:
        """Forget a result; how much lighter that makes it."""
        found = self.results.pop(key, None)
        lighter = 0 if found is None else len(key) + found[1].weight
        self.weight -= lighter
        return lighter


class Memory:
    """Results by tenant and key, on one event loop. Times are ``monotonic``'s seconds."""

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        tenant_bytes: int = TENANT_BYTES,
        entry_bytes: int = ENTRY_BYTES,
    ) -> None:
        self._max_bytes = max_bytes
        self._tenant_bytes = tenant_bytes
        self._entry_bytes = entry_bytes
        # The tenant whose results were used longest ago is first, and makes room first.
        self._tenants: OrderedDict[int, _Tenant] = OrderedDict()
        self.weight = 0

    def find(self, tenant_id: int, key: bytes) -> Kept | None:
        """A result that is still good."""
        tenant = self._tenants.get(tenant_id)
        found = None if tenant is None else tenant.results.get(key)
        if tenant is None or found is None:
            return None
        if monotonic() >= found[0]:
            self._drop(tenant_id, tenant, key)
            return None
        tenant.results.move_to_end(key)
        self._tenants.move_to_end(tenant_id)
        return found[1]

    def keep(self, tenant_id: int, key: bytes, kept: Kept, until: float) -> None:
        """Keep a result until then, or until others need its place."""
        weight = len(key) + kept.weight
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            self._drop(tenant_id, tenant, key)
        if weight > self._entry_bytes or until <= monotonic():
            return
        # Looked up anew: with its last result a tenant goes.
        tenant = self._tenants.setdefault(tenant_id, _Tenant())
        tenant.results[key] = (until, kept)
        tenant.weight += weight
        self.weight += weight
        self._tenants.move_to_end(tenant_id)
        while tenant.weight > self._tenant_bytes:
            self._drop(tenant_id, tenant, next(iter(tenant.results)))
        while self.weight > self._max_bytes:
            oldest_id, oldest = next(iter(self._tenants.items()))
            self._drop(oldest_id, oldest, next(iter(oldest.results)))

    def _drop(self, tenant_id: int, tenant: _Tenant, key: bytes) -> None:
        self.weight -= tenant.drop(key)
        if not tenant.results:
            self._tenants.pop(tenant_id, None)
