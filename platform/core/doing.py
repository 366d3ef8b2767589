"""``python -m core.doing``: does what it is given, one piece after another (``core.aside``). Knows no work.

Each piece comes as its length, eight bytes, and a pickled function without parameters; what it gives or raises goes
back the same way. It ends when its standard input does, and when nothing came for a while.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

IDLE_SECONDS: Final = 300.0
MEMORY_BYTES: Final = 1024 * 1024 * 1024
LENGTH: Final = struct.Struct(">Q")
_PIECE: Final = 1024 * 1024


def read_exactly(size: int, read: Callable[[int], bytes]) -> bytes | None:
    """So many bytes; ``None`` where it ends before."""
    parts = []
    while size:
        part = read(min(size, _PIECE))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def do(given: bytes) -> bytes:
    """What is to be told of a piece of work: whether it was done, and what came of it."""
    try:
        work: Callable[[], Any] = pickle.loads(given)  # noqa: S301 - from whoever started this
        told = True, work()
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is raised where it was asked for
        told = False, fault
    try:
        return pickle.dumps(told)
    except (pickle.PicklingError, AttributeError, TypeError):
        return pickle.dumps((False, TypeError("what came of it cannot be told")))


def main() -> None:
    """Work until nobody wants anything."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What work may print is not to stand among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    given = sys.stdin.fileno()
    while select.select([given], [], [], IDLE_SECONDS)[0]:
        head = read_exactly(LENGTH.size, lambda size: os.read(given, size))
        body = (
            None if head is None else read_exactly(LENGTH.unpack(head)[0], lambda size: os.read(given, size))
        )
        if body is None:
            break
        answer = do(body)
        answers.write(LENGTH.pack(len(answer)))
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    main()
