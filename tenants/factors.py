"""Whether a person has a second factor. Asked beneath everything else that concerns factors; changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from allauth.mfa.models import Authenticator

TOTP: Final = Authenticator.Type.TOTP
CODES: Final = Authenticator.Type.RECOVERY_CODES
PASSKEY: Final = Authenticator.Type.WEBAUTHN

SECOND: Final = (TOTP, PASSKEY)
"""What counts as a second factor. Recovery codes stand in for one of these and are none by themselves."""


def has_second_factor(user_id: int) -> bool:
    """Whether this person signs in with two factors."""
    return bool(Authenticator.objects.filter(user_id=user_id, type__in=SECOND).exists())


def those_with_second_factor(user_ids: Collection[int]) -> frozenset[int]:
    """Which of these people sign in with two factors."""
    rows = Authenticator.objects.filter(user_id__in=user_ids, type__in=SECOND)
    return frozenset(rows.values_list("user_id", flat=True))
