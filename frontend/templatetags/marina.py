"""How the dashboard writes times, sizes, states and icons. Pure formatting: no query, no decision."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from core.errors import MarinaError
from frontend.icons import ICONS
from tenants.services.log import LogRecord

register = template.Library()

_TONES: Final = {
    "ok": "ok",
    "healthy": "ok",
    "done": "ok",
    "error": "bad",
    "unhealthy": "bad",
    "quarantined": "bad",
    "needs_sign_in": "warn",
    "failed": "bad",
    "refused": "warn",
    "invalid": "warn",
    "degraded": "warn",
    "running": "warn",
    "cancelled": "warn",
    "no outcome yet": "warn",
    "outcome unknown": "bad",
    "completed": "ok",
    "waiting": "off",
    "skipped": "off",
    "missed": "warn",
    "asks its client": "warn",
    "being cancelled": "warn",
    "runs as a task": "warn",
    "connected": "ok",
    "stopped": "warn",
    "under way": "warn",
    "at fault": "bad",
    "retrying": "warn",
}

_FAILURES: Final = {
    "query_refused": "Refused by a rule",
    "query_invalid": "The query is wrong",
    "arguments_invalid": "The arguments do not fit",
    "invalid_input": "The arguments do not fit",
    "result_too_large": "The result is too large",
    "source_timeout": "The data source took too long",
    "source_denied": "The data source's role may not do this",
    "source_unreachable": "The data source cannot be reached",
    "source_auth": "The data source refused the sign-in",
    "cancelled": "Cancelled",
}
"""A failed call's title by its code, where the code says more than the error's class."""

_STEPS: Final = ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h"), (30 * 86_400, 86_400, "d"))


@register.simple_tag
def icon(name: str, size: int = 16) -> SafeString:
    """A decorative line icon; the words beside it carry the meaning."""
    return format_html(
        '<svg width="{size}" height="{size}" viewBox="0 0 16 16" fill="none" stroke="currentColor" '
        'stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" '
        'focusable="false">{paths}</svg>',
        size=size,
        paths=mark_safe(ICONS[name]),  # noqa: S308 - constants of ours
    )


@register.simple_tag
def when(at: datetime | None, empty: str = "never") -> str:
    """A moment, as people say it ("4 min ago", "in 89 d"), with the exact UTC time at hand."""
    if at is None:
        return empty
    return format_html(
        '<time datetime="{}" title="{}" class="nowrap">{}</time>',
        at.isoformat(),
        exact(at),
        _relative((timezone.now() - at).total_seconds(), at),
    )


@register.filter
def exact(at: datetime | None) -> str:
    """A moment to the second, in UTC."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@register.filter
def in_zone(at: datetime, zone: str) -> str:
    """A moment to the minute, as clocks in a time zone show it."""
    return f"{at.astimezone(ZoneInfo(zone)):%A %Y-%m-%d %H:%M %Z}"


@register.filter
def precise(at: datetime | None) -> str:
    """A moment to the millisecond, in UTC."""
    if at is None:
        return ""
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"


def _relative(seconds: float, at: datetime) -> str:
    distance = abs(seconds)
    if distance < 5:
        return "just now"
    for limit, unit, name in _STEPS:
        if distance < limit:
            count = int(distance // unit)
            return f"{count} {name} ago" if seconds > 0 else f"in {count} {name}"
    return f"{at.astimezone(UTC):%d %b %Y}"


@register.filter
def last_day(ends_at: datetime) -> str:
    """The last day, in UTC, before a moment: what a date field shows of an end."""
    return f"{(ends_at - timedelta(microseconds=1)).astimezone(UTC):%Y-%m-%d}"


@register.filter
def duration(microseconds: int | None) -> str:
    """A length of time given in microseconds, with a unit that keeps it short."""
    if microseconds is None:
        return "-"
    if microseconds < 1_000:
        return f"{microseconds} µs"
    if microseconds < 1_000_000:
        value = microseconds / 1_000
        return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


@register.filter
def tone(state: str) -> str:
    """The colour of a state: ``ok``, ``warn``, ``bad`` or ``off``."""
    return _TONES.get(state, "off")


@register.filter
def words(state: str) -> str:
    """A state as people write it."""
    return state.replace("_", " ")


@register.filter
def who(actor: str) -> str:
    """An actor of the log by name alone: the person's address, or the key's name without its prefix.

    A test key is told as one.
    """
    kind, _, name = actor.partition(":")
    if kind == "key":
        label, _, prefix = name.rpartition(" (")
        return f"{label} (test key)" if label and prefix.startswith("mcp_test_") else label or name
    return name if kind == "user" else actor


@register.filter
def failure(error: MarinaError) -> str:
    """What kind of failure an error of a call is, for the start of its message."""
    return _FAILURES.get(error.code, error.title)


@register.filter
def changed(record: LogRecord) -> str:
    """What a record of configuration is about: the name of the thing, and a role's change."""
    states = record.arguments or {}
    before, after = (
        state if isinstance(state, dict) else {} for state in map(states.get, ("before", "after"))
    )
    shown = {**before, **after}
    name = next((shown[key] for key in ("name", "email", "slug") if isinstance(shown.get(key), str)), "")
    if not name:
        return ""
    for key in ("role", "name"):
        old, new = before.get(key), after.get(key)
        if old and new and old != new:
            return f"{old} → {new}" if key == "name" else f"{name}: {old} → {new}"
    return f"{name} as {after['role']}" if not before and "role" in after else str(name)


@register.filter
def pretty_json(value: Any) -> str:
    """JSON for reading, in the order in which it came."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def cell(value: Any) -> str:
    """A value in a table of results: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


@register.filter
def of_key(mapping: dict[str, Any], key: str) -> Any:
    """An entry of a mapping whose key is in a variable."""
    return mapping.get(key, "")
