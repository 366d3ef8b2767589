"""The two teams that the check holds against each other: made once, furnished, and given new credentials each time.

They own nothing that works: their data source points to an address that nobody has (RFC 5737).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings

from config.isolation.holdings import Holdings, begun_in_session, hold, let_go
from core.sealing import sealer
from frontend.sessions import name_person
from servers.models import (
    DataSource,
    Prompt,
    Resource,
    Secret,
    ServedVersion,
    Server,
    Task,
    Tool,
    ToolSchedule,
)
from servers.services.named_secrets import create_secret
from servers.services.onboarding import found_tenant
from servers.services.principals import identity_of
from servers.services.served_versions import serve_version
from servers.services.servers import create_server
from servers.services.sources import create_source
from servers.services.tasks.line import leave_line
from servers.services.tasks.payload import Answers, Work
from servers.services.tasks.plans import Long
from servers.services.tasks.rows import create_task
from servers.services.tools import create_tool
from tenants.access import Caller, caller_of_member
from tenants.models import (
    AuditExport,
    AuditHead,
    AuditVerification,
    ExportSchedule,
    IdentityProvider,
    Invitation,
    LegalHold,
    LogStream,
    Membership,
    OAuthAuthorization,
    OAuthClient,
    ProviderIdentity,
    StreamDelivery,
    Tenant,
    TrustedIssuer,
    User,
)
from tenants.oauth_steps import Kind, Step, sealed
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import create_schedule
from tenants.services.exports import start_export
from tenants.services.keys import issue_key, revoke_key
from tenants.services.members import add_member
from tenants.services.oauth_steps import Noted, keep_steps
from tenants.services.retention import place_hold
from tenants.services.verifications import start_verification

PAIR: Final = "isolation-check"
"""What the slugs of the two teams begin with, where nothing else is said."""

SOURCE: Final = "isolation-source"

_DOMAIN: Final = "isolation-check.invalid"


@dataclass(frozen=True, slots=True)
class CheckedTeam:
    """A team, somebody's session and an admin key of it, and its things' ids by what routes call them."""

    slug: str
    key: str = field(repr=False)
    session: str = field(repr=False)
    names: Mapping[str, str]
    """What this team alone has, as MCP names it: a ``server``, a ``tool``, a ``prompt``, and a ``resource``'s URI. And
    its ``provider``."""
    ids: Mapping[str, str]
    held: Holdings
    marks: tuple[str, ...]
    """Texts that stand in what is this team's and in nothing else, and that the other one never says."""


def slugs_of(pair: str = PAIR) -> tuple[str, str]:
    """The asking team's slug and the other one's."""
    return f"{pair}-asking", f"{pair}-other"


@contextmanager
def checked_teams(pair: str = PAIR) -> Iterator[tuple[CheckedTeam, CheckedTeam]]:
    """The asking team and the other one. Their credentials end with the block.

    What once got across a hole stands in these teams' logs for good and is found again: take another ``pair`` then.
    """
    made = [_prepare(slug) for slug in slugs_of(pair)]
    try:
        asking, other = (team for team, _ in made)
        yield asking, other
    finally:
        for team, caller in made:
            _engine().SessionStore(team.session).delete()
            revoke_key(UUID(team.ids["key"]), caller=caller)
            with tenant_scope(caller.tenant_id):
                let_go(team.held)


def _prepare(slug: str) -> tuple[CheckedTeam, Caller]:
    owner = _user(f"owner@{slug}.{_DOMAIN}")
    word = hashlib.sha256(slug.encode()).hexdigest()[:20]
    tenant = Tenant.objects.filter(slug=slug).first() or found_tenant(
        slug, f"Isolation check {word}", owner.pk
    )
    caller = caller_of_member(owner.pk, owner.email, slug)
    member = _user(f"member@{slug}.{_DOMAIN}")
    names = {
        "server": f"server-of-{slug}",
        "tool": f"tool-of-{slug}",
        "prompt": f"prompt-of-{slug}",
        "resource": f"isolation://{slug}/resource",
        "provider": word,
    }
    with tenant_scope(tenant.pk):
        if not Membership.objects.filter(user=member).exists():
            add_member(member.email, Role.VIEWER.value, caller=caller)
        if not DataSource.objects.filter(name=SOURCE).exists():
            dsn = f"postgresql://reader:{secrets.token_urlsafe(24)}@192.0.2.1/{slug}"
            create_source(SOURCE, "postgres", {"dsn": dsn}, caller=caller)
        source = DataSource.objects.get(name=SOURCE)
        if not Server.objects.filter(slug=names["server"]).exists():
            create_server(names["server"], f"Isolation check {word}", "private", [SOURCE], caller=caller)
        if not Tool.objects.filter(name=names["tool"]).exists():
            definition = {"sql": "SELECT 1 AS one", "parameters": {}, "description": word}
            create_tool(names["tool"], SOURCE, "sql", definition, caller=caller)
        if not ServedVersion.objects.exists():
            served_on = Server.objects.get(slug=names["server"])
            serve_version(served_on.pk, names["tool"], 1, "pin", caller=caller)
        uri = names["resource"]
        resource = Resource.objects.filter(uri=uri).first() or Resource.objects.create(
            uri=uri, source=source, name=word, kind="none"
        )
        prompt = Prompt.objects.filter(name=names["prompt"]).first() or Prompt.objects.create(
            name=names["prompt"], source=source, title=word, kind="none"
        )
        export = AuditExport.objects.first() or start_export(
            "jsonl", None, datetime.now(UTC), {}, caller=caller
        )
        task = Task.objects.first() or make_ended_task(caller, names["server"], names["tool"])
        tool_schedule = ToolSchedule.objects.first() or make_paused_schedule(
            caller, names["server"], names["tool"]
        )
        schedule = ExportSchedule.objects.first() or create_schedule(
            # Switched off: nothing is to leave.
            {
                "name": f"schedule-of-{slug}",
                "bucket": "isolation-check",
                "access_key": "none",
                "secret_key": secrets.token_urlsafe(24),
                "enabled": False,
            },
            caller=caller,
        )
        kept = LegalHold.objects.first() or place_hold(word, caller=caller)
        verification = AuditVerification.objects.first() or start_verification(caller=caller)
        issued = issue_key("isolation check", ["admin"], expires_in_days=1, caller=caller)
        # Made by hand: nobody is to get a letter.
        invitation = Invitation.objects.first() or Invitation.objects.create(
            email=f"guest@{slug}.{_DOMAIN}",
            role=Role.VIEWER.value,
            digest=secrets.token_bytes(32),
            expires_at=datetime.now(UTC),
        )
        client = OAuthClient.objects.filter(
            client_id=f"client-of-{slug}"
        ).first() or OAuthClient.objects.create(
            client_id=f"client-of-{slug}",
            client_type=OAuthClient.CLIENT_PUBLIC,
            authorization_grant_type=OAuthClient.GRANT_AUTHORIZATION_CODE,
            redirect_uris=f"https://{slug}.{_DOMAIN}/callback",
        )
        connection = OAuthAuthorization.objects.filter(
            server=names["server"]
        ).first() or OAuthAuthorization.objects.create(
            client=client,
            user=owner,
            server=names["server"],
            resource=names["server"],
            scopes=["tools:read"],
            expires_at=datetime.now(UTC),
        )
        issuer = TrustedIssuer.objects.first() or TrustedIssuer.objects.create(
            name=f"of-{slug}", issuer=f"https://{slug}.{_DOMAIN}", enabled=False
        )
        secret = Secret.objects.filter(name=word).first() or create_secret(
            word, value=secrets.token_urlsafe(24), caller=caller
        )
        step = sealed(
            Step(Kind.ISSUER_METADATA, time.time(), ok=True, status=200, agent=word, address="192.0.2.1")
        )
        keep_steps([Noted(tenant.pk, step)])
        provider = IdentityProvider.objects.first() or IdentityProvider.objects.create(
            name=word, issuer=f"https://id.{slug}.{_DOMAIN}", client_id=slug, domains=[f"{slug}.{_DOMAIN}"]
        )
        identity = ProviderIdentity.objects.first() or ProviderIdentity.objects.create(
            provider=provider, user=member, subject=word
        )
        stream = LogStream.objects.first() or LogStream.objects.create(
            name=word,
            kind=LogStream.Kind.WEBHOOK,
            settings={"url": f"https://{slug}.{_DOMAIN}/"},
            cursor=0,
            enabled=False,
        )
        delivery = StreamDelivery.objects.filter(stream=stream).first() or StreamDelivery.objects.create(
            stream=stream, number=1, cause=StreamDelivery.Cause.TEST, taken=False
        )
        held = hold(slug, owner, client)
        begun = begun_in_session(slug, held, owner, provider)
        tool = Tool.objects.get(name=names["tool"])
        server = Server.objects.get(slug=names["server"])
        served = ServedVersion.objects.all()[0]
        membership = Membership.objects.get(user=member)
        seq = AuditHead.objects.values_list("seq", flat=True).get()
    ids = {
        "tenant": slug,
        "member": membership.pk,
        "membership": membership.pk,
        "invitation": invitation.pk,
        "client": client.pk,
        "connection": connection.pk,
        "timeline": step.id,
        "provider": provider.pk,
        "identity": identity.pk,
        "key": issued.row.pk,
        "issuer": issuer.pk,
        "secret": secret.pk,
        "seq": seq,
        "export": export.pk,
        "task": task.pk,
        "stream": stream.pk,
        "delivery": delivery.pk,
        "schedule": schedule.pk,
        "tool_schedule": tool_schedule.pk,
        "verification": verification.pk,
        "hold": kept.pk,
        "source": source.pk,
        "tool": tool.pk,
        "resource": resource.pk,
        "prompt": prompt.pk,
        "server": server.pk,
        "served": served.pk,
    }
    texts = {name: str(value) for name, value in ids.items()}
    unmistakable = [
        value for name, value in texts.items() if name not in {"member", "membership", "seq", "tenant"}
    ]
    team = CheckedTeam(
        slug=slug,
        key=issued.key,
        session=_sign_in(owner, begun),
        names=names,
        ids=texts,
        held=held,
        marks=(*unmistakable, invitation.email, owner.email, member.email, word),
    )
    return team, caller


def make_ended_task(caller: Caller, server: str, tool: str) -> Task:
    """A task of the caller's that has ended and never ran. In the scope of their team."""
    work = Work(
        caller=caller,
        server=server,
        tool=tool,
        version=1,
        arguments={},
        client="",
        request_id="",
        trace=None,
        capabilities={},
        log_level=None,
    )
    task = create_task(
        work,
        task_id=uuid4(),
        principal=identity_of(caller),
        long=Long(seconds=30.0),
        intent_seq=1,
        answers=Answers(),
    )
    # Before anybody sees it in the line: this is one transaction.
    leave_line([task.pk])
    Task.objects.filter(pk=task.pk).update(status=Task.Status.CANCELLED, finished_at=task.created_at)
    return task


def make_paused_schedule(caller: Caller, server: str, tool: str) -> ToolSchedule:
    """A schedule of the caller's that is not due. In the scope of their team."""
    row = ToolSchedule(
        tenant_id=caller.tenant_id,
        name="isolation check",
        server=server,
        tool=tool,
        cron="0 0 1 1 *",
        zone="UTC",
        enabled=False,
        user_id=caller.user_id,
        credential_id=caller.credential_id,
        actor=caller.actor,
        next_at=datetime.now(UTC),
    )
    row.sealed = sealer().seal(b"{}", context=row.seal_context)
    row.save(force_insert=True)
    return row


def _engine() -> Any:
    return import_module(settings.SESSION_ENGINE)


def _user(email: str) -> User:
    return User.objects.filter(email=email).first() or User.objects.create_user(email)


def _sign_in(user: User, begun: Mapping[str, Any]) -> str:
    """A session of this person, as signing in makes one, that has ``begun`` this and that."""
    store = _engine().SessionStore()
    store.update(begun)
    name_person(store, user)
    store.set_expiry(3600)
    store.create()
    return str(store.session_key)
