"""Passkeys (WebAuthn): adding one, and signing in with one. The ceremonies' states come and go; none is kept here.

Identity and origin of the relying party are the configured base URL's, never what a request says of itself.
Source: https://www.w3.org/TR/webauthn-3/, sections 7.1 and 7.2; fido2 does the checks. It is imported where it is used:
every web process has this module, and few of them a ceremony, which takes 3 MB.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from core.errors import Conflict, Forbidden, InvalidInput, Unauthenticated
from core.strictjson import BadJson, read_object
from tenants.factors import PASSKEY
from tenants.models import User
from tenants.services.factors import changed, ensure_codes, lock_person, remove_factor, warn_of_copy
from tenants.services.inputs import clean_text, refuse
from tenants.services.person_log import record_refused_person

if TYPE_CHECKING:
    from fido2.server import Fido2Server
    from fido2.webauthn import AuthenticationResponse

MAX_PASSKEYS: Final = 20
CEREMONY_SECONDS: Final = 300
LARGEST_ANSWER: Final = 16 * 1024
"""Characters of what a browser sends at the end of a ceremony."""

_MALFORMED: Final = (
    *(TypeError, ValueError, KeyError, AttributeError, IndexError, AssertionError, OverflowError),
    *(struct.error, RecursionError, NotImplementedError),
)
"""What fido2 raises for bytes that are no answer of an authenticator."""

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Ceremony:
    """A ceremony that has begun: what the browser is asked for, and what must be kept until it answers."""

    options: dict[str, Any]
    state: dict[str, Any]


def why_no_passkeys() -> str:
    """Why this Marina can have none, in a sentence; empty where it can. Browsers allow them to sites with a name."""
    parts = urlsplit(settings.ENV.base_url)
    host = parts.hostname or ""
    if _is_address(host):
        return "Browsers give passkeys to names only, and MARINA_BASE_URL names an address. Ask the operator."
    if parts.scheme != "https" and host != "localhost" and not host.endswith(".localhost"):
        return "Browsers give passkeys to https:// only, and MARINA_BASE_URL is http://. Ask the operator."
    return ""


def begin_adding(user: User) -> Ceremony:
    """Begin to add a passkey of this person's. Raises ``Conflict`` where there can be none, or no more."""
    from allauth.mfa.webauthn.internal.auth import get_credentials
    from fido2.webauthn import (
        PublicKeyCredentialUserEntity,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    credentials = get_credentials(user)
    if len(credentials) >= MAX_PASSKEYS:
        raise Conflict(f"You have {MAX_PASSKEYS} passkeys. Remove one first.", code="too_many_passkeys")
    options, state = _server().register_begin(
        user=PublicKeyCredentialUserEntity(
            id=str(user.pk).encode(), name=user.email, display_name=user.name or user.email
        ),
        credentials=credentials,
        # So that it can do without a password too, where the authenticator can keep it.
        resident_key_requirement=ResidentKeyRequirement.PREFERRED,
        user_verification=UserVerificationRequirement.PREFERRED,
        extensions={"credProps": True},
    )
    return _ceremony(options, state, user.pk)


def add_passkey(user: User, name: str, answer: str, state: Mapping[str, Any] | None) -> list[str] | None:
    """Add the passkey that the browser made. The new recovery codes, if it is the first factor.

    Raises ``InvalidInput`` for a bad name and for an answer that does not belong to ``state``, and ``Conflict``.
    """
    from allauth.mfa.webauthn.internal.auth import WebAuthn
    from fido2.cose import CoseKey
    from fido2.utils import websafe_encode
    from fido2.webauthn import RegistrationResponse

    shown = clean_text(name, "name", longest=60)
    begun = _begun(state, user.pk)
    try:
        given = RegistrationResponse.from_dict(_object(answer))
        made = _server().register_complete(begun, given).credential_data
        if made is None or made.credential_id != given.raw_id:
            raise ValueError
        if made.public_key.ALGORITHM not in CoseKey.supported_algorithms():
            raise ValueError
    except _MALFORMED:
        raise InvalidInput(_NOT_MADE, errors=[], code="passkey_invalid") from None
    number = websafe_encode(made.credential_id)
    credential = {
        "id": number,
        "rawId": number,
        "type": "public-key",
        "response": {
            "clientDataJSON": websafe_encode(given.response.client_data),
            "attestationObject": websafe_encode(given.response.attestation_object),
        },
    }
    with transaction.atomic():
        lock_person(user)
        rows = Authenticator.objects.filter(type=PASSKEY)
        if rows.filter(data__credential__id=number).exists():
            raise Conflict("This passkey is in use already.", code="factor_exists")
        if rows.filter(user_id=user.pk).count() >= MAX_PASSKEYS:
            raise Conflict(f"You have {MAX_PASSKEYS} passkeys. Remove one first.", code="too_many_passkeys")
        WebAuthn.add(user, shown, credential)
        codes = ensure_codes(user)
        changed(user, "factor.added", PASSKEY, name=shown)
    return codes


def remove_passkey(user: User, passkey_id: int) -> None:
    """Remove one. Raises ``NotFound``."""
    remove_factor(user, {"type": PASSKEY, "pk": passkey_id})


def begin_using(user: User | None) -> Ceremony:
    """Begin to sign in: as this person, after their password, or as whoever has a passkey and proves it is them."""
    from allauth.mfa.webauthn.internal.auth import get_credentials
    from fido2.webauthn import UserVerificationRequirement

    options, state = _server().authenticate_begin(
        credentials=None if user is None else get_credentials(user),
        user_verification=UserVerificationRequirement("required" if user is None else "preferred"),
    )
    return _ceremony(options, state, None if user is None else user.pk)


def use_passkey(user: User | None, answer: str, state: Mapping[str, Any] | None) -> User:
    """Whose passkey answered. Raises ``Unauthenticated`` for every answer that is none to ``state``.

    So it does where the passkey's counter did not grow: then there are two of it, and one is a copy.
    """
    from allauth.mfa.webauthn.internal.auth import get_credentials
    from fido2.webauthn import AuthenticationResponse

    try:
        begun = _begun(state, None if user is None else user.pk)
        given = AuthenticationResponse.from_dict(_object(answer))
        person = user or _whose(given)
        used = _server().authenticate_complete(begun, get_credentials(person), given)
    except (*_MALFORMED, InvalidInput):
        raise Unauthenticated(_NOT_USED, code="passkey_invalid") from None
    name = _count(person, used.credential_id, given.response.authenticator_data.counter)
    if name is not None:
        warn_of_copy(person, name)
        record_refused_person(
            "factor.copied",
            Forbidden(_COPIED, rule="factor:counter", code="passkey_copied"),
            operation=f"use the passkey {name}",
            user=person,
        )
        raise Unauthenticated(_COPIED, code="passkey_copied")
    return person


_NOT_MADE: Final = (
    "The passkey was not added: the browser's answer does not fit, or came too late. Try again."
)
_NOT_USED: Final = (
    "This passkey opens nothing here, or the answer came too late. Try again, or sign in otherwise."
)
_COPIED: Final = (
    "This passkey's counter did not grow since it was last used, so there may be a copy of it. Sign in otherwise, "
    "remove the passkey on your account's page, and add a new one."
)


def _count(person: User, credential_id: bytes, counter: int) -> str | None:
    """Note a use of the passkey and where its counter stands. The passkey's name, if that has not grown.

    Many authenticators count nothing and always say 0. Web Authentication Level 2, section 6.1.1.
    """
    from allauth.mfa.webauthn.internal.auth import WebAuthn
    from fido2.utils import websafe_encode

    number = websafe_encode(credential_id)
    with transaction.atomic():
        # Locked, so that of a passkey and its copy, used at once, one comes second.
        rows = Authenticator.objects.select_for_update().filter(user_id=person.pk, type=PASSKEY)
        row = rows.filter(data__credential__id=number).first()
        if row is None:
            raise Unauthenticated(_NOT_USED, code="passkey_invalid")  # removed meanwhile
        before = row.data.get("counter")
        if before is None:
            before = WebAuthn(row).authenticator_data.counter
        if (counter or before) and counter <= before:
            return str(row.data["name"])
        row.data["counter"], row.last_used_at = counter, timezone.now()
        row.save(update_fields=["data", "last_used_at"])
    return None


def _server() -> Fido2Server:
    """The relying party. Raises ``Conflict`` where it can be none."""
    from fido2.server import Fido2Server
    from fido2.webauthn import PublicKeyCredentialRpEntity

    if why := why_no_passkeys():
        raise Conflict(why, code="no_passkeys")
    parts = urlsplit(settings.ENV.base_url)
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    origin = f"{parts.scheme}://{parts.hostname}{port}"
    return Fido2Server(
        PublicKeyCredentialRpEntity(id=parts.hostname, name="Marina"),
        verify_origin=lambda given: given == origin,
    )


def _ceremony(options: Mapping[str, Any], state: Mapping[str, Any], user_id: int | None) -> Ceremony:
    return Ceremony(dict(options)["publicKey"], {**state, "user": user_id, "at": time.time()})


def _begun(state: Mapping[str, Any] | None, user_id: int | None) -> Mapping[str, Any]:
    if state is None or state["user"] != user_id or time.time() - state["at"] > CEREMONY_SECONDS:
        raise InvalidInput(_NOT_MADE, code="passkey_invalid")
    return state


def _object(answer: str) -> dict[str, Any]:
    if len(answer) > LARGEST_ANSWER:
        refuse("credential", "is larger than any passkey's answer.")
    try:
        return read_object(answer.encode())
    except (BadJson, UnicodeEncodeError):
        refuse("credential", "is no answer of a passkey.")


def _whose(given: AuthenticationResponse) -> User:
    """The person whom the passkey names. Whether it is theirs, its signature says."""
    handle = (given.response.user_handle or b"").decode()
    if not re.fullmatch(r"[0-9]{1,18}", handle):
        raise ValueError("no handle of ours")
    person = User.objects.filter(pk=int(handle), is_active=True).first()
    if person is None:
        raise ValueError("nobody")
    return person


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
