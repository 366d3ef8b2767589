"""How clients become known to a team: by registering (RFC 7591) or by a document at their own address (CIMD).

Anyone may register, so it is limited by address and by team, and ends after a day unless a member consented. What a
client says of itself is shown as what it is: nobody has checked it.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from core.clientaddress import address_block
from core.errors import InvalidInput, RateLimited
from core.fetching import Document
from core.strictjson import BadJson, read_object
from core.webaddress import climbs, read_https, split_address
from tenants.access import Caller
from tenants.models import OAuthClient
from tenants.models_oauth import MAX_CLIENT_ID, digest_of
from tenants.scoping import tenant_scope
from tenants.services import counting
from tenants.services.inputs import clean_text, name_taken
from tenants.services.oauth_parameters import OAuthFault
from tenants.services.recording import record_change

UNUSED_HOURS: Final = 24
MAX_UNUSED: Final = 200
"""Registrations of one team that wait for a consent."""

MAX_UNUSED_OF_ADDRESS: Final = 20
"""Of one address block. Beyond either bound the oldest makes room, so that strangers shut nobody out."""

REGISTRATIONS: Final = (20, 3600)
"""So many in so many seconds from one address block at one team."""

FETCHES: Final = (20, 60)
"""Documents that one member's browser may have fetched, so many in so many seconds."""

MAX_REDIRECT_URIS: Final = 10
MAX_REDIRECT_URI: Final = 500
MAX_DOCUMENT_BYTES: Final = 16 * 1024
FETCH_SECONDS: Final = 5.0
LEAST_AGE: Final = 300
MOST_AGE: Final = 86_400

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
_GRANTS: Final = ["authorization_code", "refresh_token"]
_MAX_AGE: Final = re.compile(r"max-age\s*=\s*\"?(\d{1,9})")
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]|[\"'<>\\^`{|}*]")


@dataclass(frozen=True, slots=True)
class _Described:
    """What a client says of itself, checked."""

    name: str
    redirect_uris: tuple[str, ...]
    method: str
    application_type: str


def register_client(body: bytes, *, address: str, tenant_id: int, tenant_slug: str) -> dict[str, Any]:
    """Register a client of a team (RFC 7591 section 3). Raises ``OAuthFault`` and ``RateLimited``."""
    described = _describe(_read_object(body), default_method="client_secret_basic")
    too_many = "Too many clients were registered from your address."
    block = address_block(address)
    _claim(REGISTRATIONS, too_many, "register", tenant_slug, block)
    secret = "" if described.method == "none" else secrets.token_urlsafe(32)
    now = timezone.now()
    caller = Caller(tenant_id=tenant_id, tenant_slug=tenant_slug, actor=f"anonymous ({address})")
    with tenant_scope(tenant_id):
        _make_room(block, now)
        row = OAuthClient.objects.create(
            client_id=secrets.token_urlsafe(24),
            client_secret=digest_of(secret) if secret else "",
            client_type=OAuthClient.CLIENT_CONFIDENTIAL if secret else OAuthClient.CLIENT_PUBLIC,
            authorization_grant_type=OAuthClient.GRANT_AUTHORIZATION_CODE,
            registration_source=OAuthClient.RegistrationSource.DCR,
            name=described.name,
            redirect_uris=" ".join(described.redirect_uris),
            registered_from=block,
            expires_at=now + timedelta(hours=UNUSED_HOURS),
        )
        record_change("oauth.client_registered", caller=caller, after=shown_client(row))
    told = {
        "client_id": row.client_id,
        "client_id_issued_at": int(now.timestamp()),
        "client_name": described.name,
        "redirect_uris": list(described.redirect_uris),
        "grant_types": _GRANTS,
        "response_types": ["code"],
        "token_endpoint_auth_method": described.method,
        "application_type": described.application_type,
    }
    return {**told, "client_secret": secret, "client_secret_expires_at": 0} if secret else told


def _make_room(block: str, now: datetime) -> None:
    """Delete registrations that have ended, and of those that wait the ones that are too many.

    Of an address block that has its share, the oldest goes. Of a team that has no more room, the oldest of the block
    that has the most: whoever registers many clients pushes out their own.
    """
    ended = OAuthClient.objects.filter(expires_at__lte=now).select_for_update(skip_locked=True)
    OAuthClient.objects.filter(pk__in=list(ended.values_list("pk", flat=True))).delete()
    waiting = OAuthClient.objects.filter(expires_at__gt=now).order_by("created")
    of_blocks = Counter(waiting.values_list("registered_from", flat=True))
    if of_blocks[block] >= MAX_UNUSED_OF_ADDRESS:
        _drop_first(waiting.filter(registered_from=block))
    elif of_blocks.total() >= MAX_UNUSED:
        _drop_first(waiting.filter(registered_from=of_blocks.most_common(1)[0][0]))


def _drop_first(rows: QuerySet[OAuthClient]) -> None:
    """Delete the first of the rows that nobody is just letting in."""
    row = rows.select_for_update(skip_locked=True).first()
    if row is not None:
        row.delete()


def is_document_address(client_id: str) -> bool:
    """Whether a client's id is the address of the document that describes it."""
    return client_id[:8].lower() == "https://"


def document_to_fetch(client_id: str, *, caller: Caller) -> bool:
    """Whether the client's document has to be fetched, for it is not known or too old.

    Counts the fetch. Raises ``OAuthFault`` for an address that may name none, and ``RateLimited``.
    """
    _check_address(client_id)
    with tenant_scope(caller.tenant_id):
        row = OAuthClient.objects.filter(client_id=client_id).first()
    if row is not None and row.cimd_expires_at is not None and timezone.now() < row.cimd_expires_at:
        return False
    _claim(FETCHES, "Too many clients were looked up.", "cimd", caller.tenant_slug, str(caller.user_id))
    return True


def take_document(client_id: str, document: Document, *, caller: Caller) -> None:
    """Note what a client's document says of it. Raises ``OAuthFault`` where it does not say it soundly."""
    if not (document.content_type == "application/json" or document.content_type.endswith("+json")):
        raise _bad("The client's document is not JSON.")
    found = _read_object(document.body)
    if found.get("client_id") != client_id:
        raise _bad("The client's document names another client_id than its own address.")
    if "client_secret" in found:
        raise _bad("The client's document holds a secret, which everybody can read.")
    described = _describe(found, default_method="none")
    if described.method != "none":
        raise _bad(
            "A client described by a document authenticates with token_endpoint_auth_method none here."
        )
    uris = " ".join(described.redirect_uris)
    stale_at = timezone.now() + timedelta(seconds=_age(document.cache_control))
    with tenant_scope(caller.tenant_id):
        row = OAuthClient.objects.select_for_update(no_key=True).filter(client_id=client_id).first()
        if row is not None:
            before = shown_client(row)
            row.name, row.redirect_uris, row.cimd_expires_at = described.name, uris, stale_at
            row.save(update_fields=["name", "redirect_uris", "cimd_expires_at"])
            if before != shown_client(row):
                record_change("oauth.client_changed", caller=caller, before=before, after=shown_client(row))
            return
        with name_taken(
            "tenants_oauthclient_id_unique", "This client has just become known. Reload the page."
        ):
            row = OAuthClient.objects.create(
                client_id=client_id,
                client_type=OAuthClient.CLIENT_PUBLIC,
                authorization_grant_type=OAuthClient.GRANT_AUTHORIZATION_CODE,
                registration_source=OAuthClient.RegistrationSource.CIMD,
                name=described.name,
                redirect_uris=uris,
                cimd_expires_at=stale_at,
            )
        record_change("oauth.client_registered", caller=caller, after=shown_client(row))


def check_redirect_uri(uri: object) -> str:
    """``uri`` where a client may have browsers sent there. Raises ``OAuthFault``.

    https, http to the member's own machine, or a program there by a URL scheme of its own (RFC 8252 section 7.1): one
    that the operator lets through, or one made of a domain's name. No other scheme, ``javascript:`` least of all.
    """
    if not isinstance(uri, str) or len(uri) > MAX_REDIRECT_URI or _UNSAFE.search(uri):
        raise _bad_uri(f"Each redirect URI is text of at most {MAX_REDIRECT_URI} plain characters.")
    try:
        parts = split_address(uri)
    except ValueError:
        raise _bad_uri("A redirect URI is not an address.") from None
    if "#" in uri or "@" in parts.netloc:
        raise _bad_uri("A redirect URI holds no fragment and no user name.")
    if not (parts.hostname or "." in parts.scheme) or climbs(parts):
        raise _bad_uri("A redirect URI names a host, and no . or .. in its path.")
    if not (
        parts.scheme == "https"
        or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        or leads_to_program(uri)
    ):
        raise _bad_uri(
            "A redirect URI is https, http to localhost, 127.0.0.1 or [::1], or has a program's own URL scheme that "
            "this installation lets through (MARINA_REDIRECT_SCHEMES), such as cursor or com.example.app."
        )
    return uri


def leads_to_program(redirect_uri: str) -> bool:
    """Whether a redirect URI opens a program on the member's own machine by its URL scheme."""
    scheme = urlsplit(redirect_uri).scheme
    return "." in scheme or scheme in settings.ENV.redirect_schemes


def stays_here(redirect_uri: str) -> bool:
    """Whether a redirect URI leads to the member's own machine."""
    return urlsplit(redirect_uri).hostname in LOOPBACK or leads_to_program(redirect_uri)


def shown_target(redirect_uri: str) -> str:
    """Where a redirect URI leads, as people read it: a host, or a program's scheme with what follows it."""
    parts = urlsplit(redirect_uri)
    if leads_to_program(redirect_uri):
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"
    return parts.netloc


def shown_client(row: OAuthClient) -> dict[str, Any]:
    """What the log keeps of a client."""
    return {
        "id": str(row.id),
        "name": row.shown_name,
        "client_id": row.client_id,
        "redirect_uris": row.redirect_uris.split(),
        "scopes": list(row.scopes),
        "source": str(row.registration_source),
    }


def _describe(found: Mapping[str, Any], *, default_method: str) -> _Described:
    uris = found.get("redirect_uris")
    if not isinstance(uris, list) or not 1 <= len(uris) <= MAX_REDIRECT_URIS:
        raise _bad_uri(f"Send redirect_uris: a list of 1 to {MAX_REDIRECT_URIS}.")
    checked = tuple(dict.fromkeys(check_redirect_uri(uri) for uri in uris))
    kind = found.get("application_type")
    if kind not in {None, "native", "web"}:
        raise _bad("The application_type is native or web.")
    method = found.get("token_endpoint_auth_method") or default_method
    if method not in METHODS:
        raise _bad(f"The token_endpoint_auth_method is one of {', '.join(METHODS)}.")
    _require_one_of(found, "grant_types", "authorization_code", _GRANTS)
    _require_one_of(found, "response_types", "code", ["code"])
    try:
        name = clean_text(found.get("client_name") or "", "client_name", longest=80, empty=True)
    except InvalidInput as error:
        raise _bad(error.message) from None
    # Programs say that they are web applications, Cursor among them; the server may put it right (RFC 7591 section 2).
    on_the_web = all(urlsplit(uri).scheme == "https" for uri in checked)
    return _Described(name or _host_of(checked), checked, method, (kind or "web") if on_the_web else "native")


def _host_of(uris: Sequence[str]) -> str:
    return f"A client at {shown_target(uris[0])}"[:80]


def _require_one_of(found: Mapping[str, Any], field: str, needed: str, known: list[str]) -> None:
    given = found.get(field, [needed])
    if not isinstance(given, list) or needed not in given:
        raise _bad(f"The {field} have to hold {needed}; offered are {', '.join(known)}.")


def _check_address(client_id: str) -> None:
    try:
        parts = read_https(client_id, longest=MAX_CLIENT_ID)
    except ValueError as fault:
        raise _unknown_client(str(fault)) from None
    if _UNSAFE.search(client_id):
        raise _unknown_client("it holds characters that an address may not")
    if parts.path in {"", "/"}:
        raise _unknown_client("it names no document")


def _read_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_DOCUMENT_BYTES:
        raise _bad(f"A client's metadata is at most {MAX_DOCUMENT_BYTES} bytes.")
    try:
        return read_object(body)
    except BadJson:
        raise _bad("A client's metadata is a JSON object.") from None


def _age(cache_control: str) -> int:
    """Seconds that a document is believed: as it says itself, within bounds."""
    said = cache_control.lower()
    if "no-store" in said or "no-cache" in said:
        return LEAST_AGE
    found = _MAX_AGE.search(said)
    return MOST_AGE if found is None else max(LEAST_AGE, min(int(found[1]), MOST_AGE))


def _claim(limit: tuple[int, int], words: str, kind: str, *names: str) -> None:
    """Count one more. Raises ``RateLimited``. Without Redis nothing is counted; the team's own bound still holds."""
    most, seconds = limit
    if wait := counting.count([counting.Counter(f"oauth:{kind}", names, most)], seconds=seconds):
        raise RateLimited(f"{words} Try again in {wait} seconds.", retry_after=wait, rule="oauth:rate")


def _bad(words: str) -> OAuthFault:
    return OAuthFault("invalid_client_metadata", words)


def _bad_uri(words: str) -> OAuthFault:
    return OAuthFault("invalid_redirect_uri", words)


def _unknown_client(why: str) -> OAuthFault:
    return OAuthFault("invalid_client", f"The client's id is not the address of a document: {why}.")
