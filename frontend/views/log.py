"""Pages of the log: search with filters in the URL, one record with all its fields, a hint of new ones."""

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
from frontend.pages import fragment, page, wants_fragment
from frontend.views.log_checks import read_checks
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.audit.query import OUTCOME_FILTERS
from tenants.roles import Action
from tenants.services.keys import list_keys
from tenants.services.log import LogPage, get_record, list_calls_within, search_records
from tenants.services.oauth_apps import list_connections

PAGE: Final = 50

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
    "stream.created",
    "stream.changed",
    "stream.paused",
    "stream.resumed",
    "stream.tested",
    "stream.redelivered",
    "stream.deleted",
    "export.delivered",
    "export.undelivered",
    "export.redelivered",
    "schedule.created",
    "schedule.changed",
    "schedule.deleted",
)
"""What the kind filter suggests; any other kind can be typed."""

_LABELS: Final = {
    "tool": "Tool",
    "outcome": "Outcome",
    "kind": "Kind",
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
                caller=caller, before_seq=_number(request.GET.get("before")), limit=PAGE, **asdict(query)
            )
    except InvalidInput as refusal:
        query, error = LogQuery(), refusal
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
    after = _number(request.GET.get("after")) or 0
    try:
        found = search_records(caller=caller, limit=PAGE, **asdict(read_query(request.GET)))
    except InvalidInput:
        found = LogPage([], None)
    count = sum(record.seq > after for record in found.records)
    context: dict[str, Any] = {"count": count, "more": count == PAGE, "after": after}
    return fragment(request, caller, "log_news.html", context)


@require_safe
@tenant_page(Action.AUDIT_READ)
def record(request: HttpRequest, caller: Caller, seq: int) -> HttpResponse:
    """Every field of one record: in the drawer, or as a page of its own."""
    found = get_record(seq, caller=caller)
    context = {"record": found, "calls": list_calls_within(found, caller=caller)}
    if wants_fragment(request):
        return fragment(request, caller, "record.html", context)
    return page(request, caller, "record.html", "log", context)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


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
