"""Pages of the log: search with filters in the URL, a hint of new records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_safe

from core.errors import InvalidInput
from frontend.access import tenant_page
from frontend.numbers import RECORD_DIGITS, read_number
from frontend.pages import fragment, page
from frontend.views.log_checks import read_checks
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.audit.query import OUTCOME_FILTERS
from tenants.roles import Action
from tenants.services.keys import list_keys
from tenants.services.log import LogPage, search_records
from tenants.services.members import list_members
from tenants.services.oauth_apps import list_connections

PAGE: Final = 50

SEARCHED: Final = "searched"
"""Session key: the filters of the last search of an auditor's."""

KINDS: Final = (
    "tools/call",
    "resources/read",
    "prompts/get",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "prompts/list",
    "completion/complete",
    "auth",
    "request",
    "rate",
    "rest",
    "page",
    "session.signed_in",
    "session.second_step",
    "session.refused",
    "password.changed",
    "factor.added",
    "factor.removed",
    "factor.renewed",
    "factor.copied",
    "key.created",
    "key.changed",
    "key.rolled",
    "key.revoked",
    "oauth",
    "oauth.client_registered",
    "oauth.client_changed",
    "oauth.client_created",
    "oauth.client_revoked",
    "oauth.consented",
    "oauth.denied",
    "oauth.token_issued",
    "oauth.token_refreshed",
    "oauth.revoked",
    "issuer.trusted",
    "issuer.changed",
    "issuer.tested",
    "issuer.removed",
    "sso.provider_added",
    "sso.provider_changed",
    "sso.provider_tested",
    "sso.provider_removed",
    "sso.requirement_changed",
    "sso.identity_added",
    "sso.identity_removed",
    "secret.created",
    "secret.replaced",
    "secret.renewed",
    "secret.lost",
    "secret.deleted",
    "configuration.applied",
    "source.created",
    "source.changed",
    "source.tested",
    "source.tried",
    "source.refreshed",
    "source.quarantined",
    "source.released",
    "source.signed_in",
    "source.sign_in_failed",
    "source.sign_in_needed",
    "source.signed_out",
    "source.overridden",
    "source.deleted",
    "tool.created",
    "tool.changed",
    "tool.draft_saved",
    "tool.draft_discarded",
    "tool.published",
    "tool.rolled_back",
    "tool.enabled",
    "tool.disabled",
    "tool.deleted",
    "tool.running_changed",
    "tool.cache_changed",
    "tool.cache_cleared",
    "task.cancelled",
    "resource.created",
    "resource.changed",
    "resource.deleted",
    "resource.enabled",
    "resource.disabled",
    "prompt.created",
    "prompt.changed",
    "prompt.deleted",
    "prompt.enabled",
    "prompt.disabled",
    "server.created",
    "server.changed",
    "server.version_served",
    "server.version_ended",
    "server.published",
    "server.unpublished",
    "server.deleted",
    "member.added",
    "member.changed",
    "member.removed",
    "member.left",
    "member.expired",
    "ownership.transferred",
    "invitation.created",
    "invitation.resent",
    "invitation.withdrawn",
    "invitation.accepted",
    "invitation",
    "tenant.created",
    "tenant.changed",
    "operator.entered",
    "export.created",
    "export.cancelled",
    "export.linked",
    "export.downloaded",
    "log.verified",
    "log.pruned",
    "retention.changed",
    "hold.placed",
    "hold.lifted",
    "log.searched",
    "record.opened",
    "record.revealed",
    "record.confirmed",
    "stream.created",
    "stream.changed",
    "stream.paused",
    "stream.resumed",
    "stream.tested",
    "stream.redelivered",
    "stream.skipped",
    "stream.deleted",
    "export.delivered",
    "export.undelivered",
    "export.redelivered",
    "toolschedule.created",
    "toolschedule.changed",
    "toolschedule.deleted",
    "toolschedule.paused",
    "toolschedule.run",
    "schedule.created",
    "schedule.changed",
    "schedule.deleted",
)
"""What the kind filter suggests; any other kind can be typed."""

_LABELS: Final = {
    "tool": "Tool",
    "outcome": "Outcome",
    "kind": "Kind",
    "member": "Member",
    "credential_id": "Credential",
    "text": "Contains",
    "from": "From",
    "to": "Until",
}


@dataclass(frozen=True, slots=True)
class LogQuery:
    """The filters of a log page as its URL has them. ``from_at`` and ``to_at`` are read as UTC."""

    tool: str = ""
    outcome: str = ""
    kind: str = ""
    member: str = ""
    credential_id: str = ""
    text: str = ""
    from_at: datetime | None = None
    to_at: datetime | None = None

    @property
    def is_set(self) -> bool:
        """Whether anything is filtered."""
        return self != LogQuery()


def read_query(given: QueryDict) -> LogQuery:
    """The filters in a URL. Raises ``InvalidInput`` for a time that cannot be read, and for times swapped."""
    query = LogQuery(
        tool=given.get("tool", "").strip(),
        outcome=given.get("outcome", ""),
        kind=given.get("kind", "").strip(),
        member=given.get("member", "").strip(),
        credential_id=given.get("credential", ""),
        text=given.get("q", "").strip(),
        from_at=_moment(given.get("from", ""), "from"),
        to_at=_moment(given.get("to", ""), "to"),
    )
    if query.from_at and query.to_at and query.from_at > query.to_at:
        message = "It lies after Until. Swap the two."
        raise InvalidInput(f"from: {message}", errors=[{"path": "from", "message": message}])
    return query


@contextmanager
def labelled_faults() -> Iterator[None]:
    """Name the faulty filter of an ``InvalidInput`` from inside by its label on the page."""
    try:
        yield
    except InvalidInput as error:
        if not error.errors:
            raise
        words = " ".join(f"{_LABELS.get(f['path'], f['path'])}: {f['message']}" for f in error.errors)
        raise InvalidInput(words, errors=error.errors, code=error.code, data=error.data) from None


def filter_choices(caller: Caller) -> dict[str, Any]:
    """What the filters offer to choose from, as far as the caller may see it."""
    return {
        "outcomes": OUTCOME_FILTERS,
        "kinds": KINDS,
        "tools": [tool.name for tool in list_tools(caller=caller)] if caller.may(Action.TOOLS_READ) else [],
        "members": [member.user.email for member in list_members(caller=caller)]
        if caller.may(Action.MEMBERS_READ)
        else [],
        "keys": list_keys(caller=caller) if caller.may(Action.KEYS_READ) else [],
        "apps": list_connections(caller=caller) if caller.may(Action.KEYS_READ) else [],
    }


@require_safe
@tenant_page(Action.AUDIT_READ)
def log(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The newest records that match, and how to go to older ones."""
    found, error = LogPage([], None), None
    try:
        with labelled_faults():
            query = read_query(request.GET)
            found = search_records(
                caller=caller,
                before_seq=read_number(request.GET.get("before"), digits=RECORD_DIGITS),
                limit=PAGE,
                **asdict(query),
            )
    except InvalidInput as refusal:
        query, error = LogQuery(), refusal
    if caller.auditing:
        request.session[SEARCHED] = _told(query)
    context = {
        "found": found,
        "filtered": query.is_set or error is not None,
        "error": error,
        "newest": found.records[0].seq if found.records and "before" not in request.GET else 0,
        **filter_choices(caller),
        "given": request.GET,
        "checks": read_checks(caller),
    }
    return page(request, caller, "log.html", "log", context, status=200 if error is None else 400)


@require_safe
@tenant_page(Action.AUDIT_READ)
def log_news(request: HttpRequest, caller: Caller) -> HttpResponse:
    """How many matching records are newer than ``after``."""
    after = read_number(request.GET.get("after"), digits=RECORD_DIGITS) or 0
    try:
        query = read_query(request.GET)
        # Whoever asks here for something else than their page shows searches, too.
        repeated = request.session.get(SEARCHED) == _told(query)
        found = search_records(
            caller=caller, after_seq=after, limit=PAGE, noted=not repeated, **asdict(query)
        )
    except InvalidInput:
        found = LogPage([], None)
    count = len(found.records)
    context: dict[str, Any] = {"count": count, "more": count == PAGE, "after": after}
    return fragment(request, caller, "log_news.html", context)


def _told(query: LogQuery) -> list[str]:
    return [str(value) for value in asdict(query).values()]


def _moment(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        message = "It must be a date and time like 2026-11-20T09:30."
        raise InvalidInput(f"{name}: {message}", errors=[{"path": name, "message": message}])
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
