"""An OpenAPI document as a source takes it: what it says of itself, its operations, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from typing import Any, Final

import orjson

from core.errors import InvalidInput
from servers.execution.backends.http.openapi.conversion import bounded_text
from servers.execution.backends.http.openapi.documents import read_document
from servers.execution.backends.http.openapi.needs import SignIn, base_url_of, sign_ins_of
from servers.execution.backends.http.openapi.operations import Imported, read_operations

MAX_PICKS: Final = 2_000
_MOST_FAULTS: Final = 10
"""Finding what was meant takes its time."""


@dataclass(frozen=True, slots=True)
class ImportedDocument:
    """A document that was read. ``base_url`` is empty where it names no usable one. ``digest`` is of its text."""

    title: str
    version: str
    description: str
    base_url: str
    sign_ins: Sequence[SignIn]
    operations: Sequence[Imported]
    digest: str


def import_document(given: str | bytes | Mapping[str, Any], *, fetched_from: str = "") -> ImportedDocument:
    """Read a document, from its text or as it was read, and make tools of its operations.

    ``fetched_from`` is the address that it came from. Raises ``InvalidInput`` (``openapi_invalid``).
    """
    document = read_document(given)
    info = document.root.get("info")
    info = info if isinstance(info, Mapping) else {}
    return ImportedDocument(
        title=bounded_text(info.get("title"), 200),
        version=bounded_text(str(info.get("version", "")), 80),
        description=bounded_text(info.get("description"), 1_000),
        base_url=base_url_of(document, fetched_from),
        sign_ins=sign_ins_of(document),
        operations=read_operations(document),
        digest=_digest(given),
    )


def pick_operations(operations: Sequence[Imported], wanted: Iterable[Any] | None) -> list[Imported]:
    """Those operations that are wanted: by id, by tool's name, as ``GET /path``, or as ``tag:name``; ``None`` is all.

    All means all that can be tools; one that was named and cannot is refused with its problem. Raises ``InvalidInput``.
    """
    if wanted is None:
        return [each for each in operations if each.tool is not None]
    known: dict[str, list[Imported]] = {}
    for each in operations:
        keys = {each.name, each.operation_id, each.key, *(f"tag:{tag}" for tag in each.tags)} - {""}
        for key in keys:
            known.setdefault(key.lower(), []).append(each)
    picked: dict[str, Imported] = {}
    faults: list[dict[str, str]] = []
    for index, name in enumerate(wanted):
        found = known.get(" ".join(name.split()).lower(), []) if isinstance(name, str) else []
        able = [each for each in found if each.tool is not None]
        if not able:
            if len(faults) == _MOST_FAULTS:
                break
            message = f"It cannot be a tool. {found[0].problem}" if found else _unknown(name, known)
            faults.append({"path": f"operations.{index}", "message": message})
        picked.update((each.key, each) for each in able)
    if faults:
        raise InvalidInput(f"{faults[0]['path']}: {faults[0]['message']}", errors=faults)
    return list(picked.values())


def _unknown(name: Any, known: Mapping[str, Any]) -> str:
    close = get_close_matches(str(name)[:200].lower(), list(known)[:5_000], n=3)
    hint = f" Is it {' or '.join(each[:80] for each in close)}?" if close else ""
    return f"The document has no such operation as {str(name)[:80]}.{hint} Name it by its operationId, or as GET /path."


def _digest(given: str | bytes | Mapping[str, Any]) -> str:
    if isinstance(given, str):
        return sha256(given.encode("utf-8", "surrogatepass")).hexdigest()
    return sha256(given if isinstance(given, bytes) else orjson.dumps(given, default=str)).hexdigest()
