"""What is sealed of a team's data sources and secrets, opened for execution. In memory only: never logs or sends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import orjson

from core.crypto import Sealer, SealError
from servers.execution.contract import Source
from servers.models import DataSource, Secret, SecretUse
from tenants.scoping import tenant_scope

REFERENCE: Final = "secret"
"""The one key of an object that names a secret in place of a value: ``{"secret": "stripe-key"}``."""


class SecretAway(SealError):
    """A secret that a data source refers to has no value now. The message says why, for the team's members."""


def seal_settings(row: DataSource, settings: Mapping[str, Any], sealer: Sealer) -> bytes:
    """The whole settings, secrets included, as they are stored."""
    return sealer.seal(orjson.dumps(dict(settings)), context=row.seal_context)


def open_source(row: DataSource, sealer: Sealer) -> Source:
    """A stored source as execution sees it. Raises ``SealError`` where its settings do not open.

    A setting that names a secret has its value: whoever holds what comes of this holds that, until the source's version
    grows, as it does with each other value.
    """
    settings = open_settings(row, sealer)
    return Source(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        kind=row.kind,
        version=row.version,
        settings={**settings, **_secrets_of(row, sealer)} if references_in(row.settings) else settings,
    )


def open_settings(row: DataSource, sealer: Sealer) -> dict[str, Any]:
    """The settings as they are stored: those that name a secret are not among them. Raises ``SealError``."""
    settings: dict[str, Any] = orjson.loads(sealer.open(bytes(row.sealed), context=row.seal_context))
    return settings


def open_secret(row: Secret, sealer: Sealer) -> str:
    """A secret's value. Raises ``SecretAway`` where there is none, and ``SealError`` where it does not open."""
    if row.sealed is None:
        raise SecretAway(f"The secret {row.name} has no value now. {row.reason}.")
    return sealer.open(bytes(row.sealed), context=row.seal_context).decode()


def seal_secret(row: Secret, value: str, sealer: Sealer) -> bytes:
    """A secret's value as it is stored."""
    return sealer.seal(value.encode(), context=row.seal_context)


def as_reference(name: str) -> dict[str, str]:
    """How a secret is named where its value could stand."""
    return {REFERENCE: name}


def is_reference(value: object) -> TypeGuard[Mapping[str, str]]:
    """Whether this names a secret, and is none itself: it may stand in files, and where settings are shown."""
    return isinstance(value, Mapping) and value.keys() == {REFERENCE} and isinstance(value[REFERENCE], str)


def references_in(shown: Mapping[str, Any]) -> dict[str, str]:
    """Setting → name of the secret, of settings as they are shown. Others that look so may be among them."""
    return {name: value[REFERENCE] for name, value in shown.items() if is_reference(value)}


def _secrets_of(row: DataSource, sealer: Sealer) -> dict[str, str]:
    with tenant_scope(row.tenant_id):
        uses = list(SecretUse.objects.filter(source_id=row.pk).select_related("secret"))
    return {use.setting: open_secret(use.secret, sealer) for use in uses}
