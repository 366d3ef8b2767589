"""Work for a program beside Marina, by what it does there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from core.errors import SourceError


def add(one: int, other: int) -> int:
    return one + other


def tell_process() -> int:
    return os.getpid()


def refuse() -> NoReturn:
    raise SourceError("It is no SQL.", code="query_invalid", data={"position": 3})


def take_all() -> int:
    return len(bytearray(4 * 1024 * 1024 * 1024))


def crash() -> NoReturn:
    os._exit(3)


def chatter() -> str:
    print("x" * 100_000)
    sys.stdout.flush()
    os.write(1, b"y" * 1_000)
    return "done"


def sleep_on(begun: str, seconds: float) -> str:
    with Path(begun).open("a") as told:
        told.write("begun\n")
    time.sleep(seconds)
    return "awake"


def keep(size: int) -> None:
    """From now on it has so much more memory."""
    vars(sys.modules["__main__"])["kept"] = b"x" * size


def give_back_a_lambda() -> object:
    return lambda: 1


def measure(given: bytes) -> int:
    return len(given)


def hurry() -> None:
    """From now on a piece has one second."""
    vars(sys.modules["__main__"])["PIECE_SECONDS"] = 1


def spin() -> NoReturn:
    while True:
        pass


def end_soon() -> int:
    """From now on it waits for the next work for hardly any time."""
    vars(sys.modules["__main__"])["IDLE_SECONDS"] = 0.01
    return os.getpid()
