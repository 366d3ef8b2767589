"""The part of a source's settings that an OpenAPI document is: given by address or whole, kept as what it was.

The document itself is not kept: its operations become tools, stored as such, and settings are opened with each surface.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from core.errors import InvalidInput
from core.largejson import write_pieces
from core.outbound import AllowAddress
from core.outbound_http import OutboundClient, OutboundRefused
from servers.execution.backends.http.definitions import READS
from servers.execution.backends.http.openapi.apart import Readers
from servers.execution.backends.http.openapi.conversion import bounded_text
from servers.execution.backends.http.openapi.documents import MAX_JSON_BYTES, refuse_document
from servers.execution.backends.http.openapi.imports import (
    MAX_PICKS,
    ImportedDocument,
    import_document,
    pick_operations,
)
from servers.execution.backends.http.settings import SECRETS
from servers.execution.contract import Offered

FETCH_SECONDS: Final = 20.0
_READ: Final = "read"
"""Under it, in settings that are in memory only, stands the document as it was read."""

_KEPT: Final = ("url", "title", "version", "digest")
_ACCEPT: Final = (
    ("Accept", "application/json, application/yaml;q=0.9, */*;q=0.5"),
    ("User-Agent", "Marina"),
)


async def fetch_document(
    settings: Mapping[str, Any], *, anew: bool, allow: AllowAddress, readers: Readers
) -> Mapping[str, Any]:
    """The settings with their document, read; with ``anew``, one that was kept is fetched again.

    Raises ``InvalidInput`` where it cannot be had, or is none.
    """
    given = settings.get("openapi")
    if given in (None, "") or (_is_kept(given) and not anew):
        return settings
    url = given.strip() if isinstance(given, str) else ""
    if anew and isinstance(given, Mapping) and _is_kept(given):
        url = str(given.get("url") or "")
        if not url:
            raise refuse_document("The document was given whole, and is not kept: give it again.")
    if url.startswith(("https://", "http://")) and not any(each.isspace() for each in url):
        text = await _fetch(url, allow)
    else:
        url, text = "", await asyncio.to_thread(_text_of, given)
    return {**settings, "openapi": {"url": url, _READ: await readers.read(text, fetched_from=url)}}


def clean_document(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The other settings, with what the document says of its address and of signing in; and the document's own.

    Raises ``InvalidInput``.
    """
    rest = {name: value for name, value in settings.items() if name not in ("openapi", "operations")}
    given = settings.get("openapi")
    if given in (None, ""):
        if settings.get("operations"):
            raise _fault("operations", "They are picked of an OpenAPI document: give one as openapi.")
        return rest, {}
    picks = _read_picks(settings.get("operations"))
    if _is_kept(given):
        kept = {key: bounded_text(given[key], 2_048) for key in _KEPT if given.get(key)}
        return rest, {"openapi": kept, **picks}
    url, document = _read(given)
    about = {"url": url, "title": document.title, "version": document.version, "digest": document.digest}
    if not rest.get("base_url"):
        rest["base_url"] = document.base_url
        if not document.base_url:
            raise _fault("base_url", "The document names no address of the API: give it here.")
    if not rest.get("auth") and any(rest.get(name) for name in SECRETS):
        named = next((each for each in (sign_in.settings() for sign_in in document.sign_ins) if each), {})
        rest = {**named, **{name: value for name, value in rest.items() if value not in (None, "")}}
    return rest, {
        "openapi": {**{key: value for key, value in about.items() if value}, _READ: document},
        **picks,
    }


def keep_document(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are stored: with what the document was, without it."""
    about = settings.get("openapi")
    if not isinstance(about, Mapping) or _READ not in about:
        return dict(settings)
    return {**settings, "openapi": {key: value for key, value in about.items() if key != _READ}}


def offer_document(settings: Mapping[str, Any]) -> list[Offered]:
    """The tools that the document's operations make: those that are picked, and that the source may call.

    Raises ``InvalidInput``: ``document_missing`` where settings hold only what the document was.
    """
    document = settings["openapi"].get(_READ)
    if not isinstance(document, ImportedDocument):
        raise InvalidInput(
            "The OpenAPI document of this data source is not kept. Fetch it again, or give it again.",
            code="document_missing",
        )
    picks = settings.get("operations")
    picked = pick_operations(document.operations, picks)
    tools = [each.tool for each in picked if each.tool is not None]
    if not settings.get("allow_writes"):
        writing = [tool for tool in tools if tool.operation.definition["method"] not in READS]
        if writing and picks and not any(str(pick).lower().startswith("tag:") for pick in picks):
            message = f"{writing[0].name} writes, and this source allows no writes: set allow_writes, or leave it out."
            raise _fault("operations", message)
        tools = [tool for tool in tools if tool.operation.definition["method"] in READS]
    if not tools:
        reasons = [each.problem for each in document.operations if each.problem]
        message = "No operation of the document becomes a tool" + (
            f": {reasons[0]}"
            if reasons
            else ": there is none, or all of them write. For those, set allow_writes."
        )
        raise _fault("openapi", message)
    return tools


async def _fetch(url: str, allow: AllowAddress) -> list[bytes]:
    """The document, in pieces: to put megabytes together keeps the loop for 10 ms and more."""
    client = OutboundClient(allow=allow, max_connections=1)
    try:
        async with client.stream(
            "GET", url, headers=_ACCEPT, seconds=FETCH_SECONDS, most_bytes=MAX_JSON_BYTES
        ) as answer:
            pieces = [piece async for piece in answer.pieces]
    except OutboundRefused as refused:
        raise refuse_document(f"The document was not fetched: {refused}.") from None
    finally:
        await client.close()
    if 300 <= answer.status < 400:
        raise refuse_document("Another address has the document: the server leads there. Give that address.")
    if answer.status != 200:
        raise refuse_document(
            f"The document was not fetched: the server answered with status {answer.status}."
        )
    return pieces


def _read(given: Any) -> tuple[str, ImportedDocument]:
    if isinstance(given, Mapping) and isinstance(given.get(_READ), ImportedDocument):
        return str(given["url"]), given[_READ]
    return "", import_document(b"".join(_text_of(given)))


def _text_of(given: Any) -> list[bytes]:
    """A document that was given whole, in pieces. Raises ``InvalidInput`` for what is none."""
    if isinstance(given, Mapping):
        try:
            return list(write_pieces(given))
        except TypeError:
            raise refuse_document(
                "The document holds a number of more than 64 bits, or half a character."
            ) from None
    if not isinstance(given, str):
        raise refuse_document("Give the address of an OpenAPI document, or the document.")
    if urlsplit(given[:200].strip()).scheme.lower() in ("http", "https") and "\n" not in given.strip():
        raise refuse_document("The address of the document cannot be read.")
    return [given.encode("utf-8", "surrogatepass")]


def _is_kept(given: Any) -> bool:
    return isinstance(given, Mapping) and "digest" in given and not given.keys() - set(_KEPT)


def _read_picks(given: Any) -> dict[str, list[str]]:
    if given in (None, [], ""):
        return {}
    if not isinstance(given, list) or len(given) > MAX_PICKS:
        raise _fault(
            "operations", f"Give a list of at most {MAX_PICKS}: operationIds, GET /path, or tag:name."
        )
    for index, each in enumerate(given):
        if not isinstance(each, str) or not 0 < len(each) <= 2_048:
            raise _fault(f"operations.{index}", "Give an operationId, GET /path, or tag:name.")
    return {"operations": list(given)}


def _fault(path: str, message: str) -> InvalidInput:
    return InvalidInput(message, errors=[{"path": path, "message": message}])
