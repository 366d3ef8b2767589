"""Gives a call its result: one that was kept, one of a run that is under way, or one of its own. Decides no access.

What comes here was let through already, and its arguments fit: of each caller, every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Final, Protocol

from servers.execution.context import Detached
from servers.execution.contract import Context, Outcome
from servers.execution.engine import DEFAULT_TIMEOUT
from servers.services.results.contexts import Company, Noted
from servers.services.results.counts import Counter
from servers.services.results.flights import Flights
from servers.services.results.kept import keep
from servers.services.results.keys import key_of
from servers.services.results.memory import Memory
from servers.services.results.plans import Shared
from servers.services.results.store import Store
from tenants.access import Caller

OWN: Final = ""
"""Where a result came from: a run of this very call,"""

CACHE: Final = "cache"
"""what an earlier call left,"""

SAME_RUN: Final = "same_run"
"""or a run that another call had begun."""

Served = tuple[Outcome, str]
"""A result, and where it came from."""


class Produce(Protocol):
    """Runs the tool, and checks what it gives."""

    async def __call__(self, timeout: float, context: Context) -> Outcome:
        """Raises what the engine raises, and ``SourceError`` for a result that does not fit."""
        ...


class SharedRuns:
    """What the calls of one process share, on one event loop."""

    def __init__(self, memory: Memory, store: Store, counter: Counter) -> None:
        self.memory = memory
        self.store = store
        self.counter = counter
        # A work has the whole time: the call that began it may have less than those that join it.
        self.flights: Flights[Served] = Flights(longest=DEFAULT_TIMEOUT)

    def recall(
        self,
        shared: Shared,
        arguments: Mapping[str, Any],
        *,
        caller: Caller,
        server: str,
        context: Context,
    ) -> tuple[bytes | None, Outcome | None]:
        """The call's key, and its result where this process keeps it. Without a key it shares with no other call."""
        if shared.opt_out and arguments.get(shared.opt_out) is False:
            return None, None
        key = key_of(shared, arguments, caller, server, context)
        if key is None or not shared.seconds:
            return key, None
        kept = self.memory.find(caller.tenant_id, key)
        if kept is None:
            return key, None
        self.counter.hit(caller.tenant_id, shared.tool_id)
        return key, kept.outcome()

    async def result(
        self,
        shared: Shared,
        key: bytes | None,
        produce: Produce,
        *,
        tenant_id: int,
        timeout: float,
        context: Context,
    ) -> Served:
        """A result for the call with this key, which this process does not keep.

        Raises as ``produce`` does, and ``TooLate`` after ``timeout`` seconds.
        """
        tool_id = shared.tool_id
        if key is None:
            self.counter.run(tenant_id, tool_id)
            return await produce(timeout, context), OWN
        if not shared.collapses:
            return await self._find_or_run(shared, tenant_id, key, produce, timeout, context)
        (outcome, origin), joined = await self.flights.join(
            tenant_id,
            key,
            lambda company: self._find_or_run(
                shared, tenant_id, key, produce, max(timeout, DEFAULT_TIMEOUT), company
            ),
            context=context,
            timeout=timeout,
        )
        if joined:
            origin = origin or SAME_RUN
            (self.counter.hit if origin == CACHE else self.counter.join)(tenant_id, tool_id)
        return outcome, origin

    def changed(self, tenant_id: int) -> None:
        """A call of this tenant may have changed something: who calls from now on is to see that."""
        self.flights.begin_anew(tenant_id)

    async def close(self) -> None:
        """End what is under way and let go of the connections."""
        await self.flights.close()
        await self.store.close()
        await self.counter.flush()

    async def _find_or_run(
        self,
        shared: Shared,
        tenant_id: int,
        key: bytes,
        produce: Produce,
        timeout: float,
        context: Context,
    ) -> Served:
        if shared.seconds:
            began = monotonic()
            found = await self.store.find(tenant_id, key)
            if found is not None:
                kept, seconds = found
                self.memory.keep(tenant_id, key, kept, began + seconds)
                self.counter.hit(tenant_id, shared.tool_id)
                return kept.outcome(), CACHE
        self.counter.run(tenant_id, shared.tool_id)
        began = monotonic()
        if shared.by_caller:
            noted = Noted(context)
            outcome, once = await produce(timeout, noted), noted.once
        else:
            outcome, once = await produce(timeout, _knowing_nobody(context)), False
        if shared.seconds and not once:
            self._keep(shared, tenant_id, key, outcome, began)
        return outcome, OWN

    def _keep(self, shared: Shared, tenant_id: int, key: bytes, outcome: Outcome, began: float) -> None:
        kept = keep(outcome)
        # Counted from its beginning: what is given is never older than the tool's seconds.
        seconds = began + shared.seconds - monotonic()
        if kept is None or seconds <= 0:
            return
        self.memory.keep(tenant_id, key, kept, monotonic() + seconds)
        self.store.keep(tenant_id, key, kept, seconds)


def _knowing_nobody(context: Context) -> Detached:
    if isinstance(context, Company):
        return context
    company = Company()
    company.join(context)
    return company
