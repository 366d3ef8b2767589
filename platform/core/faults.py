"""Faults of an input, gathered so that all of them are told at once. Checks nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import InvalidInput


class Faults:
    """Gathers what is wrong with an input, so that all of it is told at once: of each place what was found first."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def add(self, path: str, message: str) -> None:
        """Note a fault."""
        self._found.setdefault(path, message)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Note the faults that the block raises, and go on behind it."""
        try:
            yield
        except InvalidInput as error:
            if not error.errors:
                raise
            for fault in error.errors:
                self.add(fault["path"], fault["message"])

    def require_none(self) -> None:
        """Raise ``InvalidInput`` with all that was noted, if anything was. The message is the first fault's."""
        if self._found:
            errors = [{"path": path, "message": message} for path, message in self._found.items()]
            raise InvalidInput(f"{errors[0]['path']}: {errors[0]['message']}", errors=errors)
