"""How passwords are hashed: Argon2id at a cost that a burst of sign-ins cannot turn against the process."""

from __future__ import annotations

import threading
from typing import Final

from django.contrib.auth.hashers import Argon2PasswordHasher

HASHES_AT_ONCE: Final = 4
PASSES: Final = 2
MEMORY_KIB: Final = 19 * 1024


class BoundedArgon2Hasher(Argon2PasswordHasher):
    """OWASP's minimum for Argon2id: 19 MiB, two passes, one lane. Few hashes are made at once; others wait.

    A hash of another cost, made before, is still verified, and replaced when its person signs in.
    """

    time_cost = PASSES
    memory_cost = MEMORY_KIB
    parallelism = 1
    turns = threading.BoundedSemaphore(HASHES_AT_ONCE)

    def encode(self, password: str, salt: str) -> str:
        with self.turns:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with self.turns:
            return super().verify(password, encoded)
