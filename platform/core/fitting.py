"""Bytes that are kept for long, in no more memory than they need."""

from __future__ import annotations


def fitted(written: bytes) -> bytes:
    """A copy of what orjson wrote: its own bytes keep the whole buffer that they were written to, 4 kB at least."""
    return bytes(memoryview(written))
