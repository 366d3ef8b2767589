"""Settings of data sources that name a secret in place of its value. Decides who may name one; reads it nowhere.

Only who may change secrets may name one in a source's settings: the source sends it to wherever it is pointed, so that
whoever could name one could have it sent to themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from core.crypto import SealError
from core.errors import InvalidInput
from core.sealing import sealer
from servers.execution.contract import Backend
from servers.models import SECRET_NAME, DataSource, Secret, SecretUse
from servers.services.runtime import get_runtime
from servers.services.sealed import (
    REFERENCE,
    SecretAway,
    as_reference,
    is_reference,
    open_secret,
    open_settings,
    open_source,
    references_in,
    seal_settings,
)
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import refuse

MAX_NAME: Final = 64
_UNFIT: Final = (
    "the secret {} has white space around it, or more than the setting takes. Replace it by the bare value."
)


@dataclass(frozen=True, slots=True)
class Filled:
    """Settings with values in place of names, and which they were: setting → name of the secret."""

    settings: Any = field(repr=False)
    references: Mapping[str, str] = field(default_factory=dict)


def fill_in(backend: Backend, settings: Any, *, caller: Caller) -> Filled:
    """Settings as they were given, with the values of the secrets that they name.

    Raises ``InvalidInput``, and ``Forbidden`` for who may not change secrets.
    """
    if not isinstance(settings, Mapping):
        return Filled(settings)
    references = {
        name: _named(settings[name], f"settings.{name}")
        for name in sorted(takes_names(backend) & settings.keys())
        if isinstance(settings[name], Mapping)
    }
    if not references:
        return Filled(settings)
    caller.require(Action.SECRETS_CHANGE)
    with tenant_scope(caller.tenant_id):
        rows = {row.name: row for row in Secret.objects.filter(name__in=references.values())}
    values = {name: _value(rows.get(secret), f"settings.{name}") for name, secret in references.items()}
    # Of the same type: they may be marked as fetched.
    whole = copy(settings) if isinstance(settings, dict) else dict(settings)
    whole.update(values)
    return Filled(whole, references)


def takes_names(backend: Backend) -> frozenset[str]:
    """The settings that may name a secret: those that are a secret text. One that is an object is itself the value."""
    rules = backend.settings_schema.get("properties", {})
    return frozenset(
        name for name in backend.secret_settings if rules.get(name, {}).get("type", "string") != "object"
    )


def kept_references(kept: Mapping[str, Any], filled: Filled) -> dict[str, str]:
    """Of the secrets that were named, those that stand in the settings to be stored. Raises ``InvalidInput``."""
    stay = {name: secret for name, secret in filled.references.items() if kept.get(name) not in (None, "")}
    for name, secret in stay.items():
        # What is put in later is not cleaned again: it has to be the value, letter by letter.
        if kept[name] != filled.settings[name]:
            refuse(f"settings.{name}", _UNFIT.format(secret))
    return stay


def put_settings(
    source: DataSource, backend: Backend, cleaned: Mapping[str, Any], references: Mapping[str, str]
) -> None:
    """Give a source its settings, sealed and as they are shown: of what a secret has, it keeps no copy."""
    kept = {name: value for name, value in backend.keep_settings(cleaned).items() if name not in references}
    source.sealed = seal_settings(source, kept, sealer())
    source.settings = _shown_with(backend.describe_settings(cleaned), references)


def open_anew(source: DataSource) -> None:
    """Have every process open a source anew, once it is saved: what was known of its health is of other settings."""
    source.version += 1
    source.health = DataSource.HealthState.UNKNOWN
    source.health_reason = ""
    source.health_checked_at = None


def uses_of(source: DataSource) -> dict[str, str]:
    """Setting → name of the secret, of a stored source. In the tenant's scope."""
    if not references_in(source.settings):
        return {}
    uses = SecretUse.objects.filter(source=source).select_related("secret")
    return {use.setting: use.secret.name for use in uses}


def secrets_set(source: DataSource, *, caller: Caller) -> frozenset[str] | None:
    """The names of a source's secret settings that have a value, or a secret's name; ``None``: it does not open."""
    caller.require(Action.SOURCES_READ)
    try:
        stored = open_settings(source, sealer())
    except SealError:
        return None
    with tenant_scope(caller.tenant_id):
        named = uses_of(source)
    return frozenset(named) | {name for name, value in stored.items() if value not in (None, "")}


def put_uses(source: DataSource, references: Mapping[str, str]) -> None:
    """Note which secrets a stored source names now. In the transaction that stores it."""
    present = uses_of(source)
    SecretUse.objects.filter(source=source).exclude(setting__in=references).delete()
    for setting, name in references.items():
        if present.get(setting) == name:
            continue
        # Locked until the use is stored: nobody deletes it, or gives it another value, in between.
        secret = Secret.objects.select_for_update(no_key=True).filter(name=name).first()
        if secret is None:
            refuse(f"settings.{setting}", f"the secret {name} was deleted meanwhile. Choose another one.")
        SecretUse.objects.update_or_create(
            source=source, setting=setting, defaults={"secret": secret, "tenant_id": source.tenant_id}
        )


def lock_users(secret_id: UUID) -> None:
    """Lock the sources that name a secret, before the secret: whoever changes a source locks that first, too."""
    uses = SecretUse.objects.filter(secret_id=secret_id).values("source_id")
    list(DataSource.objects.select_for_update().filter(pk__in=uses).order_by("pk").values_list("pk"))


def reopen_users(secret: Secret) -> list[str]:
    """Have every process open the sources that name a secret anew. In the transaction that stored its other value.

    Gives their names. Raises ``InvalidInput`` where a source does not take the value.
    """
    uses = list(SecretUse.objects.filter(secret=secret).order_by("source_id", "setting"))
    rows = (
        DataSource.objects.select_for_update().filter(pk__in=[use.source_id for use in uses]).order_by("pk")
    )
    names = []
    for source in rows:
        _check_anew(source, [use.setting for use in uses if use.source_id == source.pk], secret)
        open_anew(source)
        source.save()
        names.append(source.name)
    return sorted(names)


def _check_anew(source: DataSource, settings: list[str], secret: Secret) -> None:
    """Judge the source's settings with the new value, and show what follows from it (a host, say)."""
    engine = get_runtime().engine
    if source.kind not in engine.kinds:
        return
    backend = engine.backend(source.kind)
    try:
        given = open_source(source, sealer()).settings
        cleaned = backend.clean_settings(given)
    except SealError:
        return
    except InvalidInput as fault:
        # Faults of other settings are older than this value.
        mine = [each for each in fault.errors if each["path"].partition(".")[0] in settings]
        if mine:
            refuse("value", f"the data source {source.name} does not take it: {mine[0]['message']}")
        return
    if any(cleaned.get(name) != given[name] for name in settings):
        refuse("value", f"for the data source {source.name}, {_UNFIT.format(secret.name)}")
    entered = backend.settings_schema.get("properties", {})
    # What the kind keeps beside the settings that are entered: it is still sealed with them.
    beside = {name: value for name, value in given.items() if name not in entered}
    source.settings = _shown_with(backend.describe_settings({**beside, **cleaned}), uses_of(source))


def _shown_with(shown: Mapping[str, Any], references: Mapping[str, str]) -> dict[str, Any]:
    return {**shown, **{name: as_reference(secret) for name, secret in references.items()}}


def _named(value: Mapping[str, Any], path: str) -> str:
    if not is_reference(value):
        refuse(path, 'must be a text, or {"secret": "name-of-a-secret"}.')
    name = value[REFERENCE]
    if len(name) > MAX_NAME or not re.fullmatch(SECRET_NAME, name):
        refuse(path, "names no secret: names are lower-case letters, digits and single hyphens.")
    return name


def _value(row: Secret | None, path: str) -> str:
    if row is None:
        refuse(path, "there is no such secret in this team. Make it first, on the page of secrets.")
    try:
        return open_secret(row, sealer())
    except SecretAway as away:
        refuse(path, str(away))
    except SealError:
        refuse(path, f"the secret {row.name} does not open with this master key. Give it its value again.")
