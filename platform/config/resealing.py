"""Seals everything that is sealed anywhere in the database under the newest master key. Shows and keeps no clear value.

What is sealed is found by the models themselves: a column ``sealed`` and a property ``seal_context``, and
``sealed_columns`` where there are more. Each value says
by itself under which key it is, so a run that was cut off is gone on with by the next one, and two at once do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.apps import apps
from django.db import transaction

from config.startup import SEAL_CONTEXT
from core.crypto import SealError
from core.models import SealCheck
from core.sealing import sealer
from tenants.models import LogKey, Tenant
from tenants.scoping import TenantOwned, tenant_scope
from tenants.services.factor_sealing import reseal_factor

BATCH: Final = 100
"""Rows of one transaction."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """What was found of one kind of rows, of one team where they are a team's: how many were under a former key.

    ``unreadable`` are the ids of rows that open under no key at hand.
    """

    kind: str
    tenant_id: int | None
    former: int
    unreadable: tuple[str, ...]


def sealed_models() -> list[type[TenantOwned]]:
    """The models of teams whose rows hold a sealed value. Of no team are second factors, the keys that sign the log,
    and the database's own seal.
    """
    return [
        model
        for model in apps.get_models()
        if issubclass(model, TenantOwned) and hasattr(model, "sealed") and hasattr(model, "seal_context")
    ]


def reseal_rows(*, write: bool) -> Iterator[Resealed]:
    """Go through everything that is sealed; with ``write``, seal under the newest key what is under a former one.

    Kinds and teams in which all is well are left out.
    """
    factors = _reseal(Authenticator, None, reseal_factor, write=write)
    if factors.former or factors.unreadable:
        yield factors
    keys = _reseal(LogKey, None, _reseal_row, write=write)
    if keys.former or keys.unreadable:
        yield keys
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        for model in sealed_models():
            done = _reseal(model, tenant_id, _reseal_row, write=write)
            if done.former or done.unreadable:
                yield done


def reseal_check(*, write: bool) -> bool:
    """The same for the seal by which a process knows the database's key. Whether it was under a former one.

    It comes last: until then no process starts without the former key.
    """
    # The web process may only read this table.
    row = SealCheck.objects.using("owner").get()
    if sealer().is_current(bytes(row.sealed)):
        return False
    if write:
        row.sealed = sealer().reseal(bytes(row.sealed), context=SEAL_CONTEXT)
        row.save(using="owner", update_fields=["sealed"])
    return True


def _reseal(model: Any, tenant_id: int | None, reseal: Callable[..., bool], *, write: bool) -> Resealed:
    former = 0
    unreadable: list[str] = []
    last = None
    while True:
        with transaction.atomic() if tenant_id is None else tenant_scope(tenant_id):
            rows = (
                model.objects.order_by("pk")
                if last is None
                else model.objects.order_by("pk").filter(pk__gt=last)
            )
            batch = list((rows.select_for_update() if write else rows)[:BATCH])
            for row in batch:
                try:
                    former += reseal(row, write=write)
                except (SealError, ValueError):
                    unreadable.append(str(row.pk))
        if len(batch) < BATCH:
            return Resealed(model.__name__, tenant_id, former, tuple(unreadable))
        last = batch[-1].pk


def _reseal_row(row: Any, *, write: bool) -> bool:
    fresh = {}
    for column in getattr(row, "sealed_columns", ("sealed",)):
        sealed = bytes(getattr(row, column) or b"")
        if sealed and not sealer().is_current(sealed):
            fresh[column] = sealer().reseal(sealed, context=row.seal_context)
    if fresh and write:
        # Not by the row's own save: what is sealed stays the same, and so does when it was changed.
        type(row).objects.filter(pk=row.pk).update(**fresh)
    return bool(fresh)
