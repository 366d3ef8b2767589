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
from django.db.models.functions import Collate

from core.errors import InvalidInput
from tenants.audit.payloads import METHOD_MARK
from tenants.audit.records import (
    ACTOR_CHARACTERS,
    INTENT,
    KIND_CALL,
    KIND_CHARACTERS,
    OUTCOMES,
    TEXT_COLUMNS,
    TOOL_CHARACTERS,
    column,
)
from tenants.models import ACTOR_BY_BYTES, PERSON, AuditRecord
from tenants.scoping import TenantQuerySet

MAX_TEXT_CHARACTERS: Final = 200

UNKNOWN: Final = "unknown"
"""Asks for the intents whose outcome is not in the log. No record says this of itself."""

OUTCOME_FILTERS: Final = (*OUTCOMES, UNKNOWN)
"""What can be asked for as an outcome."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a record must match; an empty or missing filter matches all.

    ``member`` is a person's address: what they did themselves, and what apps did for them. ``text`` is found
    anywhere in the record (who, tool, arguments, reason, request id), in either case.
    """

    tool: str = ""
    outcome: str = ""
    kind: str = ""
    member: str = ""
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
            ("member", MAX_TEXT_CHARACTERS),
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
    texts["member"] = texts["member"].lower()
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
    filters: Filters, period: Period, *, as_of: int | None = None, payloads: bool = True
) -> TenantQuerySet[AuditRecord]:
    """The records of the tenant in scope that match, in no order yet.

    ``as_of`` is a record's number: an outcome that came after it does not count, so what matched then matches for good.
    Without ``payloads`` the text is looked for in no call's data: what may not be seen is not to be guessed either.
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
    # These say nothing new, but so PostgreSQL sees that the index of all others holds them.
    if filters.kind and filters.kind != KIND_CALL:
        records = records.filter(~Q(kind=KIND_CALL))
    if filters.outcome and filters.outcome != OUTCOMES[0]:
        records = records.filter(~Q(outcome=OUTCOMES[0]))
    if filters.member:
        person = column(f"{PERSON}{filters.member}", ACTOR_CHARACTERS)
        # Apps that act for somebody: "user:ada@example.com via Claude". "!" is what follows a space.
        by_app = Q(by_bytes__gte=f"{person} via ", by_bytes__lt=f"{person} via!")
        records = records.alias(by_bytes=ACTOR_BY_BYTES).filter(
            Q(by_bytes=person) | by_app, actor__startswith=PERSON
        )
    if period.start is not None:
        records = records.filter(at__gte=period.start)
    if period.end is not None:
        records = records.filter(at__lt=period.end)
    if filters.text:
        # The body is JSON: look for the text as JSON writes it, with its quotes and line breaks escaped.
        written = orjson.dumps(filters.text)[1:-1].decode()
        words = Func(F("body"), Value("UTF8"), function="convert_from", output_field=TextField())
        # Only letters of ASCII have another case that matters in a text of ASCII, and "C" knows no others. Said in any
        # case: by itself the text is in the collation of the encoding's name, "C", in which an umlaut has no case.
        collation = "C" if written.isascii() else "default"
        said = Q(words__icontains=written)
        if not payloads:
            said = (~Q(kind__contains=METHOD_MARK) & said) | _in_columns(filters.text)
        records = records.alias(words=Collate(words, collation)).filter(said)
    found: TenantQuerySet[AuditRecord] = records
    return found


def _in_columns(text: str) -> Q:
    """Matches records with this text in one of their columns, none of which holds data of a call."""
    found = Q()
    for name in TEXT_COLUMNS:
        found |= Q(**{f"{name}__icontains": text})
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
