"""How allauth keeps the secrets of second factors at rest: sealed, each for its person (``settings.MFA_ADAPTER``).

allauth asks for one text to be sealed and does not say whose it is; whoever calls it says so with ``sealed_for``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final
from urllib.parse import urlsplit

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings

from core.sealing import sealer

_SEALED: Final = ("secret", "seed")
"""Members of a factor's data that allauth has sealed: of an authenticator app, and of recovery codes."""

_owner: ContextVar[int] = ContextVar("marina_factor_owner")


@contextmanager
def sealed_for(user_id: int) -> Iterator[None]:
    """Whose secrets are sealed and opened inside. Another's do not open."""
    token = _owner.set(user_id)
    try:
        yield
    finally:
        _owner.reset(token)


class SealingAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """allauth's, with Marina's sealer and without a look at the request: it knows whose secret it is, or raises."""

    def encrypt(self, text: str) -> str:
        """See ``DefaultMFAAdapter``."""
        return base64.b64encode(sealer().seal(text.encode(), context=_context())).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """See ``DefaultMFAAdapter``. Raises ``SealError`` for what was sealed for somebody else."""
        return sealer().open(base64.b64decode(encrypted_text), context=_context()).decode()

    def get_totp_issuer(self) -> str:
        """How an authenticator app names this Marina among others."""
        return f"Marina {urlsplit(settings.ENV.base_url).netloc}".replace(":", " ")


def reseal_factor(row: Authenticator, *, write: bool) -> bool:
    """Seal a person's factor under the master key, where it was sealed under a former one. Whether it was.

    ``row`` is locked where ``write`` is true. Raises ``SealError`` where a secret of it does not open.
    """
    old = [name for name in _SEALED if name in row.data and not sealer().is_current(_sealed(row, name))]
    for name in old:
        fresh = sealer().reseal(_sealed(row, name), context=_context_of(row.user_id))
        row.data[name] = base64.b64encode(fresh).decode()
    if old and write:
        row.save(update_fields=["data"])
    return bool(old)


def _sealed(row: Authenticator, name: str) -> bytes:
    return base64.b64decode(row.data[name])


def _context() -> str:
    return _context_of(_owner.get())


def _context_of(user_id: int) -> str:
    return f"second-factor:{user_id}"
