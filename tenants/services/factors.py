"""A person's second factors: an authenticator app, and codes for when it is lost. Passkeys are ``services.passkeys``.

The algorithms and the table are allauth's. What it leaves to a cache is kept in the row here: which code was used last,
and how often a wrong one was given. So no replica forgets it, and codes tried at once take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import qrcode
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa import app_settings
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.mfa.utils import decrypt, encrypt
from django.db import transaction
from django.utils import timezone

from core.errors import Conflict, NotFound, RateLimited
from tenants.factors import CODES, PASSKEY, SECOND, TOTP, has_second_factor
from tenants.models import User
from tenants.services.factor_sealing import sealed_for
from tenants.services.inputs import refuse
from tenants.services.letters import factor_letter
from tenants.services.mail import Letter, public_link, send_soon
from tenants.services.person_log import record_of_person
from tenants.services.signins import end_sign_ins

LIMITS: Final = ((15 * 60, 10), (24 * 3600, 50))
"""In so many seconds, so many wrong codes of one person, from wherever. Who gives one knows the password already."""

WORDS: Final = {TOTP: "an authenticator app", CODES: "recovery codes", PASSKEY: "a passkey"}

_LONGEST_CODE: Final = 40


@dataclass(frozen=True, slots=True)
class Factors:
    """What a person can sign in with beside their password."""

    totp: Authenticator | None
    passkeys: tuple[Authenticator, ...]
    codes_left: int

    @property
    def any(self) -> bool:
        """Whether a second factor is asked for."""
        return self.totp is not None or bool(self.passkeys)


@dataclass(frozen=True, slots=True)
class ShownSecret:
    """A secret in groups of four, and its QR code: the ``d`` of an SVG path in a square of ``side`` units."""

    text: str = field(repr=False)
    side: int
    path: str = field(repr=False)


def list_factors(user_id: int) -> Factors:
    """The person's factors, passkeys as they were added."""
    rows = list(Authenticator.objects.filter(user_id=user_id).order_by("pk"))
    kept = {row.type: row for row in rows}
    codes = kept.get(CODES)
    return Factors(
        totp=kept.get(TOTP),
        passkeys=tuple(row for row in rows if row.type == PASSKEY),
        codes_left=0 if codes is None else _codes_left(codes),
    )


def new_totp_secret(user_id: int) -> str:
    """A secret that is not set up yet, sealed for the person: it waits in their session for its first code."""
    with sealed_for(user_id):
        sealed: str = encrypt(generate_totp_secret())
    return sealed


def show_totp_secret(user: User, sealed: str) -> ShownSecret:
    """The secret as an app takes it in, by typing or by its camera."""
    with sealed_for(user.pk):
        secret = decrypt(sealed)
    code = qrcode.QRCode(border=2)
    code.add_data(get_adapter().build_totp_url(user, secret))
    rows = code.get_matrix()
    path = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark)
    return ShownSecret(" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)), len(rows), path)


def add_totp(user: User, sealed: str, code: str) -> list[str] | None:
    """Set up the app whose code proves that it has the secret. The new recovery codes, if it is the first factor.

    Raises ``InvalidInput`` for a code that does not fit, and ``Conflict`` where there is an app already.
    """
    with transaction.atomic(), sealed_for(user.pk):
        lock_person(user)
        if Authenticator.objects.filter(user_id=user.pk, type=TOTP).exists():
            raise Conflict("There is an authenticator app already. Remove it first.", code="factor_exists")
        step = _matching_step(decrypt(sealed), code, after=-1)
        if step is None:
            refuse(
                "code",
                "does not fit. Enter the six digits that the app shows now, and check that this device and the app's "
                "have the right time.",
            )
        Authenticator.objects.create(user_id=user.pk, type=TOTP, data={"secret": sealed, "step": step})
        codes = ensure_codes(user)
        changed(user, "factor.added", TOTP)
    return codes


def remove_totp(user: User) -> None:
    """Turn the authenticator app off. Raises ``NotFound``."""
    remove_factor(user, {"type": TOTP})


def renew_codes(user: User) -> list[str]:
    """New recovery codes in place of the old ones. Raises ``Conflict`` for who has no second factor."""
    with transaction.atomic(), sealed_for(user.pk):
        lock_person(user)
        if not Authenticator.objects.filter(user_id=user.pk, type__in=SECOND).exists():
            raise Conflict("Recovery codes stand in for a second factor. Set one up first.", code="no_factor")
        kept = Authenticator.objects.filter(user_id=user.pk, type=CODES).first()
        wrong = [] if kept is None else kept.data.get("wrong", [])
        Authenticator.objects.filter(user_id=user.pk, type=CODES).delete()
        codes = RecoveryCodes.activate(user)
        codes.instance.data["wrong"] = wrong  # who could renew them would otherwise try for ever
        codes.instance.save()
        changed(user, "factor.renewed", CODES)
        shown: list[str] = codes.generate_codes()
    return shown


def use_code(user: User, code: str) -> str | None:
    """Use up a code of the app, or a recovery code: which of the two it was. ``None``: it is neither, or was used.

    Raises ``RateLimited`` after too many wrong ones, also for a right one.
    """
    with transaction.atomic(), sealed_for(user.pk):
        rows = Authenticator.objects.select_for_update().filter(user_id=user.pk, type__in=(TOTP, CODES))
        kept = {row.type: row for row in rows.order_by("pk")}
        counted = kept.get(CODES) or kept.get(TOTP)
        if counted is None:
            return None
        now = time.time()
        wait = _wait(counted.data, now)
        used = None if wait else _match(kept, code[:_LONGEST_CODE])
        if not wait and used is None:
            longest = max(seconds for seconds, _ in LIMITS)
            past = [at for at in counted.data.get("wrong", []) if at > now - longest]
            counted.data["wrong"] = [*past, now]
            counted.save(update_fields=["data"])
            if _wait(counted.data, now):
                letter = _letter(user, "Somebody gave your right password, and then many wrong codes.")
                transaction.on_commit(lambda: send_soon(letter))
    if wait:
        raise RateLimited(
            "Too many wrong codes were given for this account.", retry_after=wait, rule="factor:codes"
        )
    if used == CODES:
        left = list_factors(user.pk).codes_left
        send_soon(_letter(user, f"A recovery code was used. {left} are left."))
    return used


def lock_person(user: User) -> None:
    """Let changes of one person's factors take turns, until the transaction ends."""
    User.objects.select_for_update().only("pk").get(pk=user.pk)


@contextmanager
def as_it_stands(user: User) -> Iterator[bool]:
    """Whether the person has a second factor, and it stays so inside: who adds one waits.

    So the sign-in that begins inside, for want of a factor, is there when the first one ends all others.
    """
    with transaction.atomic():
        lock_person(user)
        yield has_second_factor(user.pk)


def ensure_codes(user: User) -> list[str] | None:
    """Recovery codes beside the first factor; ``None`` where there are some. The caller has locked the person."""
    if Authenticator.objects.filter(user_id=user.pk, type=CODES).exists():
        return None
    with sealed_for(user.pk):
        codes: list[str] = RecoveryCodes.activate(user).generate_codes()
    return codes


def remove_factor(user: User, which: Mapping[str, Any]) -> None:
    """Remove one factor; with the last one the recovery codes go. Raises ``NotFound``."""
    with transaction.atomic():
        lock_person(user)
        row = Authenticator.objects.filter(user_id=user.pk, type__in=SECOND, **which).first()
        if row is None:
            raise NotFound("You have no such factor, or no longer.", code="factor_not_found")
        kind, name = row.type, row.data.get("name", "")
        row.delete()
        if not Authenticator.objects.filter(user_id=user.pk, type__in=SECOND).exists():
            Authenticator.objects.filter(user_id=user.pk).delete()
        changed(user, "factor.removed", kind, name=name)


def remove_all_factors(user: User) -> int:
    """Let somebody back in who lost all of theirs; the operator does it, having made sure who asks. How many."""
    with transaction.atomic():
        lock_person(user)
        rows = Authenticator.objects.filter(user_id=user.pk)
        kinds = [row.type for row in rows if row.type in SECOND]
        rows.delete()
        for kind in kinds:
            changed(user, "factor.removed", kind, by="operator")
        if kinds:
            end_sign_ins(user.pk)
    return len(kinds)


def change_alone(user: User, change: Callable[[], list[str] | None], *, but: str | None) -> list[str] | None:
    """Make a change that ends every sign-in of the person ``but`` the one that makes it: both hold, or neither."""
    with transaction.atomic():
        codes = change()
        end_sign_ins(user.pk, but=but)
    return codes


_VERBS: Final = {
    "factor.added": "was added to your account",
    "factor.removed": "was removed from your account",
    "factor.renewed": "were made anew for your account; the old ones work no more",
}


def changed(user: User, what: str, kind: str, **particulars: str) -> None:
    """Record a change, and tell its person by letter once it holds."""
    shown = {"factor": kind, **{name: value for name, value in particulars.items() if value}}
    record_of_person(what, user=user, after=shown)
    name = f" ({particulars['name']})" if particulars.get("name") else ""
    words = WORDS[Authenticator.Type(kind)] + name
    letter = _letter(user, f"{words[:1].upper()}{words[1:]} {_VERBS[what]}.")
    transaction.on_commit(lambda: send_soon(letter))


def warn_of_copy(user: User, name: str) -> None:
    """Tell the person that somebody may have a copy of this passkey, which therefore let nobody in."""
    send_soon(
        _letter(
            user,
            f"Nobody was let in with your passkey {name}: its counter did not grow, so there may be a copy of it. "
            "Remove it and add a new one.",
        )
    )


def _letter(user: User, words: str) -> Letter:
    return factor_letter(user.email, words, public_link("account/"))


def _match(kept: Mapping[str, Authenticator], code: str) -> str | None:
    """Which factor the code belongs to, and it is used up. All rows are locked."""
    app = kept.get(TOTP)
    if app is not None:
        step = _matching_step(decrypt(app.data["secret"]), code, after=app.data["step"])
        if step is not None:
            app.data["step"], app.last_used_at = step, timezone.now()
            app.save(update_fields=["data", "last_used_at"])
            return str(TOTP)
    codes = kept.get(CODES)
    if codes is not None and RecoveryCodes(codes).validate_code(code):
        return str(CODES)
    return None


def _matching_step(secret: str, code: str, *, after: int) -> int | None:
    """The time step whose code this is, later than ``after``: a code is never taken twice (RFC 6238 section 5.2)."""
    for step in yield_hotp_counters_from_time():
        expected = format_hotp_value(hotp_value(secret, step))
        if step > after and compare_user_code(actual=code, expected=expected):
            return int(step)
    return None


def _wait(data: Mapping[str, Any], now: float) -> int:
    """The seconds until another code may be tried; 0: now."""
    waits = [0.0]
    for seconds, most in LIMITS:
        recent = sorted(at for at in data.get("wrong", []) if at > now - seconds)
        if len(recent) >= most:
            waits.append(recent[-most] + seconds - now)
    return int(-(-max(waits) // 1))


def _codes_left(row: Authenticator) -> int:
    used: int = row.data["used_mask"].bit_count()
    return int(app_settings.RECOVERY_CODE_COUNT) - used
