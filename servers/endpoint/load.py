"""How much each caller and each team has under way in this process, and the caps on it. No await, no wire but its 429.

A count is a cell that whoever counts keeps a hold of: a request looks its cells up once, and ends without looking.
"""

from __future__ import annotations

from typing import Final

from servers.endpoint.wire import RpcError
from servers.services.limits import block_of
from tenants.access import Caller

ANONYMOUS_STREAMS: Final = 20
"""Streams of one address block without a key."""

ANONYMOUS_REQUESTS: Final = 50
"""Requests that one address block without a key has under way at once."""

MAX_CELLS: Final = 10_000
"""Cells that are kept. Beyond it those that count nothing are thrown away."""

_RETRY_SECONDS: Final = {"requests": b"1", "streams": b"10"}
_UNDER_WAY: Final = {"requests": "requests under way", "streams": "open streams"}
_MEND: Final = {
    "requests": "Wait for one to end, or try again later.",
    "streams": "Close one, or try again later.",
}


class Cell:
    """One count, and how far it may go. ``whose`` is how a refusal names it."""

    __slots__ = ("cap", "count", "whose")

    def __init__(self, whose: str, cap: int) -> None:
        self.whose = whose
        self.cap = cap
        self.count = 0


Cells = tuple[Cell, ...]


class Load:
    """Counts one kind of thing: ``requests`` or ``streams``.

    Those without a key count by their address block, and get at most half of what the team and the process have.
    """

    def __init__(
        self,
        kind: str,
        *,
        per_principal: int,
        per_tenant: int,
        most: int,
        per_block: int,
        max_cells: int = MAX_CELLS,
    ) -> None:
        self._kind = kind
        self._max_cells = max_cells
        self._per_principal = per_principal
        self._per_tenant = per_tenant
        self._per_block = min(per_block, per_principal)
        self._process = Cell("This process", most)
        self._strangers = Cell("Everybody without a key", max(1, most // 2))
        self._cells: dict[object, Cell] = {}
        self._usual: dict[int, Cells] = {}
        """All cells of a credential, which is of one team. By its id's number: a UUID takes long to hash."""

    @property
    def count(self) -> int:
        """Under way in this process."""
        return self._process.count

    def cells(self, caller: Caller) -> Cells:
        """Where the caller counts. The narrowest first."""
        key = caller.credential_id
        cells = None if key is None else self._usual.get(key.int)
        return self._make_cells(caller) if cells is None else cells

    def take(self, caller: Caller) -> Cells:
        """Count one more. Raises ``RpcError`` (429). ``give`` must follow."""
        key = caller.credential_id
        cells = None if key is None else self._usual.get(key.int)
        if cells is None:
            cells = self.cells(caller)
        # The hot path, written out: nearly everybody has three cells and room in all of them.
        elif (
            (own := cells[0]).count < own.cap
            and (team := cells[1]).count < team.cap
            and (process := cells[2]).count < process.cap
        ):
            own.count += 1
            team.count += 1
            process.count += 1
            return cells
        for cell in cells:
            if cell.count >= cell.cap:
                raise self._too_many(cell)
        for cell in cells:
            cell.count += 1
        return cells

    def again(self, cells: Cells) -> None:
        """Count what was given back, whatever the caps say: it has been under way all along."""
        for cell in cells:
            cell.count += 1

    def give(self, cells: Cells) -> None:
        """One has ended."""
        if len(cells) == 3:
            own, team, process = cells
            own.count -= 1
            team.count -= 1
            process.count -= 1
            return
        for cell in cells:
            cell.count -= 1

    def _make_cells(self, caller: Caller) -> Cells:
        if len(self._cells) > self._max_cells:
            self._cells = {place: cell for place, cell in self._cells.items() if cell.count}
            self._usual.clear()
        tenant = caller.tenant_id
        team = self._cell(tenant, "This team", self._per_tenant)
        block = block_of(caller)
        if block is None:
            key = caller.credential_id
            own = self._cell(key or (tenant, caller.actor), "This credential", self._per_principal)
            cells = (own, team, self._process)
            if key is not None:
                self._usual[key.int] = cells
            return cells
        own = self._cell((tenant, "block", block), "This address without a key", self._per_block)
        strangers = self._cell(
            (tenant, "strangers"), "Everybody without a key at this team", max(1, self._per_tenant // 2)
        )
        return own, strangers, team, self._strangers, self._process

    def _cell(self, place: object, whose: str, cap: int) -> Cell:
        cell = self._cells.get(place)
        if cell is None:
            cell = self._cells[place] = Cell(whose, cap)
        return cell

    def _too_many(self, cell: Cell) -> RpcError:
        kind = self._kind
        return RpcError(
            429,
            f"{cell.whose} has {cell.cap} {_UNDER_WAY[kind]} in this process, as many as it may. {_MEND[kind]}",
            data={"code": f"too_many_{kind}", "rule": kind, "retryable": True},
            status=429,
            headers=((b"retry-after", _RETRY_SECONDS[kind]),),
        )
