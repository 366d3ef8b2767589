"""The page that says why a credential can or cannot call a tool."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from frontend.access import tenant_page
from frontend.forms.people import AccessForm
from frontend.pages import form_status, page
from servers.services.explaining import explain_call
from servers.services.servers import list_servers
from servers.services.tools import list_tools
from tenants.access import Caller
from tenants.oauth_addresses import DEFAULT_SERVER
from tenants.roles import Action
from tenants.services.keys import list_keys
from tenants.services.oauth_apps import list_connections
from tenants.services.outside_issuers import list_issuers


@require_safe
@tenant_page(Action.KEYS_READ)
def explain(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Ask about one call, and show the decision step by step."""
    now = timezone.now()
    keys = [
        (str(key.pk), f"{key.name} ({key.public_part}{'' if key.is_live(now) else ', ended'})")
        for key in list_keys(caller=caller)
    ]
    apps = [
        (str(row.pk), f"{row.client.shown_name}, for {row.user or 'itself'}, at {row.server}")
        for row in list_connections(caller=caller)
    ]
    outside = [
        (str(row.pk), f"{row.name} (outside issuer{'' if row.enabled else ', off'})")
        for row in list_issuers(caller=caller)
    ]
    # An auditor sees keys, and neither servers nor tools: their names can be typed all the same.
    servers = [row.slug for row in list_servers(caller=caller)] if caller.may(Action.SERVERS_READ) else []
    tools = [tool.name for tool in list_tools(caller=caller)] if caller.may(Action.TOOLS_READ) else []
    asked = request.GET.get("server", "") or DEFAULT_SERVER
    form = AccessForm(
        request.GET if "tool" in request.GET else None,
        credentials=[
            group
            for group in (("API keys", keys), ("Connected apps", apps), ("Outside issuers", outside))
            if group[1]
        ],
        servers=sorted({DEFAULT_SERVER, asked, *servers}),
        initial={"credential": request.GET.get("credential", ""), "server": asked},
    )
    if not outside:
        del form.fields["values"]  # keys and apps have no claims
    explanation = None
    if form.is_bound and form.is_valid():
        with form.refusals():
            data = form.cleaned_data
            explanation = explain_call(
                UUID(data["credential"]),
                data["server"],
                data["tool"],
                address=data["address"] or "",
                values=data.get("values", "").split(),
                caller=caller,
            )
    context = {
        "form": form,
        "explanation": explanation,
        "tools": tools,
        "has_any": bool(keys or apps or outside),
    }
    return page(request, caller, "access.html", "access", context, status=form_status(form))
