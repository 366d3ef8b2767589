"""What may be chosen of a stream, checked and put into its row. Fetches nothing; what it reads of secrets it seals
again.

A receiver's address may hold a secret in its query, as its headers may: both are sealed, and of neither anything is
shown but that it is there. Where an address would send them to another host, they have to be given again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from core.crypto import SealError
from core.errors import Conflict, InvalidInput
from core.faults import Faults
from core.outbound_http import OutboundRefused, read_target
from core.outbound_tls import check_authorities
from core.sealing import sealer
from tenants.audit.query import UNKNOWN, clean_filters
from tenants.models import LogStream
from tenants.services.inputs import clean_text, faults_below, matching, one_of, refuse, whole_number
from tenants.streams import otlp
from tenants.streams.syslog import ENDS, EXAMPLE_ID, SD_ID

HIDDEN_QUERY: Final = "?…"
"""What is shown of an address behind its path; given back so, it stays what it is."""

MAX_URL: Final = 1000
MAX_HEADERS: Final = 10
MAX_HEADER: Final = 2000
MAX_AUTHORITIES: Final = 20_000
SYSLOG_PORT: Final = 6514
"""RFC 5425, section 4.1."""

_HTTP: Final = (LogStream.Kind.WEBHOOK.value, LogStream.Kind.OTLP.value)
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:.]{2,45}"
_OURS: Final = re.compile(r"(?i)webhook-.*|host|content-.*|accept-encoding")

FIELDS_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = {
    LogStream.Kind.WEBHOOK.value: ("url", "headers"),
    LogStream.Kind.OTLP.value: ("url", "headers"),
    LogStream.Kind.SYSLOG.value: ("host", "port", "server_name", "authorities", "sd_id", "ends"),
}


def put_settings(row: LogStream, given: Mapping[str, Any]) -> None:
    """Put what is given into the row, checked. Raises ``InvalidInput`` with all that is wrong."""
    faults = Faults()
    if "name" in given:
        with faults.gathered():
            row.name = clean_text(given["name"], "name", longest=80)
    if "filters" in given:
        with faults.gathered():
            row.filters = _clean_filters(given["filters"])
    known = FIELDS_OF_KIND[row.kind]
    for names in FIELDS_OF_KIND.values():
        for name in names:
            if name in given and name not in known:
                faults.add(name, f"is nothing that a stream of the kind {row.kind} has.")
    if row.kind in _HTTP:
        _put_http(row, given, faults)
    else:
        _put_syslog(row, given, faults)
    faults.require_none()


def shown_url(row: LogStream) -> str:
    """The address as it is shown: without its query."""
    url: str = row.settings.get("url", "")
    return url + (HIDDEN_QUERY if row.settings.get("has_query") else "")


def shown(row: LogStream) -> dict[str, Any]:
    """What the log keeps of a stream: all but its secrets; certificates by the SHA-256 of their text."""
    settings = shown_settings(row)
    if settings.get("authorities"):
        settings["authorities"] = f"sha256:{hashlib.sha256(settings['authorities'].encode()).hexdigest()}"
    return {
        "id": str(row.pk),
        "name": row.name,
        "kind": row.kind,
        **settings,
        "filters": row.filters,
        "enabled": row.enabled,
    }


def shown_settings(row: LogStream) -> dict[str, Any]:
    """The settings of a stream's kind, without its secrets."""
    if row.kind in _HTTP:
        return {"url": shown_url(row), "headers": list(row.settings.get("headers", ()))}
    return {name: row.settings[name] for name in FIELDS_OF_KIND[row.kind]}


def address_of(row: LogStream) -> tuple[str, str, int]:
    """What a stream connects to: ``http``, ``https`` or ``tls``, host and port."""
    if row.kind in _HTTP:
        return read_target(row.settings["url"])
    return "tls", row.settings["host"], row.settings["port"]


def open_secrets(row: LogStream) -> dict[str, Any]:
    """The secrets in clear. Raises ``Conflict`` where they do not open."""
    if not row.sealed:
        return {}
    try:
        opened: dict[str, Any] = orjson.loads(sealer().open(bytes(row.sealed), context=row.seal_context))
    except SealError:
        raise Conflict(
            "The secrets of this stream do not open with this installation's key. Tell an operator, or make another "
            "stream.",
            code="secrets_sealed",
        ) from None
    return opened


def seal_secrets(row: LogStream, secrets: Mapping[str, Any]) -> None:
    """Put secrets into the row."""
    row.sealed = sealer().seal(orjson.dumps(dict(secrets)), context=row.seal_context)


def _put_http(row: LogStream, given: Mapping[str, Any], faults: Faults) -> None:
    secrets = open_secrets(row)
    before, settings = dict(row.settings), dict(row.settings)
    query_kept = True
    if "url" in given or not before:
        with faults.gathered():
            url, query, query_kept = _clean_url(given.get("url", ""), row)
            settings["url"] = url
            if not query_kept:
                secrets["query"], settings["has_query"] = query, bool(query)
    headers = given.get("headers")
    if headers is not None:
        with faults.gathered():
            secrets["headers"] = _clean_headers(headers)
            settings["headers"] = sorted(secrets["headers"])
    if before and _origin(before["url"]) != _origin(settings["url"]):
        # Or who may change an address could have the secrets sent to themselves.
        if headers is None and before.get("headers"):
            faults.add("headers", "must be given again for another host: the old one's are not sent there.")
        if query_kept and before.get("has_query"):
            faults.add("url", "must be entered with its query for another host.")
    row.settings = settings
    if secrets:
        seal_secrets(row, secrets)


def _clean_url(value: object, row: LogStream) -> tuple[str, str, bool]:
    text = clean_text(value, "url", longest=MAX_URL)
    kept = text.endswith(HIDDEN_QUERY)
    if kept:
        text = text.removesuffix(HIDDEN_QUERY)
        if not row.settings.get("has_query"):
            refuse("url", "ends in ?…, which stands for a query that is not stored. Enter the whole address.")
    url, mark, query = text.partition("?")
    try:
        scheme, _, _ = read_target(text)
    except OutboundRefused as refused:
        refuse(
            "url",
            f"is no address that Marina sends to: {refused}. Enter one like https://siem.example.com/in.",
        )
    if row.kind == LogStream.Kind.OTLP and urlsplit(url).path in {"", "/"}:
        url = url.rstrip("/") + otlp.PATH
    return scheme + url[len(scheme) :], mark + query, kept


def _clean_headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > MAX_HEADERS:
        refuse("headers", f"must be at most {MAX_HEADERS} names, each with its value.")
    cleaned = {}
    for name, content in value.items():
        if not isinstance(content, str) or not content or len(content) > MAX_HEADER:
            refuse(
                "headers", f"the value of {str(name)[:80]!r} must be text of at most {MAX_HEADER} characters."
            )
        if _OURS.fullmatch(str(name)):
            refuse("headers", f"{str(name)[:80]!r} is set by Marina. Leave it out.")
        cleaned[str(name).lower()] = content
    try:
        read_target("https://example.com/", cleaned)
    except OutboundRefused:
        refuse(
            "headers",
            "hold a name or a value that no header may have, or one that belongs to the connection.",
        )
    return cleaned


def _put_syslog(row: LogStream, given: Mapping[str, Any], faults: Faults) -> None:
    settings = dict(row.settings) or {
        "host": "",
        "port": SYSLOG_PORT,
        "server_name": "",
        "authorities": "",
        "sd_id": EXAMPLE_ID,
        "ends": ENDS[0],
    }
    for name, clean in _CLEAN_SYSLOG.items():
        if name in given:
            with faults.gathered():
                settings[name] = clean(given[name], name)
    if not settings["host"]:
        faults.add("host", "must not be empty.")
    row.settings = settings


def _clean_host(value: object, path: str) -> str:
    return matching(value, path, _HOST, "must be the name or the address of a host, like logs.example.com.")


def _clean_server_name(value: object, path: str) -> str:
    return "" if value == "" else _clean_host(value, path)


def _clean_port(value: object, path: str) -> int:
    return whole_number(value, path, low=1, high=65_535)


def _clean_authorities(value: object, path: str) -> str:
    text = clean_text(value, path, longest=MAX_AUTHORITIES, empty=True, lines=True)
    if text:
        try:
            check_authorities(text)
        except ValueError as fault:
            refuse(path, f"cannot be used: {fault}. Paste it with its BEGIN and END lines.")
    return text


def _clean_sd_id(value: object, path: str) -> str:
    return matching(
        value, path, SD_ID.pattern, 'is 1 to 32 visible characters without = ] ", like marina@32473.'
    )


def _clean_ends(value: object, path: str) -> str:
    return one_of(value, path, ENDS)


_CLEAN_SYSLOG: Final = {
    "host": _clean_host,
    "port": _clean_port,
    "server_name": _clean_server_name,
    "authorities": _clean_authorities,
    "sd_id": _clean_sd_id,
    "ends": _clean_ends,
}


def _clean_filters(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        refuse("filters", "must be an object.")
    with faults_below("filters"):
        filters = clean_filters(value)
    if filters.outcome == UNKNOWN:
        message = (
            "of a stream cannot be unknown: whether an outcome comes is not known when the intent leaves."
        )
        raise InvalidInput(
            f"filters.outcome: {message}", errors=[{"path": "filters.outcome", "message": message}]
        )
    return filters.to_json()


def _origin(url: str) -> tuple[str, str, int]:
    return read_target(url)
