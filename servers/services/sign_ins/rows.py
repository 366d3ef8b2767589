"""Sign-ins as rows: opened for use, renewed by one process at a time, and lost with a reason. Asks no server.

What is opened is in memory only: never logged, never shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import orjson
from django.db.models import Q
from django.utils import timezone

from core.crypto import Sealer, SealError
from servers.execution.authorizing.challenges import joined
from servers.execution.authorizing.clients import Client
from servers.execution.authorizing.grants import Tokens
from servers.execution.contract import Source
from servers.execution.signing_in import CLIENT_SECRET
from servers.execution.unanswered import host_of
from servers.models import DataSource, UpstreamClient, UpstreamSignIn
from servers.services.changes import publish_change
from servers.services.quarantine import HEALTH_FIELDS, put_health
from servers.services.sign_ins.addresses import source_page
from tenants.access import marina_of
from tenants.models import Tenant
from tenants.scoping import tenant_scope
from tenants.services.counting import Counter, count
from tenants.services.recording import record_change

LEASE_SECONDS: Final = 60
"""For how long nobody else tries to renew what somebody renews."""
MAX_MISSING: Final = 30
"""Of scopes that are noted, or named for one call."""
NOTED_SECONDS: Final = 60
_LAST: Final = 253_402_300_800
"""The end of the year 9999. Servers say what they like."""
_MAX_REASON: Final = 500
_UNREADABLE: Final = "The stored sign-in does not open with this master key. Sign in again."


@dataclass(frozen=True, slots=True)
class Kept:
    """A sign-in ready for use. ``renewed_at`` in seconds since the epoch; ``reason``: why it cannot be used."""

    id: UUID
    tenant_id: int
    source_id: UUID
    member: int | None
    number: int
    issuer: str
    resource: str
    token_endpoint: str
    revocation_endpoint: str
    renewed_at: float
    reason: str
    tokens: Tokens = field(repr=False)
    client: Client = field(repr=False)

    def due(self, now: float) -> bool:
        """Whether it is to be renewed: a little before it ends, as a request takes a while to arrive."""
        if not self.tokens.expires_at:
            return False
        lifetime = self.tokens.expires_at - self.renewed_at
        return now >= self.tokens.expires_at - min(60.0, lifetime / 10)

    def over(self, now: float) -> bool:
        """Whether its token has ended."""
        return bool(self.tokens.expires_at) and now >= self.tokens.expires_at


@dataclass(frozen=True, slots=True)
class Missing:
    """That there is no sign-in that could be used, in words, and the page where that can be changed."""

    message: str
    page: str


def read_kept(source: Source, url: str, member: int | None, sealer: Sealer) -> Kept | Missing:
    """The sign-in of a source for the server at ``url``, and for no other."""
    with tenant_scope(source.tenant_id):
        row = find_row(source.id, member)
        if row is not None and row.url == url and row.state == UpstreamSignIn.State.READY:
            kept = opened(row, sealer, source.settings.get(CLIENT_SECRET, ""))
            if not kept.reason:
                return kept
            return Missing(kept.reason, _page_of(source.tenant_id, source.id))
        page = _page_of(source.tenant_id, source.id)
        saved = row is not None or DataSource.objects.filter(pk=source.id).exists()
    host = host_of(url)
    if not saved:
        return Missing(
            f"People sign in to {host} by a browser: save the data source, then sign in on its page.", ""
        )
    if row is not None and row.url == url:
        return Missing(row.reason, page)
    who = "Nobody has signed in to" if member is None else "You have not signed in to"
    each = "" if member is None else ", which wants a sign-in of each member"
    return Missing(f"{who} {host} yet, for the data source {source.name}{each}.", page)


def find_row(source_id: UUID, member: int | None) -> UpstreamSignIn | None:
    """The sign-in of a source with its client, in the scope that is open: the member's, or with ``None`` the team's."""
    whose = Q(member__isnull=True) if member is None else Q(member_id=member)
    return UpstreamSignIn.objects.select_related("client").filter(whose, source_id=source_id).first()


def opened(row: UpstreamSignIn, sealer: Sealer, entered: str) -> Kept:
    """A row with its tokens and its client. Where they do not open, they are empty, and ``reason`` says so.

    ``entered`` is the client secret in the source's settings now.
    """
    reason, held, secret = row.reason, {"access": "", "refresh": ""}, ""
    try:
        held = orjson.loads(sealer.open(bytes(row.sealed), context=row.seal_context))
        secret = opened_secret(row.client, sealer, entered)
    except SealError:
        reason = _UNREADABLE
    tokens = Tokens(held["access"], held["refresh"], _epoch(row.expires_at), tuple(row.granted))
    return Kept(
        id=row.id,
        tenant_id=row.tenant_id,
        source_id=row.source_id,
        member=row.member_id,
        number=row.number,
        issuer=row.issuer,
        resource=row.resource,
        token_endpoint=row.token_endpoint,
        revocation_endpoint=row.revocation_endpoint,
        renewed_at=_epoch(row.renewed_at),
        reason=reason,
        tokens=tokens,
        client=as_client(row.client, secret),
    )


def as_client(row: UpstreamClient, secret: str) -> Client:
    """A stored client with its secret."""
    return Client(row.issuer, row.how, row.client_id, secret, row.method, _epoch(row.expires_at))  # type: ignore[arg-type]  # as they were stored


def opened_secret(row: UpstreamClient, sealer: Sealer, entered: str = "") -> str:
    """A client's secret; empty where it has none. Raises ``SealError``.

    That of an entered client is the one in the settings (``entered``), which may have changed since it was stored.
    """
    if row.how == "entered":
        return entered
    return "" if row.sealed is None else sealer.open(bytes(row.sealed), context=row.seal_context).decode()


def put_tokens(row: UpstreamSignIn, tokens: Tokens, sealer: Sealer) -> None:
    """Give a row other tokens. It is to be saved afterwards."""
    held = {"access": tokens.access, "refresh": tokens.refresh}
    row.sealed = sealer.seal(orjson.dumps(held), context=row.seal_context)
    row.granted = list(tokens.scopes)
    row.expires_at = moment(tokens.expires_at)
    row.renewed_at = timezone.now()


def claim(kept: Kept, lease: UUID) -> bool:
    """Be the one that renews it; nobody else is for a while. It is no transaction that is held meanwhile."""
    now = timezone.now()
    with tenant_scope(kept.tenant_id):
        return (
            UpstreamSignIn.objects.filter(
                Q(leased_until__isnull=True) | Q(leased_until__lt=now),
                pk=kept.id,
                number=kept.number,
                state=UpstreamSignIn.State.READY,
            ).update(lease=lease, leased_until=now + timedelta(seconds=LEASE_SECONDS))
            == 1
        )


def release(kept: Kept, lease: UUID) -> None:
    """Let others try: it was not renewed, and nothing is known against it."""
    with tenant_scope(kept.tenant_id):
        UpstreamSignIn.objects.filter(pk=kept.id, lease=lease).update(lease=None, leased_until=None)


def store_renewed(kept: Kept, lease: UUID, tokens: Tokens, sealer: Sealer) -> Kept | None:
    """Store what took the place of its tokens; ``None``: it was ended, or signed in anew, meanwhile."""
    with tenant_scope(kept.tenant_id):
        rows = UpstreamSignIn.objects.select_for_update(of=("self",)).select_related("client")
        row = rows.filter(pk=kept.id, number=kept.number, lease=lease).first()
        if row is None:
            return None
        put_tokens(row, tokens, sealer)
        row.number += 1
        row.lease = row.leased_until = None
        row.save()
    return opened(row, sealer, kept.client.secret)


def lose(kept: Kept, reason: str, *, unknown_client: bool = False) -> None:
    """It cannot be used any more: note why, for the team's pages and its log. Where it is another by now, it stays.

    ``unknown_client``: Marina is not known there any more.
    """
    with tenant_scope(kept.tenant_id):
        lost = UpstreamSignIn.objects.filter(
            pk=kept.id, number=kept.number, state=UpstreamSignIn.State.READY
        ).update(
            state=UpstreamSignIn.State.NEEDED,
            reason=reason[:_MAX_REASON],
            lease=None,
            leased_until=None,
        )
        if lost and unknown_client:
            forget_client(UpstreamSignIn.objects.values_list("client_id", flat=True).get(pk=kept.id))
        if lost:
            _note(kept, reason, {"issuer": kept.issuer})


def forget_client(client: UUID) -> None:
    """Have Marina registered anew for the next sign-in, in the tenant's scope. Those that stand on this one go on."""
    UpstreamClient.objects.filter(pk=client, how="registered").update(expires_at=timezone.now())


def note_missing(kept: Kept, scopes: tuple[str, ...], reason: str) -> None:
    """The server wants more scopes than it has: note them for the next sign-in. What it allows goes on.

    A server may say what it likes, with each call: the team's log hears what is new, once a minute.
    """
    with tenant_scope(kept.tenant_id):
        row = UpstreamSignIn.objects.select_for_update().filter(pk=kept.id, number=kept.number).first()
        if row is None or row.missing == (missing := list(joined(row.missing, scopes))[:MAX_MISSING]):
            return
        row.missing = missing
        row.save(update_fields=["missing"])
        if not count([Counter("scopes-missing", (str(kept.source_id),), 1)], seconds=NOTED_SECONDS):
            _note(kept, reason, {"issuer": kept.issuer, "missing": row.missing})


def wanting(tenant_id: int) -> dict[UUID, tuple[str, ...]]:
    """The scopes that the team's sign-ins lack, by source, of those that lack any."""
    with tenant_scope(tenant_id):
        rows = UpstreamSignIn.objects.filter(member__isnull=True).exclude(missing=[])
        return {source: tuple(missing) for source, missing in rows.values_list("source_id", "missing")}


def _page_of(tenant_id: int, source_id: UUID) -> str:
    """The address of the source's page. Tenants have no scope of their own."""
    slug = Tenant.objects.values_list("slug", flat=True).get(pk=tenant_id)
    return source_page(slug, source_id)


def moment(epoch: float) -> datetime | None:
    """The time that is meant; ``None`` for none, or for one that there is not."""
    return datetime.fromtimestamp(epoch, UTC) if 0 < epoch < _LAST else None


def _note(kept: Kept, reason: str, more: dict[str, object]) -> None:
    source = DataSource.objects.select_for_update().filter(pk=kept.source_id).first()
    if source is None:
        return
    if kept.member is None:
        show_needed(source, reason)
    after = {"id": str(source.pk), "name": source.name, "for": "team" if kept.member is None else "member"}
    publish_change(kept.tenant_id)
    record_change(
        "source.sign_in_needed", caller=marina_of(kept.tenant_id), after={**after, **more, "reason": reason}
    )


def show_needed(source: DataSource, reason: str) -> None:
    """Have a source's pages say that somebody has to sign in."""
    put_health(source, DataSource.HealthState.NEEDS_SIGN_IN, reason)
    source.save(update_fields=HEALTH_FIELDS)


def _epoch(at: datetime | None) -> float:
    return 0 if at is None else at.timestamp()
