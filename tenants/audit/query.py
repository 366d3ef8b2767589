"""Which records of a tenant's log someone wants: the filters that searching and exporting share.

Needs a tenant in scope; decides nothing about who may look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from django.db.models import Exists, F, Func, OuterRef, Q, TextField, Value

from core.errors import InvalidInput
from tenants.audit.records import INTENT, KIND_CHARACTERS, OUTCOMES, TOOL_CHARACTERS
from tenants.models import AuditRecord
from tenants.scoping import TenantQuerySet

MAX_TEXT_CHARACTERS: Final = 200

UNKNOWN: Final = "unknown"
"""Asks for the intents whose outcome is not in the log. No record says this of itself."""

OUTCOME_FILTERS: Final = (*OUTCOMES, UNKNOWN)
"""What can be asked for as an outcome."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a record must match; an empty or missing filter matches all.

    ``text`` is found anywhere in the record (who, tool, arguments, reason, request id), in either case.
    """

    tool: str = ""
    outcome: str = ""
    kind: str = ""
    credential_id: UUID | None = None
    text: str = ""

    def to_json(self) -> dict[str, str]:
        """The filters that are set, as they are stored with an export."""
        return {name: str(value) for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time: from ``start`` on, up to but without ``end``. ``None`` leaves a side open."""

    start: datetime | None = None
    end: datetime | None = None


def clean_filters(given: Mapping[str, object]) -> Filters:
    """Filters as a person or a program gave them. Raises ``InvalidInput`` with a path for each fault."""
    known = Filters.__dataclass_fields__
    errors = [
        {"path": name, "message": f"There is no such filter. There are: {', '.join(known)}."}
        for name in given
        if name not in known
    ]
    texts = {
        name: _text(given.get(name), name, longest, errors)
        for name, longest in (
            ("tool", TOOL_CHARACTERS),
            ("outcome", MAX_TEXT_CHARACTERS),
            ("kind", KIND_CHARACTERS),
            ("text", MAX_TEXT_CHARACTERS),
        )
    }
    if texts["outcome"] and texts["outcome"] not in OUTCOME_FILTERS:
        message = f"It must be one of: {', '.join(OUTCOME_FILTERS)}."
        errors.append({"path": "outcome", "message": message})
    credential_id = given.get("credential_id") or None
    if credential_id is not None and not isinstance(credential_id, UUID):
        try:
            credential_id = UUID(str(credential_id))
        except ValueError:
            errors.append({"path": "credential_id", "message": "It must be the id of a key, a UUID."})
            credential_id = None
    _raise(errors)
    return Filters(credential_id=credential_id, **texts)


def clean_period(start: datetime | None, end: datetime | None) -> Period:
    """A period whose ends are in order. Raises ``InvalidInput`` that names ``from`` or ``to``."""
    errors = [
        {"path": path, "message": "It needs a time zone, for example 2026-01-31T09:00:00Z."}
        for path, at in (("from", start), ("to", end))
        if at is not None and at.tzinfo is None
    ]
    if not errors and start is not None and end is not None and start > end:
        errors.append({"path": "from", "message": "It lies after 'to': swap the two."})
    _raise(errors)
    return Period(start, end)


def matching_records(
    filters: Filters, period: Period, *, as_of: int | None = None
) -> TenantQuerySet[AuditRecord]:
    """The records of the tenant in scope that match, in no order yet.

    ``as_of`` is a record's number: an outcome that came after it does not count, so what matched then matches for good.
    """
    records: Any = AuditRecord.objects.all()
    exact = {
        name: value
        for name in ("tool", "outcome", "kind", "credential_id")
        if (value := getattr(filters, name))
    }
    if exact.get("outcome") == UNKNOWN:
        records = records.filter(without_outcome(as_of))
        del exact["outcome"]
    if exact:
        records = records.filter(**exact)
    if period.start is not None:
        records = records.filter(at__gte=period.start)
    if period.end is not None:
        records = records.filter(at__lt=period.end)
    if filters.text:
        # The body is JSON: look for the text as JSON writes it, with its quotes and line breaks escaped.
        written = orjson.dumps(filters.text)[1:-1].decode()
        words = Func(F("body"), Value("UTF8"), function="convert_from", output_field=TextField())
        records = records.annotate(words=words).filter(words__icontains=written)
    found: TenantQuerySet[AuditRecord] = records
    return found


def without_outcome(as_of: int | None = None) -> Q:
    """Matches the intents whose outcome is not in the log; with ``as_of``, was not in it up to that record."""
    outcomes = AuditRecord.objects.filter(intent_seq=OuterRef("seq"))
    if as_of is not None:
        outcomes = outcomes.filter(seq__lte=as_of)
    return Q(~Exists(outcomes), outcome=INTENT)


def _text(value: object, name: str, longest: int, errors: list[dict[str, str]]) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        errors.append({"path": name, "message": "It must be text."})
        return ""
    text = value.strip()
    problem = ""
    if len(text) > longest:
        problem = f"It may have at most {longest} characters."
    elif "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        problem = "It holds a character that no text has (NUL or half of a pair)."
    if problem:
        errors.append({"path": name, "message": problem})
        return ""
    return text


def _raise(errors: list[dict[str, str]]) -> None:
    if errors:
        first = errors[0]
        raise InvalidInput(f"{first['path']}: {first['message']}", errors=errors)
