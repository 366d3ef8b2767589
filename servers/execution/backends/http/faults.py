"""Refuses arguments of which no request of an HTTP source is made."""

from __future__ import annotations

from typing import NoReturn

from core.errors import InvalidInput


def refuse(path: str, message: str) -> NoReturn:
    """Raise ``InvalidInput``: of this argument no request is made. A client that reads one line is told which, too."""
    raise InvalidInput(f"{path}: {message}" if path else message, errors=[{"path": path, "message": message}])
