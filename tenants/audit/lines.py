"""A record as a line of JSON, as exports and streams hand it out. Pure.

    {"seq":7,"at":"2026-11-20T09:30:00.123456Z","at_us":1795339800123456,"tenant":3,
     "prev":"<hex>","hash":"<hex>","record":{…}}

``record`` comes last and is the stored body, byte for byte: from after ``"record":`` to before the line's closing brace
are the bytes that were hashed. With ``tenant``, ``seq``, ``at_us`` and ``prev`` each line can be checked by itself
without us (``tenants.audit.chain`` says how), and a range without filters also as a chain.

Where data was left out, ``"metadata":{…}`` stands in place of ``"record":{…}``: what is left of the body. ``hash`` is
that of the whole body all the same, so the line says where the record stands in the chain, not that it says just this.
"""

from __future__ import annotations

from datetime import datetime

from tenants.audit.records import to_microseconds


def line_of(
    tenant_id: int, seq: int, at: datetime, prev: str, own: str, body: bytes, *, whole: bool = True
) -> bytes:
    """One record, without the line's end. ``prev`` and ``own`` are its links in the chain, in hex.

    Not ``whole``: ``body`` is what is left of the stored one.
    """
    return b'{"seq":%d,"at":"%s","at_us":%d,"tenant":%d,"prev":"%s","hash":"%s","%s":%s}' % (
        seq,
        moment(at).encode(),
        to_microseconds(at),
        tenant_id,
        prev.encode(),
        own.encode(),
        b"record" if whole else b"metadata",
        body,
    )


def moment(at: datetime) -> str:
    """A time in UTC, with six digits of its second (RFC 3339)."""
    return f"{at.isoformat(timespec='microseconds')[:26]}Z"
