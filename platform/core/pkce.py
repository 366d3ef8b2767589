"""PKCE (RFC 7636) from the client's side: what is shown of a verifier before the verifier itself. Pure."""

from __future__ import annotations

import base64
import hashlib


def challenge_of(verifier: str) -> str:
    """The challenge by the method ``S256`` (section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
