"""Undoes gzip and deflate (RFC 1950 to 1952) piece by piece, up to a size: a small bomb never becomes a large one."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Literal

_AT_ONCE: Final = 65_536
"""Bytes that are held of one step."""
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15
"""What "deflate" means for some servers: the stream without zlib's frame around it."""


class Undecodable(Exception):
    """The bytes are not encoded as they are said to be, or end too early."""


class Oversized(Exception):
    """More than ``most`` bytes come of it."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Inflater:
    """Takes pieces of one encoded body, and gives at most ``most`` bytes of what it says."""

    def __init__(self, encoding: Literal["gzip", "deflate"], most: int) -> None:
        self._wbits = _GZIP if encoding == "gzip" else _ZLIB
        self._stream = zlib.decompressobj(self._wbits)
        self._most = most
        self._given = 0
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What a piece says. Raises ``Undecodable`` and ``Oversized``."""
        if not self._begun and piece:
            self._begun = True
            if self._wbits == _ZLIB and not _has_zlib_header(piece):
                self._wbits = _RAW
                self._stream = zlib.decompressobj(_RAW)
        while piece:
            if self._stream.eof:
                if self._wbits != _GZIP:
                    raise Undecodable
                # RFC 1952, section 2.2: members follow each other.
                self._stream = zlib.decompressobj(_GZIP)
            try:
                part = self._stream.decompress(piece, _AT_ONCE)
            except zlib.error:
                raise Undecodable from None
            piece = self._stream.unconsumed_tail or self._stream.unused_data
            self._given += len(part)
            if self._given > self._most:
                raise Oversized(self._most)
            if part:
                yield part

    def finish(self) -> None:
        """All was fed. Raises ``Undecodable`` where the stream is not at its end; no bytes at all say nothing."""
        if self._begun and not self._stream.eof:
            raise Undecodable


def _has_zlib_header(piece: bytes) -> bool:
    """RFC 1950, section 2.2. A first piece of one byte is taken for what it looks like."""
    return piece[0] & 0x0F == 8 and (len(piece) < 2 or (piece[0] * 256 + piece[1]) % 31 == 0)
