"""Seals secrets at rest and derives keys from the master key. Knows nothing of tenants or of storage.

A sealed value is an envelope: a fresh 256-bit data key encrypts the text with AES-256-GCM, and the
master key (through HKDF, by purpose) wraps the data key. Both layers authenticate the caller's
``context``, so a value copied to another row or tenant does not open.

Layout: version (1) ‖ key id (8) ‖ wrap nonce (12) ‖ wrapped key (32+16) ‖ nonce (12) ‖ ciphertext+tag.
Sources: NIST SP 800-38D (GCM), RFC 5869 (HKDF).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION: Final = b"\x01"
_KEY_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES: Final = 32 + 16
_HEAD_BYTES: Final = 1 + _KEY_ID_BYTES + _NONCE_BYTES + _WRAPPED_BYTES + _NONCE_BYTES


class SealError(Exception):
    """A sealed value does not open: wrong master key, wrong context, or damaged bytes."""


def derive(master_key: bytes, purpose: str, length: int = 32) -> bytes:
    """A key of ``length`` bytes for one purpose (RFC 5869). Different purposes give independent keys."""
    return HKDF(hashes.SHA256(), length, salt=b"marina/v1", info=purpose.encode()).derive(master_key)


def derive_text(master_key: bytes, purpose: str) -> str:
    """``derive`` as 43 URL-safe characters, for passwords and framework secrets."""
    return base64.urlsafe_b64encode(derive(master_key, purpose)).rstrip(b"=").decode()


class Sealer:
    """Seals values under one master key, and opens those sealed under it or under one of the ``readable`` keys."""

    def __init__(self, master_key: bytes, *, readable: Iterable[bytes] = ()) -> None:
        self.key_id: Final = _key_id(master_key)
        self._wraps: Final = {_key_id(key): AESGCM(derive(key, "seal")) for key in (master_key, *readable)}
        self._mark: Final = derive(master_key, "fingerprint")

    def fingerprint(self, clear: bytes) -> bytes:
        """32 bytes that are the same for the same ``clear`` only, and tell nothing of it without this key."""
        return hashlib.blake2b(clear, key=self._mark, digest_size=32).digest()

    def seal(self, clear: bytes, *, context: str) -> bytes:
        """Encrypt ``clear`` so that it opens only with the master key and the same ``context``."""
        data_key = secrets.token_bytes(32)
        wrap_nonce, nonce = secrets.token_bytes(_NONCE_BYTES), secrets.token_bytes(_NONCE_BYTES)
        bound = context.encode()
        wrapped = self._wraps[self.key_id].encrypt(wrap_nonce, data_key, bound)
        return b"".join(
            (_VERSION, self.key_id, wrap_nonce, wrapped, nonce, AESGCM(data_key).encrypt(nonce, clear, bound))
        )

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt. Raises ``SealError`` when key, context or bytes do not fit."""
        if len(sealed) < _HEAD_BYTES or sealed[:1] != _VERSION:
            raise SealError("not a sealed value of a known version")
        wrap = self._wraps.get(sealed[1 : 1 + _KEY_ID_BYTES])
        if wrap is None:
            raise SealError("sealed under another master key")
        at = 1 + _KEY_ID_BYTES
        wrap_nonce, at = sealed[at : at + _NONCE_BYTES], at + _NONCE_BYTES
        wrapped, at = sealed[at : at + _WRAPPED_BYTES], at + _WRAPPED_BYTES
        nonce, at = sealed[at : at + _NONCE_BYTES], at + _NONCE_BYTES
        bound = context.encode()
        try:
            data_key = wrap.decrypt(wrap_nonce, wrapped, bound)
            return AESGCM(data_key).decrypt(nonce, sealed[at:], bound)
        except InvalidTag:
            raise SealError("the sealed value does not fit its place, or it is damaged") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether a value was sealed under the master key, and not under a key that is only readable."""
        return sealed[1 : 1 + _KEY_ID_BYTES] == self.key_id

    def reseal(self, sealed: bytes, *, context: str) -> bytes:
        """The same clear value, sealed under the master key. Raises ``SealError``."""
        return self.seal(self.open(sealed, context=context), context=context)


def _key_id(master_key: bytes) -> bytes:
    return hashlib.sha256(derive(master_key, "key-id")).digest()[:_KEY_ID_BYTES]
