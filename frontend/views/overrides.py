"""The page of what a team says of an upstream's tools in place of their server."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from core.errors import NotFound
from frontend.access import tenant_page
from frontend.forms.overrides import OverridesForm
from frontend.pages import form_status, page
from servers.services.kinds import find_kind
from servers.services.override_rules import SETTING
from servers.services.overriding import overrides_of, set_overrides
from servers.services.sources import get_source
from tenants.access import Caller
from tenants.roles import Action


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SOURCES_READ)
def source_overrides(request: HttpRequest, caller: Caller, source_id: UUID) -> HttpResponse:
    """Each override beside what the server says; for who may, the form that changes them."""
    if request.method == "POST":
        caller.require(Action.SOURCES_APPROVE)
    row = get_source(source_id, caller=caller)
    kind = find_kind(row.kind)
    if kind is None or SETTING not in kind.schema.get("properties", {}):
        raise NotFound("Tools of this data source are not overridden.", code="source_not_found")
    form = OverridesForm(request.POST or None, initial={SETTING: row.settings.get(SETTING) or {}})
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            set_overrides(source_id, form.cleaned_data[SETTING], caller=caller)
            messages.success(request, f"The tools of {row.name} are described so from now on.")
            return redirect("frontend:source_overrides", caller.tenant_slug, row.id)
    context = {"source": row, "overrides": overrides_of(row), "form": form}
    return page(request, caller, "source_overrides.html", "sources", context, status=form_status(form))
