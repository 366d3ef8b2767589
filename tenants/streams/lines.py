"""What a stream hands over: records as an export's lines have them, in batches. Pure: no storage, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import orjson

from tenants.audit.lines import line_of, moment
from tenants.audit.records import decode

SEVERITIES: Final[Mapping[str, tuple[int, int, str]]] = {
    "ok": (6, 9, "INFO"),
    "intent": (6, 9, "INFO"),
    "input_required": (6, 9, "INFO"),
    "cancelled": (5, 10, "INFO2"),
    "refused": (4, 13, "WARN"),
    "invalid": (4, 13, "WARN"),
    "error": (3, 17, "ERROR"),
}
"""Outcome → severity in syslog (RFC 5424, table 2), and OpenTelemetry's number and text for the same (logs data model,
appendix B)."""

NOTICE: Final = (5, 10, "INFO2")


@dataclass(frozen=True)
class Line:
    """One stored record. ``prev`` and ``hash`` are its links in the chain, in hex; ``body`` is what was hashed."""

    tenant_id: int
    seq: int
    at: datetime
    prev: str
    hash: str
    body: bytes

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The record's fields, by name."""
        return decode(self.body)

    @property
    def moment(self) -> str:
        """When, to the microsecond (RFC 3339)."""
        return moment(self.at)

    @property
    def severity(self) -> tuple[int, int, str]:
        """See ``SEVERITIES``."""
        return SEVERITIES.get(self.fields["outcome"], NOTICE)

    def as_json(self) -> bytes:
        """The line as an export has it, without the line's end."""
        return line_of(self.tenant_id, self.seq, self.at, self.prev, self.hash, self.body)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records ``first`` to ``last`` of a log, less what ``filters`` left out. The same range by the same filters is
    always the same batch.

    A test has a name of its own in place of a range, and holds no record.
    """

    stream_id: UUID
    first: int | None = None
    last: int | None = None
    lines: tuple[Line, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    test: UUID | None = None

    @property
    def name(self) -> str:
        """The same each time that it is sent, and for no other records: by it a receiver knows a double."""
        if self.test is not None:
            return f"test_{self.test.hex}"
        name = f"msg_{self.stream_id.hex}_{self.first}_{self.last}"
        if not self.filters:
            return name
        chosen = orjson.dumps(dict(self.filters), option=orjson.OPT_SORT_KEYS)
        return f"{name}_{hashlib.sha256(chosen).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a stream goes: its kind's settings and, opened, its secrets. ``origin`` is Marina's own host name.

    With ``sealed`` the secrets did not open, and nothing is sent.
    """

    kind: str
    tenant_slug: str
    origin: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(repr=False)
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of handing a batch over. ``words`` begin with "it" where it was not taken.

    ``gone``: the receiver wants nothing more. ``wait`` are the seconds that it asked for before the next try.
    """

    taken: bool
    words: str = ""
    status: int | None = None
    size: int = 0
    gone: bool = False
    wait: float | None = None
