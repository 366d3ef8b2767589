"""Pages of connected apps: what clients may do in whose name, clients that act for themselves, and ending either."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.access import note_refusal, tenant_page
from frontend.confirm import confirmed
from frontend.forms.people import AppForm
from frontend.pages import form_status, page
from tenants.access import Caller
from tenants.oauth_addresses import issuer, resource
from tenants.roles import OAUTH_SCOPES, Action
from tenants.services.oauth_apps import (
    create_client,
    end_connection,
    get_client,
    list_clients,
    list_connections,
    revoke_client,
)


@require_safe
@tenant_page(Action.TENANT_READ)
def app_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """What is connected: all of the team for those who look after its keys, one's own for everybody else."""
    rows = [
        (row, row.user_id == caller.user_id or caller.may(Action.KEYS_CHANGE))
        for row in list_connections(caller=caller)
    ]
    clients = list_clients(caller=caller) if caller.may(Action.KEYS_READ) else []
    return page(request, caller, "apps.html", "apps", {"rows": rows, "clients": clients})


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.KEYS_CHANGE)
def app_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a client that acts for itself and, once it is made, the only sight of its secret."""
    form = AppForm(request.POST or None, initial={"scopes": ["tools:read", "tools:execute"]})
    context: dict[str, object] = {"form": form, "scope_words": OAUTH_SCOPES}
    if request.method == "POST" and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            context["issued"] = create_client(
                form.cleaned_data["name"], form.cleaned_data["scopes"], caller=caller
            )
            context["token_url"] = f"{issuer(caller.tenant_slug)}/token"
            context["resource"] = resource(caller.tenant_slug)
    return page(request, caller, "app_new.html", "apps", context, status=form_status(form))


@require_POST
@tenant_page(Action.TENANT_READ)
def connection_end(request: HttpRequest, caller: Caller, connection_id: UUID) -> HttpResponse:
    """End what a client may do."""
    row = end_connection(connection_id, caller=caller)
    messages.success(request, f"{row.client.shown_name} is disconnected. Its tokens are refused from now on.")
    return redirect("frontend:apps", caller.tenant_slug)


@require_POST
@tenant_page(Action.KEYS_CHANGE)
def client_revoke(request: HttpRequest, caller: Caller, client_id: UUID) -> HttpResponse:
    """Shut out a client whose name was typed."""
    row = get_client(client_id, caller=caller)
    if confirmed(request, row.shown_name, nothing="The client is not shut out"):
        revoke_client(client_id, caller=caller)
        messages.success(
            request, f"{row.shown_name} is shut out of this team, with everything that members let it do."
        )
    return redirect("frontend:apps", caller.tenant_slug)
