"""The process's sealer: under the master key of the settings, and open to what its former keys sealed."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from core.crypto import Sealer


@cache
def sealer() -> Sealer:
    """One sealer a process."""
    return Sealer(settings.ENV.master_key, readable=settings.ENV.readable_keys)
