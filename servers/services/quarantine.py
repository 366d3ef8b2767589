"""Keeps what a check of a data source found: its health, and what of it is not to be used before somebody looked at it.

What a source describes otherwise than when it was taken over goes into quarantine. It leaves it when it is taken over
anew, which somebody decides who may (``require_approval``), or when the source describes it as before. In the tenant's
scope; connects to nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from core.errors import Forbidden
from servers.execution.contract import Health, Moved
from servers.models import DataSource, Prompt, Quarantine, Resource, Tool
from servers.services.changes import publish_change
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change

RULE: Final = "quarantine"
CODE: Final = "quarantined"

HEALTH_FIELDS: Final = ("health", "health_reason", "health_checked_at", "health_since")

_MAX_REASON: Final = 500

Held = tuple[str, str]
"""What it is (``Quarantine.What``), and the name that it has here."""


def refusal_of(what: str, name: str, reason: str) -> Forbidden:
    """What a call of something in quarantine is told."""
    return Forbidden(
        f"The {what} {name} is in quarantine: {reason} An admin of the team can look at what changed, and take it "
        "over.",
        rule=RULE,
        code=CODE,
    )


def all_quarantined() -> dict[UUID, dict[Held, str]]:
    """Why what is in quarantine, by data source."""
    found: dict[UUID, dict[Held, str]] = {}
    for row in Quarantine.objects.all():
        found.setdefault(row.source_id, {})[row.what, row.name] = row.reason
    return found


def list_quarantined(source_id: UUID, *, caller: Caller) -> list[Quarantine]:
    """What of a source is in quarantine: prompts, resources and tools by name. Of an unknown source nothing is."""
    caller.require(Action.SOURCES_READ)
    with tenant_scope(caller.tenant_id):
        return list(Quarantine.objects.filter(source=source_id))


def find_quarantined_tool(name: str, *, caller: Caller) -> Quarantine | None:
    """Why the tool of this name is in quarantine, where it is."""
    caller.require(Action.TOOLS_READ)
    with tenant_scope(caller.tenant_id):
        return Quarantine.objects.filter(what=Quarantine.What.TOOL, name=name).first()


def store_health(row: DataSource, health: Health, *, caller: Caller) -> bool:
    """Store what a check found, unless the source changed meanwhile. Whether that is new to anybody.

    ``caller`` is who had it checked, in whose name the records are of what went into quarantine and came out.
    """
    stored = DataSource.objects.select_for_update().filter(pk=row.pk, version=row.version).first()
    if stored is None:
        return False
    before = (stored.health, stored.health_reason)
    put_health(stored, health.state, health.reason)
    told = before != (stored.health, stored.health_reason)
    stored.health_parts = [
        {
            "url": each.name,
            "state": each.state,
            "reason": each.reason[:_MAX_REASON],
            "latency_ms": each.latency_ms,
        }
        for each in health.parts
    ]
    stored.save(update_fields=[*HEALTH_FIELDS, "health_parts"])
    moved = health.moved is not None and _hold(stored, health.moved, caller)
    return told or moved


def put_health(source: DataSource, state: str, reason: str) -> None:
    """Give a source its health as of now. It is to be saved afterwards, with ``HEALTH_FIELDS``."""
    now = timezone.now()
    if source.health != state:
        source.health_since = now
    source.health, source.health_reason, source.health_checked_at = state, reason[:_MAX_REASON], now


def require_deletable(source: DataSource, caller: Caller) -> None:
    """Raise ``Forbidden`` where something of it is held, and the caller may not decide about that.

    Made anew, the source would have taken it over.
    """
    if Quarantine.objects.filter(source=source).exists():
        caller.require(Action.SOURCES_APPROVE)


def release(source: DataSource) -> bool:
    """Let go of all that a source has in quarantine: what it describes now was taken over. Whether there was any."""
    deleted, _ = Quarantine.objects.filter(source=source).delete()
    return deleted > 0


def _hold(source: DataSource, moved: Moved, caller: Caller) -> bool:
    """Have just this in quarantine, and record what came and went. Whether anything did."""
    wanted = _offered_here(source, moved)
    present = {(row.what, row.name): row for row in Quarantine.objects.filter(source=source)}
    new = [held for held in wanted if held not in present]
    free = [] if moved.partial else [held for held in present if held not in wanted]
    for held in present.keys() & wanted.keys():
        if present[held].reason != wanted[held]:
            present[held].reason = wanted[held]
            present[held].save(update_fields=["reason"])
    Quarantine.objects.filter(pk__in=[present[held].pk for held in free]).delete()
    Quarantine.objects.bulk_create(
        [
            Quarantine(
                tenant_id=source.tenant_id, source=source, what=held[0], name=held[1], reason=wanted[held]
            )
            for held in new
        ],
        batch_size=500,
    )
    if not new and not free:
        return False
    publish_change(source.tenant_id)
    if new:
        record_change("source.quarantined", caller=caller, after=_shown(source, new))
    if free:
        record_change("source.released", caller=caller, after=_shown(source, free))
    return True


def _offered_here(source: DataSource, moved: Moved) -> dict[Held, str]:
    """What of it the team has, by the names that it has here, with the reasons."""
    prefix = source.tool_prefix
    tools = {prefix + name: reason for name, reason in moved.tools.items()}
    prompts = {prefix + name: reason for name, reason in moved.prompts.items()}
    brought = {"source": source, "brought": True}
    found: list[tuple[str, Mapping[str, str], Collection[str]]] = [
        ("tool", tools, Tool.objects.filter(name__in=tools, **brought).values_list("name", flat=True)),
        (
            "resource",
            moved.resources,
            Resource.objects.filter(uri__in=moved.resources, **brought).values_list("uri", flat=True),
        ),
        (
            "prompt",
            prompts,
            Prompt.objects.filter(name__in=prompts, **brought).values_list("name", flat=True),
        ),
    ]
    return {
        (what, name): reasons[name][:_MAX_REASON] for what, reasons, names in found for name in sorted(names)
    }


def _shown(source: DataSource, held: Collection[Held]) -> dict[str, Any]:
    """As the log has it."""
    shown: dict[str, Any] = {"id": str(source.pk), "name": source.name}
    for what, name in held:
        shown.setdefault(f"{what}s", []).append(name)
    return shown
