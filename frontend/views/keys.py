"""Pages of API keys: list, issue (the key is shown once), restrict, roll, revoke."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.access import note_refusal, tenant_page
from frontend.confirm import confirmed
from frontend.forms.people import KeyForm, NetworksForm, RollForm
from frontend.pages import form_status, fragment, page, wants_fragment
from frontend.sessions import visitor_address
from servers.services.servers import list_servers
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.keyrights import bound_of, reduced_scopes, standing_of, successor_of
from tenants.models import ApiKey
from tenants.roles import SCOPE_ACTIONS, SCOPES, Action
from tenants.services.keys import get_key, issue_key, list_keys, restrict_key, revoke_key, roll_key

_SHOWN_SCOPES = (
    "tools:read",
    "tools:execute",
    "resources:read",
    "prompts:read",
    "tasks:manage",
    "audit:read",
    "admin",
)
"""The scopes that the picker offers, in this order."""


UNKNOWN_MAKER = "not known"
TEAM_ITSELF = "the team itself"


@require_safe
@tenant_page(Action.KEYS_READ)
def key_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every key, with expired and revoked ones greyed."""
    now = timezone.now()
    rows = [
        (key, _state(key, now), _maker(key), bool(reduced_scopes(key)), successor_of(key))
        for key in list_keys(caller=caller)
    ]
    return page(request, caller, "keys.html", "keys", {"rows": rows})


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.KEYS_CHANGE)
def key_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a new key and, once it is issued, the only sight of it. In a dialog, or as a page."""
    allowed = [
        scope for scope in _SHOWN_SCOPES if all(caller.may(action) for action in SCOPE_ACTIONS.get(scope, ()))
    ]
    tools = [tool.name for tool in list_tools(caller=caller)] if caller.may(Action.TOOLS_READ) else []
    servers = [row.slug for row in list_servers(caller=caller)] if caller.may(Action.SERVERS_READ) else []
    form = KeyForm(
        request.POST or None,
        scopes=allowed,
        tools=tools,
        servers=servers,
        address=visitor_address(request),
        initial={"scopes": ["tools:read", "tools:execute"]},
    )
    if request.method == "POST" and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            data = form.cleaned_data
            mode = data["mode"] or ApiKey.Mode.LIVE
            issued = issue_key(
                data["name"], form.all_scopes(), data["expiry"], mode, data["networks"], caller=caller
            )
            return _show(request, caller, "key_issued.html", {"issued": issued})
    context = {"form": form, "scope_words": SCOPES, "narrowable": bool(tools or len(servers) > 1)}
    return _show(request, caller, "key_form.html", context, status=form_status(form))


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def key_revoke(request: HttpRequest, caller: Caller, key_id: UUID) -> HttpResponse:
    """Revoke a key whose name was typed."""
    key = get_key(key_id, caller=caller)
    if confirmed(request, key.name, nothing="The key is not revoked"):
        revoke_key(key_id, caller=caller)
        messages.success(request, f"Key {key.name} is revoked. Clients that use it are refused from now on.")
    return redirect("frontend:keys", caller.tenant_slug)


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def key_roll(request: HttpRequest, caller: Caller, key_id: UUID) -> HttpResponse:
    """Issue a key's successor, and show it this once."""
    form = RollForm(request.POST)
    if form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            issued = roll_key(key_id, form.cleaned_data["overlap"], caller=caller)
            old = get_key(key_id, caller=caller)
            return _show(request, caller, "key_issued.html", {"issued": issued, "old": old})
    return _key_page(request, caller, key_id, roll=form)


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def key_networks(request: HttpRequest, caller: Caller, key_id: UUID) -> HttpResponse:
    """Set where a key may be used from."""
    form = NetworksForm(request.POST, address=visitor_address(request))
    if form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            restrict_key(key_id, form.cleaned_data["networks"], caller=caller)
            messages.success(request, "Saved. It holds from now on, for what stands open too.")
            return redirect("frontend:key", caller.tenant_slug, key_id)
    return _key_page(request, caller, key_id, places=form)


@require_safe
@tenant_page(Action.KEYS_READ)
def key_page(request: HttpRequest, caller: Caller, key_id: UUID) -> HttpResponse:
    """One key: what it may do and from where, rolling it, and the danger zone."""
    return _key_page(request, caller, key_id)


def _key_page(
    request: HttpRequest,
    caller: Caller,
    key_id: UUID,
    *,
    roll: RollForm | None = None,
    places: NetworksForm | None = None,
) -> HttpResponse:
    key = get_key(key_id, caller=caller)
    reduced = bool(reduced_scopes(key))
    listed = {"networks": "\n".join(key.networks)}
    context = {
        "key": key,
        "maker": _maker(key),
        "state": _state(key, timezone.now()),
        "standings": standing_of(key),
        "reduced_because": bound_of(key).reason if reduced else "",
        "successor": successor_of(key),
        "roll": roll or RollForm(),
        "places": places or NetworksForm(address=visitor_address(request), initial=listed),
    }
    return page(
        request, caller, "key.html", "keys", context, status=max(form_status(roll), form_status(places))
    )


def _maker(key: ApiKey) -> str:
    """Whose rights bound a key, in words."""
    if key.team_owned:
        return TEAM_ITSELF
    return UNKNOWN_MAKER if key.created_by is None else key.created_by.email


def _show(
    request: HttpRequest, caller: Caller, template: str, context: dict[str, object], *, status: int = 200
) -> HttpResponse:
    if wants_fragment(request):
        # htmx puts what comes back into the dialog, errors of the form included.
        return fragment(request, caller, template, context)
    whole = {**context, "part": f"marina/parts/{template}"}
    return page(request, caller, "key_page.html", "keys", whole, status=status)


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "live" if key.is_live(now) else "expired"
