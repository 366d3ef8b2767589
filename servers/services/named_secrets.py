"""Secrets that a team names: given a value, or a place where Marina reads one; replaced, read again, deleted.

None is ever shown. What is read elsewhere is kept sealed as a copy, for as long as the operator lets it be: so every
process has the same value, and none asks anybody when it opens a data source.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db.models import Prefetch
from django.utils import timezone

from core.crypto import SealError
from core.errors import Conflict, InvalidInput, NotFound
from core.sealing import sealer
from core.vaultaccess import is_vault_path
from servers.models import SECRET_NAME, Secret, SecretUse
from servers.services.changes import publish_change
from servers.services.sealed import open_secret, seal_secret
from servers.services.secret_places import (
    DEFAULT_KEY,
    Away,
    Found,
    fault_of_value,
    origins_here,
    place_of,
    read_secrets,
)
from servers.services.secret_references import MAX_NAME, lock_users, reopen_users
from tenants.access import Caller, marina_of
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, matching, name_taken, one_of, refuse
from tenants.services.recording import record_change

MAX_SECRETS: Final = 500
"""Of one team."""

_MAX_REASON: Final = 500
_NAME_RULE: Final = "must be 1 to 64 lower-case letters, digits and single inner hyphens, such as stripe-key."


def list_secrets(*, caller: Caller) -> list[Secret]:
    """The team's secrets by name, each with its uses; none with its value."""
    caller.require(Action.SECRETS_READ)
    with tenant_scope(caller.tenant_id):
        return list(_rows())


def get_secret(secret_id: UUID, *, caller: Caller) -> Secret:
    """One secret with its uses, without its value. Raises ``NotFound``."""
    caller.require(Action.SECRETS_READ)
    with tenant_scope(caller.tenant_id):
        return _row(secret_id)


def where_read(row: Secret, *, caller: Caller) -> str:
    """Where a secret's value is to be put, in words for the operator; empty for one that is stored here."""
    return place_of(caller.tenant_slug, row)


def create_secret(
    name: str,
    *,
    caller: Caller,
    origin: str = Secret.Origin.STORED.value,
    value: str | None = None,
    path: str = "",
    key: str = "",
) -> Secret:
    """Name a secret: with its ``value``, or read at its place now. Raises ``InvalidInput`` and ``Conflict``."""
    caller.require(Action.SECRETS_CHANGE)
    matching(name, "name", rf"(?=.{{1,{MAX_NAME}}}$){SECRET_NAME[1:-1]}", _NAME_RULE)
    row = Secret(id=uuid4(), tenant_id=caller.tenant_id, name=name)
    given = _given(row, origin, value, path, key, caller)
    with tenant_scope(caller.tenant_id):
        if Secret.objects.count() >= MAX_SECRETS:
            raise Conflict(f"A team has {MAX_SECRETS} secrets at most. Delete one first.", code="too_many")
        _put(row, given)
        taken = f"A secret called {name} exists already. Replace its value, or choose another name."
        with name_taken("servers_secret_name_unique", taken):
            row.save(force_insert=True)
        record_change("secret.created", caller=caller, after=shown(row))
        return _row(row.pk)


def replace_secret(
    secret_id: UUID,
    *,
    caller: Caller,
    origin: str | None = None,
    value: str | None = None,
    path: str = "",
    key: str = "",
) -> Secret:
    """Give a secret another value, or another place. Sources that name it are opened anew everywhere within seconds.

    Raises ``InvalidInput``, also where a source does not take the value, and ``NotFound``. Then all stays as it was.
    """
    caller.require(Action.SECRETS_CHANGE)
    row = get_secret(secret_id, caller=caller)
    given = _given(row, origin or row.origin, value, path, key, caller)
    with tenant_scope(caller.tenant_id):
        lock_users(secret_id)
        stored = _row(secret_id, lock=True)
        before = shown(stored)
        stored.origin, stored.place = row.origin, row.place
        _put(stored, given)
        stored.version += 1
        stored.save()
        after = {**shown(stored), "value_replaced": True, "data_sources": reopen_users(stored)}
        publish_change(caller.tenant_id)
        record_change("secret.replaced", caller=caller, before=before, after=after)
        return _row(secret_id)


def read_again(secret_id: UUID, *, caller: Caller) -> Secret:
    """Read a secret at its place now, and not when its turn comes. Raises ``NotFound`` and ``Conflict``."""
    caller.require(Action.SECRETS_CHANGE)
    row = get_secret(secret_id, caller=caller)
    if row.stored:
        raise Conflict(
            "This secret's value is stored here: there is nowhere to read it.", code="secret_stored"
        )
    _settle(row, read_secrets(caller.tenant_slug, [row])[0], caller)
    return get_secret(secret_id, caller=caller)


def delete_secret(secret_id: UUID, *, caller: Caller) -> None:
    """Delete a secret. Raises ``NotFound``, and ``Conflict`` while a data source names it."""
    caller.require(Action.SECRETS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _row(secret_id, lock=True)
        users = sorted({use.source.name for use in row.uses.select_related("source")})
        if users:
            raise Conflict(
                f"The secret {row.name} is used by the data sources {', '.join(users)[:500]}. "
                "Give them another one first.",
                code="secret_in_use",
                data={"data_sources": users},
            )
        before = shown(row)
        row.delete()
        record_change("secret.deleted", caller=caller, before=before)


def check_secrets_of(tenant_id: int) -> int:
    """The scheduled reading of one tenant's secrets that lie elsewhere. Returns how many there are."""
    with tenant_scope(tenant_id):
        rows = list(Secret.objects.exclude(origin=Secret.Origin.STORED))
    if rows:
        # What the schedule finds, nobody of the team did.
        marina = marina_of(tenant_id)
        for row, found in zip(rows, read_secrets(marina.tenant_slug, rows), strict=True):
            _settle(row, found, marina)
    return len(rows)


def shown(row: Secret) -> dict[str, Any]:
    """What the log shows of a secret: all but its value."""
    return {
        "id": str(row.id),
        "name": row.name,
        "origin": str(row.origin),
        "place": row.place,
        "version": row.version,
    }


def _rows() -> Any:
    uses = SecretUse.objects.select_related("source").order_by("source__name", "setting")
    return Secret.objects.prefetch_related(Prefetch("uses", queryset=uses))


def _row(secret_id: UUID, *, lock: bool = False) -> Secret:
    # A key of another table that points here needs no other lock than this leaves it.
    rows = Secret.objects.select_for_update(no_key=True) if lock else _rows()
    row: Secret | None = rows.filter(pk=secret_id).first()
    if row is None:
        raise NotFound("There is no such secret in this team.", code="secret_not_found")
    return row


def _given(row: Secret, origin: str, value: str | None, path: str, key: str, caller: Caller) -> str:
    """The value that a secret is to have, typed or read at its place, which ``row`` then has. Outside a transaction."""
    row.origin = Secret.Origin(one_of(origin, "origin", origins_here()))
    row.place = {}
    if row.origin != Secret.Origin.VAULT and (path or key):
        refuse("path" if path else "key", "is for secrets of Vault alone. Leave it out.")
    if row.stored:
        if not isinstance(value, str):
            refuse("value", "must not be empty.")
        fault = fault_of_value(value)
        if fault:
            refuse("value", f"{fault}.")
        return value
    if value is not None:
        refuse("value", f"is read by Marina for a secret of the origin {row.origin.value}. Leave it out.")
    if row.origin == Secret.Origin.VAULT:
        row.place = _vault_place(row.name, path, key)
    found = read_secrets(caller.tenant_slug, [row])[0]
    if isinstance(found, Away):
        refuse("origin", f"the secret could not be read. {found.reason}.")
    return found.value


def _vault_place(name: str, path: str, key: str) -> dict[str, str]:
    path = clean_text(path, "path", longest=300, empty=True) or name
    if not is_vault_path(path):
        refuse("path", "must be names of plain characters with slashes between them, such as billing/stripe.")
    return {"path": path, "key": clean_text(key, "key", longest=128, empty=True) or DEFAULT_KEY}


def _put(row: Secret, value: str) -> None:
    row.sealed = seal_secret(row, value, sealer())
    row.state, row.reason = Secret.State.READY, ""
    row.read_at = row.checked_at = timezone.now()


def _settle(seen: Secret, found: Found | Away, caller: Caller) -> None:
    """Take over what was read of a secret, unless it was changed meanwhile."""
    try:
        _take(seen, found, caller)
    except InvalidInput as fault:
        # A source does not take it: the former value stays in use, as long as a copy may.
        _take(
            seen, Away(f"What is there was not taken over: {fault.message.rstrip('.')}", final=False), caller
        )


def _take(seen: Secret, found: Found | Away, caller: Caller) -> None:
    with tenant_scope(caller.tenant_id):
        lock_users(seen.pk)
        row = Secret.objects.select_for_update(no_key=True).filter(pk=seen.pk).first()
        if row is None or (row.origin, row.place, row.version) != (seen.origin, seen.place, seen.version):
            return
        before = shown(row)
        if isinstance(found, Found):
            changed = not _holds(row, found.value)
            if changed:
                _put(row, found.value)
            row.state, row.reason = Secret.State.READY, ""
            row.read_at = row.checked_at = timezone.now()
        else:
            changed = _miss(row, found, timezone.now())
        row.version += changed
        row.save()
        if changed:
            after = {**shown(row), "data_sources": reopen_users(row)}
            publish_change(caller.tenant_id)
            if isinstance(found, Found):
                record_change("secret.renewed", caller=caller, before=before, after=after)
            else:
                record_change(
                    "secret.lost", caller=caller, before=before, after={**after, "reason": row.reason}
                )


def _miss(row: Secret, away: Away, now: datetime) -> bool:
    """Note that a secret could not be read. Whether its copy was given up for that."""
    row.checked_at = now
    row.reason = away.reason[:_MAX_REASON]
    kept = timedelta(seconds=settings.ENV.secrets.stale_seconds)
    if row.sealed is not None and not away.final and row.read_at is not None and now - row.read_at <= kept:
        row.state = Secret.State.STALE
        return False
    row.state = Secret.State.UNAVAILABLE
    lost = row.sealed is not None
    row.sealed = None
    return lost


def _holds(row: Secret, value: str) -> bool:
    try:
        return row.sealed is not None and open_secret(row, sealer()) == value
    except SealError:
        return False


def describe_origins(*, caller: Caller, name: str = "<name>") -> list[tuple[str, str]]:
    """Where secrets of the team may come from in this installation, each with where one of this name would lie."""
    caller.require(Action.SECRETS_READ)
    return [
        (origin, place_of(caller.tenant_slug, Secret(name=name, origin=origin))) for origin in origins_here()
    ]
