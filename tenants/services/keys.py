"""API keys: issued once in clear, kept as a hash, revoked for good. Never logs or stores the key itself."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from core.errors import Forbidden, InvalidInput, NotFound
from tenants.access import KEY_PREFIX, Caller, key_digest
from tenants.changes import announce_change
from tenants.models import ApiKey
from tenants.roles import NARROWING, SCOPE_ACTIONS, SCOPES, Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, refuse
from tenants.services.recording import record_change

DEFAULT_DAYS: Final = 90
MAX_DAYS: Final = 3650
MAX_SCOPES: Final = 64

_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_CHARACTERS: Final = 43
"""43 characters of 62 hold 256 bits, and a double click selects them whole."""

_PREFIX_BYTES: Final = 5
_NARROWED: Final = re.compile(r"tool:[A-Za-z0-9_.-]{1,64}|server:[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: its row, and the only sight of its text there will ever be."""

    row: ApiKey
    key: str = field(repr=False)


def issue_key(
    name: str, scopes: list[str], expires_in_days: int = DEFAULT_DAYS, *, caller: Caller
) -> IssuedKey:
    """Make a key that may do no more than its maker. Raises ``InvalidInput`` and ``Forbidden``."""
    caller.require(Action.KEYS_CHANGE)
    label = clean_text(name, "name", longest=80)
    wanted = _clean_scopes(scopes)
    _require_within_rights(wanted, caller)
    lifetime = _lifetime(expires_in_days)
    prefix = secrets.token_hex(_PREFIX_BYTES)
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARACTERS))
    key = f"{KEY_PREFIX}{prefix}_{secret}"
    now = timezone.now()
    with tenant_scope(caller.tenant_id):
        row = ApiKey.objects.create(
            name=label,
            prefix=prefix,
            last_four=secret[-4:],
            digest=key_digest(key),
            scopes=wanted,
            created_by_id=caller.user_id,
            created_at=now,
            expires_at=now + lifetime,
        )
        record_change("key.created", caller=caller, after=_shown(row))
    return IssuedKey(row, key)


def list_keys(*, caller: Caller) -> list[ApiKey]:
    """Every key of the tenant, also expired and revoked ones, newest first."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        return list(ApiKey.objects.select_related("created_by"))


def get_key(key_id: UUID, *, caller: Caller) -> ApiKey:
    """One key. Raises ``NotFound``."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        return _key(key_id)


def revoke_key(key_id: UUID, *, caller: Caller) -> ApiKey:
    """End a key for good, everywhere. Revoking a revoked key changes nothing. Raises ``NotFound``."""
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _key(key_id, lock=True)
        if row.revoked_at is not None:
            return row
        before = _shown(row)
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        record_change("key.revoked", caller=caller, before=before, after=_shown(row))
        announce_change(caller.tenant_id)
    return row


def _key(key_id: UUID, *, lock: bool = False) -> ApiKey:
    rows = ApiKey.objects.all()
    rows = rows.select_for_update() if lock else rows.select_related("created_by")
    row = rows.filter(pk=key_id).first()
    if row is None:
        raise NotFound("There is no such API key in this team.", code="key_not_found")
    return row


def _clean_scopes(scopes: object) -> list[str]:
    if not isinstance(scopes, list | tuple) or not scopes:
        refuse("scopes", f"must be a list with at least one of: {', '.join(SCOPES)}.")
    if len(scopes) > MAX_SCOPES:
        refuse("scopes", f"lists {len(scopes)}; at most {MAX_SCOPES} are allowed.")
    errors = [
        {
            "path": f"scopes.{place}",
            "message": f"is not a known scope. Known are {', '.join(SCOPES)}, and tool:<name> or "
            "server:<slug> to narrow them.",
        }
        for place, scope in enumerate(scopes)
        if not isinstance(scope, str) or (scope not in SCOPES and not _NARROWED.fullmatch(scope))
    ]
    if errors:
        first = errors[0]
        raise InvalidInput(f"{first['path']}: {first['message']}", errors=errors)
    wanted = list(dict.fromkeys(scopes))
    narrowed = [scope for scope in wanted if scope.startswith(NARROWING)]
    if len(narrowed) == len(wanted):
        refuse("scopes", f"only narrows ({', '.join(narrowed)}). Add what it may do, such as tools:execute.")
    if narrowed and "admin" in wanted:
        refuse("scopes", f"admin cannot be narrowed by {narrowed[0]}. Leave one of them out.")
    return wanted


def _lifetime(days: object) -> timedelta:
    if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_DAYS:
        refuse("expires_in_days", f"must be a whole number from 1 to {MAX_DAYS}.")
    return timedelta(days=days)


def _require_within_rights(wanted: list[str], caller: Caller) -> None:
    for scope in wanted:
        missing = sorted(action.value for action in SCOPE_ACTIONS.get(scope, ()) if not caller.may(action))
        if missing:
            raise Forbidden(
                f"A key cannot do more than who issues it: scope {scope} would allow {missing[0]}, which you "
                "may not do. Leave that scope out, or ask an owner to issue the key.",
                rule=f"rights:{scope}",
                code="scope_exceeds_rights",
            )


def _shown(row: ApiKey) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "prefix": row.prefix,
        "scopes": list(row.scopes),
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "revoked_at": row.revoked_at.isoformat() if row.revoked_at else None,
    }
