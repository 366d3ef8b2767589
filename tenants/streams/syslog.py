"""A batch as syslog messages: RFC 5424 each, framed by RFC 5425's octet counting. Pure: sends nothing.

What the chain needs stands in the structured data (``tenant``, ``seq``, ``prev``, ``hash``), the time in the header
to the microsecond, and the message is the record's stored body behind the mark of UTF-8: the three make an export's
line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from tenants.streams.lines import NOTICE, Batch, Line, Receiver

FACILITY: Final = 13
"""Log audit (RFC 5424, table 1)."""

EXAMPLE_ID: Final = "marina@32473"
"""32473 is the private enterprise number kept for examples (RFC 5612): whoever has their own sets that."""

SD_ID: Final = re.compile(r"[!#-<>-\\^-~]{1,32}")
"""RFC 5424, section 6.3.2: SD-NAME, with none of = ] " and no space."""

ENDS: Final = ("close_notify", "connection")
"""What shows that a receiver has taken a batch: its ``close_notify``, or of one that never sends that, the end of the
connection.
"""

_BOM: Final = b"\xef\xbb\xbf"
_NOT_VISIBLE: Final = re.compile(r"[^\x21-\x7e]")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPED: Final = re.compile(r'(["\\\]])')


def encode(receiver: Receiver, batch: Batch) -> bytes:
    """The batch as it goes over the wire."""
    if batch.test is not None:
        return _framed(_test(receiver))
    return b"".join(_framed(message(receiver, line)) for line in batch.lines)


def message(receiver: Receiver, line: Line) -> bytes:
    """One record as one message."""
    fields = line.fields
    elements = {
        "tenant": receiver.tenant_slug,
        "tenant_id": str(line.tenant_id),
        "seq": str(line.seq),
        "outcome": fields["outcome"],
        "actor": fields["actor"],
        "server": fields["server"],
        "tool": fields["tool"],
        "request_id": fields["request_id"],
        "prev": line.prev,
        "hash": line.hash,
    }
    return _message(receiver, line.severity[0], line.moment, fields["kind"], elements.items(), line.body)


def _test(receiver: Receiver) -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    elements = {"tenant": receiver.tenant_slug}
    return _message(receiver, NOTICE[0], now, "stream.test", elements.items(), b'{"test":true}')


def _message(
    receiver: Receiver,
    severity: int,
    moment: str,
    kind: str,
    elements: Iterable[tuple[str, str]],
    body: bytes,
) -> bytes:
    data = "".join(f' {name}="{_value(value)}"' for name, value in elements if value)
    head = (
        f"<{FACILITY * 8 + severity}>1 {moment} {_name(receiver.origin, 255)} marina - {_name(kind, 32)} "
        f"[{receiver.settings.get('sd_id') or EXAMPLE_ID}{data}] "
    )
    return head.encode("utf-8", "replace") + _BOM + body


def _framed(one: bytes) -> bytes:
    return b"%d %s" % (len(one), one)


def _name(text: str, longest: int) -> str:
    return _NOT_VISIBLE.sub("?", text)[:longest] or "-"


def _value(text: str) -> str:
    return _ESCAPED.sub(r"\\\1", _CONTROLS.sub(" ", text))
