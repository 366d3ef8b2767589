"""Whether this process has begun to end, for all that would otherwise last: streams above all. Ends nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final


class Drain:
    """A signal that is given once. What listens is told in the thread that gives it: the server's loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = False
        self._listeners: dict[object, Callable[[], None]] = {}

    def draining(self) -> bool:
        """Whether the process takes no new work."""
        return self._begun

    def on_drain(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` once the process begins to end; at once where it has. Returns what takes it back.

        ``callback`` runs on the server's loop, must not block, and must not raise.
        """
        place = object()
        with self._lock:
            if not self._begun:
                self._listeners[place] = callback
                return lambda: self._forget(place)
        callback()
        return lambda: None

    def begin(self) -> None:
        """Tell everybody. Telling again does nothing."""
        with self._lock:
            self._begun = True
            told, self._listeners = list(self._listeners.values()), {}
        for callback in told:
            callback()

    def _forget(self, place: object) -> None:
        with self._lock:
            self._listeners.pop(place, None)


_drain: Final = Drain()

draining: Final = _drain.draining
on_drain: Final = _drain.on_drain
begin_drain: Final = _drain.begin
