"""Stands in for the program that reads documents, and does what such a program must not: what the document says."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from servers.execution.backends.http.openapi import reader
from servers.execution.backends.http.openapi.documents import refuse_document


def misbehave(text: bytes, *, fetched_from: str) -> Any:
    """In place of ``import_document``, below the bounds of the real program."""
    match text:
        case b"memory":
            return bytearray(reader.MEMORY_BYTES)
        case b"endless":
            time.sleep(600)
        case b"spin":
            while True:
                pass
        case b"crash":
            os._exit(3)
        case b"silent":
            os._exit(0)
        case b"flood":
            while True:
                sys.stdout.buffer.write(b"x" * 1_000_000)
        case b"environment":
            raise refuse_document(" ".join(sorted(os.environ)))
    raise AssertionError(text)


if __name__ == "__main__":
    # A second or two more than it took to begin.
    vars(reader).update(import_document=misbehave, PROCESSOR_SECONDS=int(time.process_time()) + 2)
    reader.main()
