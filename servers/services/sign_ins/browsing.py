"""Signing in to what a data source stands on, by a browser: the way there, the way back, the state, and the end.

For the whole team, or each member for themselves, as the source says. No transaction is open while a server is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from core.crypto import SealError
from core.errors import Conflict, Forbidden, MarinaError, SourceError
from core.loop import run_async
from core.outbound import AddressRule
from core.sealing import sealer
from servers.execution.authorizing.asking import Asker
from servers.execution.authorizing.challenges import joined
from servers.execution.authorizing.clients import Client, make_known
from servers.execution.authorizing.discovery import Found, discover
from servers.execution.authorizing.faults import UNKNOWN_CLIENT
from servers.execution.authorizing.grants import begin_visit, read_return, redeem_code, revoke
from servers.execution.contract import Backend, SignInWanted
from servers.execution.unanswered import host_of
from servers.models import DataSource, UpstreamClient, UpstreamSignIn
from servers.services.kinds import backend_of
from servers.services.on_source import find_source
from servers.services.sealed import open_source
from servers.services.sign_ins.addresses import callback_url, document_url, source_page
from servers.services.sign_ins.rows import (
    Kept,
    as_client,
    find_row,
    forget_client,
    moment,
    opened,
    opened_secret,
    put_tokens,
    show_needed,
)
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.recording import record_change

WHOLE_SECONDS: Final = 25.0
REVOKE_SECONDS: Final = 10.0
"""For all that one change ends: whoever made it waits."""
REVOKED_AT_ONCE: Final = 8

ELSEWHERE: Final = "sign_in_elsewhere"
"""The code of a sign-in that has to be agreed to first: its browser is sent to another host than that of its issuer."""

_ON_THEIR_WAY: Final = timedelta(hours=1)

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a browser goes, the ``state`` that it comes back with, and what its session keeps until then."""

    url: str
    state: str
    kept: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignInState:
    """How somebody stands with a source. ``by`` is who signs in: ``nobody`` where its settings say how Marina does.

    ``state``: ``none``, ``ready`` or ``needed``.

    ``host`` is that of the server; ``page`` where to sign in, which the caller may or not.
    """

    by: Literal["nobody", "team", "member"] = "nobody"
    host: str = ""
    page: str = ""
    may_sign_in: bool = False
    state: str = "none"
    reason: str = ""
    issuer: str = ""
    client: str = ""
    scopes: Sequence[str] = ()
    missing: Sequence[str] = ()
    signed_in_by: str = ""
    signed_in_at: datetime | None = None
    expires_at: datetime | None = None


def find_sign_in(source_id: UUID, *, caller: Caller) -> SignInState:
    """How the team, or the caller, is signed in to a source. Raises ``NotFound``."""
    caller.require(Action.SOURCES_READ)
    with tenant_scope(caller.tenant_id):
        source = find_source(source_id)
        wanted = wanted_of(source)
        if wanted is None:
            return SignInState()
        row = _row(source, wanted, caller)
    page = source_page(caller.tenant_slug, source.id)
    action = Action.TOOLS_CALL if wanted.each_member else Action.SOURCES_CHANGE
    may = caller.may(action) and caller.user_id is not None
    state = SignInState("member" if wanted.each_member else "team", host_of(wanted.url), page, may)
    if row is None or row.url != wanted.url:
        return state
    return replace(
        state,
        state=row.state,
        reason=row.reason,
        issuer=row.issuer,
        client=row.client.how,
        scopes=row.granted,
        missing=row.missing,
        signed_in_by=row.signed_in_by,
        signed_in_at=row.signed_in_at,
        expires_at=row.expires_at,
    )


def begin_sign_in(source_id: UUID, *, caller: Caller, agreed: str = "") -> Begun:
    """Begin: find who signs people in, be known there, and say where the browser goes.

    ``agreed``: the ``agreed`` of a ``Conflict`` whose code is ``ELSEWHERE``, from whoever read it and wants to go on.
    Raises ``NotFound``, ``Forbidden``, ``Conflict`` also where nobody signs in to this source, and ``SourceError``.
    """
    caller.require(Action.SOURCES_READ)
    with tenant_scope(caller.tenant_id):
        source = find_source(source_id)
        wanted = _require_wanted(source, caller)
        row = _row(source, wanted, caller)
        opened_settings = open_source(source, sealer()).settings
        # By what nobody came back, perhaps nobody can: it may be unknown there by now.
        used = UpstreamSignIn.objects.filter(source=source).values("client_id")
        old = UpstreamClient.objects.filter(source=source, created_at__lt=timezone.now() - _ON_THEIR_WAY)
        old.exclude(pk__in=used).delete()
        known = {
            each.issuer: each for each in UpstreamClient.objects.filter(source=source).order_by("created_at")
        }
    backend = backend_of(source.kind)
    found = _within(_find(backend, opened_settings, wanted))
    _require_agreed(found, wanted, agreed)
    client_id = _client(found, wanted, source, known.get(found.server.issuer), caller)
    with tenant_scope(caller.tenant_id):
        stored = UpstreamClient.objects.get(pk=client_id)
        client = as_client(stored, "")
    # What it had is asked for again together with what is missing (2026-07-28, "Step-Up Authorization Flow").
    before = row if row is not None and (row.url, row.issuer) == (wanted.url, found.server.issuer) else None
    had = () if before is None else joined(before.asked, before.missing)
    scopes = joined(had, wanted.scopes or found.asked)
    visit = begin_visit(found, client, callback_url(), scopes)
    kept = {
        "source": str(source.id),
        "team": caller.tenant_slug,
        "person": caller.user_id,
        "each_member": wanted.each_member,
        "url": wanted.url,
        "client": str(client_id),
        "issuer": found.server.issuer,
        "names_issuer": found.server.names_issuer,
        "token_endpoint": found.server.token,
        "revocation_endpoint": found.server.revocation,
        "resource": found.resource,
        "asked": list(scopes),
        "verifier": visit.verifier,
    }
    return Begun(visit.url, visit.state, kept)


def finish_sign_in(kept: Mapping[str, Any], parameters: Mapping[str, str], *, caller: Caller) -> DataSource:
    """Take what the browser came back with: redeem the code, and keep the tokens, sealed. Gives the source.

    ``kept`` is what the same browser's session kept, and is taken out of it. Raises ``NotFound``, ``Forbidden``,
    ``Conflict`` and ``SourceError``, whose reason the log has.
    """
    with tenant_scope(caller.tenant_id):
        source = find_source(UUID(kept["source"]))
        wanted = _require_wanted(source, caller)
        if (wanted.url, wanted.each_member, caller.user_id) != (
            kept["url"],
            kept["each_member"],
            kept["person"],
        ):
            raise _changed()
        stored = UpstreamClient.objects.filter(
            pk=kept["client"], source=source, issuer=kept["issuer"]
        ).first()
        if stored is None:
            raise _changed()
        client = as_client(stored, opened_secret(stored, sealer(), wanted.client_secret))
    try:
        code = read_return(parameters, issuer=kept["issuer"], names_issuer=kept["names_issuer"])
        tokens = _within(
            redeem_code(
                _asker(),
                kept["token_endpoint"],
                client,
                code=code,
                verifier=kept["verifier"],
                redirect_uri=stored.redirect_uri,
                resource=kept["resource"],
            )
        )
    except SourceError as fault:
        with tenant_scope(caller.tenant_id):
            if fault.data.get("error") == UNKNOWN_CLIENT:
                forget_client(stored.pk)
            after = {**_shown(source, wanted), "issuer": kept["issuer"], "reason": fault.message}
            record_change("source.sign_in_failed", caller=caller, after=after)
        raise
    with tenant_scope(caller.tenant_id):
        source = find_source(source.id, lock=True)
        if wanted_of(source) != wanted or not UpstreamClient.objects.filter(pk=stored.pk).exists():
            raise _changed()
        former = _row(source, wanted, caller)
        ended = []
        if former is not None:
            as_whom = (former.signed_in_by, former.issuer, former.client.client_id)
            if as_whom != (caller.actor, stored.issuer, stored.client_id):
                # Of one account at one client, many servers end everything by one token: what was just given, too.
                ended.append(opened(former, sealer(), wanted.client_secret))
            former.delete()
        # A row of its own, by which everybody who holds something of the former one's tells that it is over.
        row = UpstreamSignIn(
            tenant_id=caller.tenant_id,
            source=source,
            member_id=caller.user_id if wanted.each_member else None,
            client=stored,
            url=wanted.url,
            state=UpstreamSignIn.State.READY,
        )
        row.issuer, row.resource, row.asked = kept["issuer"], kept["resource"], kept["asked"]
        row.token_endpoint, row.revocation_endpoint = kept["token_endpoint"], kept["revocation_endpoint"]
        row.signed_in_by, row.signed_in_at = caller.actor, timezone.now()
        put_tokens(row, tokens, sealer())
        row.granted = row.granted or list(kept["asked"])
        row.save(force_insert=True)
        after = {**_shown(source, wanted), "issuer": row.issuer, "client": stored.how, "scopes": row.granted}
        record_change("source.signed_in", caller=caller, after=after)
    give_back(ended)
    return source


def sign_out(source_id: UUID, *, caller: Caller) -> bool:
    """End the team's sign-in to a source, or the caller's own. Whether the authorization server took the token back.

    Raises ``NotFound``, ``Forbidden``, and ``Conflict`` where there is none.
    """
    caller.require(Action.SOURCES_READ)
    with tenant_scope(caller.tenant_id):
        source = find_source(source_id, lock=True)
        wanted = _require_wanted(source, caller)
        row = _row(source, wanted, caller)
        if row is None:
            raise Conflict("Nobody is signed in.", code="sign_in_unknown")
        ended = opened(row, sealer(), wanted.client_secret)
        row.delete()
        forget_client(row.client_id)
        if not wanted.each_member:
            show_needed(source, f"Nobody is signed in to {host_of(wanted.url)} any more.")
        record_change(
            "source.signed_out", caller=caller, before={**_shown(source, wanted), "issuer": row.issuer}
        )
    return give_back([ended]) == 1


def take_sign_ins(source: DataSource, wanted: SignInWanted | None) -> list[Kept]:
    """End all sign-ins of a source, in the scope that is open. They are to be given back once that has ended.

    ``wanted`` is what its settings said when they were made.
    """
    entered = "" if wanted is None else wanted.client_secret
    rows = list(UpstreamSignIn.objects.filter(source=source).select_related("client"))
    ended = [opened(row, sealer(), entered) for row in rows]
    UpstreamSignIn.objects.filter(source=source).delete()
    UpstreamClient.objects.filter(source=source).delete()
    return ended


def give_back(ended: Sequence[Kept]) -> int:
    """Have authorization servers take back what was ended here, where they do that (RFC 7009). How many did."""
    offered = [each for each in ended if each.revocation_endpoint and each.tokens.access]
    try:
        done = run_async(_revoke_all(offered), timeout=REVOKE_SECONDS) if offered else 0
    except TimeoutError:
        done = 0
    if done < len(offered):
        _log.info("tokens were not taken back", extra={"ended": len(offered), "taken_back": done})
    return done


def wanted_of(source: DataSource) -> SignInWanted | None:
    """What people sign in to before a stored source can be used, in the tenant's scope; ``None``: nothing."""
    try:
        return backend_of(source.kind).sign_in_wanted(open_source(source, sealer()).settings)
    except (MarinaError, SealError):
        return None


async def _revoke_all(ended: Sequence[Kept]) -> int:
    turns = asyncio.Semaphore(REVOKED_AT_ONCE)

    async def one(each: Kept) -> bool:
        async with turns:
            try:
                await revoke(_asker(), each.revocation_endpoint, each.client, each.tokens)
            except SourceError:
                return False
            return True

    return sum(await asyncio.gather(*(one(each) for each in ended)))


async def _find(backend: Backend, given: Mapping[str, Any], wanted: SignInWanted) -> Found:
    return await discover(_asker(), wanted.url, await backend.challenge(given))


def _require_agreed(found: Found, wanted: SignInWanted, agreed: str) -> None:
    server = found.server
    meant = f"{server.issuer} {server.authorization} {server.token}"
    if not server.sends_elsewhere or agreed == meant:
        return
    hosts = {"authorization": host_of(server.authorization), "issuer": host_of(server.issuer)}
    taker = host_of(server.token)
    raise Conflict(
        f"{hosts['issuer']}, which says that it signs people in for {host_of(wanted.url)}, sends browsers to another "
        f"host: {hosts['authorization']}. What somebody allows there goes to {taker}. Go on, on the page of the data "
        "source, only if you know that these hosts belong together.",
        code=ELSEWHERE,
        data={**hosts, "token": taker, "agreed": meant},
    )


def _client(
    found: Found, wanted: SignInWanted, source: DataSource, known: UpstreamClient | None, caller: Caller
) -> UUID:
    """The client by which Marina is known to the authorization server, stored: the one there is, or a new one."""
    redirect = callback_url()
    if not wanted.client_id and known is not None and _still_good(known, redirect):
        return known.pk
    client = _within(
        make_known(
            _asker(),
            found.server,
            entered=(wanted.client_id, wanted.client_secret, wanted.issuer),
            document=document_url(),
            redirect_uri=redirect,
        )
    )
    return _store_client(client, source, redirect, caller)


def _store_client(client: Client, source: DataSource, redirect: str, caller: Caller) -> UUID:
    with tenant_scope(caller.tenant_id):
        row = UpstreamClient(
            tenant_id=caller.tenant_id,
            source=find_source(source.id, lock=True),
            issuer=client.issuer,
            how=client.how,
            client_id=client.id,
            method=client.method,
            redirect_uri=redirect,
            expires_at=moment(client.expires_at),
        )
        row.sealed = (
            sealer().seal(client.secret.encode(), context=row.seal_context) if client.secret else None
        )
        row.save(force_insert=True)
    return row.pk


def _still_good(known: UpstreamClient, redirect: str) -> bool:
    if known.how == "entered" or known.redirect_uri != redirect:
        return False
    if known.how == "document":
        return known.client_id == document_url()
    with contextlib.suppress(SealError):
        opened_secret(known, sealer())
        return known.expires_at is None or known.expires_at > timezone.now()
    return False


def _changed() -> Conflict:
    return Conflict(
        "The data source was changed while you were signing in. Sign in again.", code="version_moved"
    )


def _require_wanted(source: DataSource, caller: Caller) -> SignInWanted:
    wanted = wanted_of(source)
    if wanted is None:
        raise Conflict(
            f"Nobody signs in to the data source {source.name}: its settings say how Marina does.",
            code="sign_in_unknown",
        )
    if not wanted.each_member:
        caller.require(Action.SOURCES_CHANGE)
        return wanted
    caller.require(Action.TOOLS_CALL)
    if caller.user_id is None:
        raise Forbidden(
            f"To the data source {source.name} each member signs in for themselves, and a key is nobody.",
            rule="sign_in:member",
            code="sign_in_of_members",
        )
    return wanted


def _row(source: DataSource, wanted: SignInWanted, caller: Caller) -> UpstreamSignIn | None:
    if not wanted.each_member:
        return find_row(source.id, None)
    return None if caller.user_id is None else find_row(source.id, caller.user_id)


def _asker() -> Asker:
    return Asker(AddressRule(settings.ENV.outbound_allow).allows)


def _within(work: Coroutine[Any, Any, T]) -> T:
    try:
        return run_async(work, timeout=WHOLE_SECONDS)
    except TimeoutError:
        raise SourceError(
            f"Signing in could not be begun within {WHOLE_SECONDS:g} s. Try again.",
            code="source_timeout",
            retryable=True,
        ) from None


def _shown(source: DataSource, wanted: SignInWanted) -> dict[str, Any]:
    return {"id": str(source.id), "name": source.name, "for": "member" if wanted.each_member else "team"}
