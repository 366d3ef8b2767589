"""Renders a tenant's pages inside the frame that all share. Asks nothing but the person's own teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from frontend.navigation import navigation
from tenants.access import Caller, tenants_of_user
from tenants.arrivals import arrival_of_request
from tenants.roles import Action


class Rights:
    """What the caller may do, for templates: ``may.sources_change`` and so on for every action."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def __getitem__(self, name: str) -> bool:
        try:
            action = Action[name.upper()]
        except KeyError:
            # Templates swallow KeyError; a misspelt right must not read as "no" without notice.
            raise TypeError(f"there is no action called {name}") from None
        return self._caller.may(action)


def page(
    request: HttpRequest,
    caller: Caller,
    template: str,
    section: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """A whole page of a tenant; ``section`` is the navigation's entry that it belongs to."""
    arrival = arrival_of_request(request)
    teams = tenants_of_user(caller.user_id, arrival=arrival) if caller.user_id is not None else []
    frame = {
        "caller": caller,
        "may": Rights(caller),
        "section": section,
        "groups": navigation(caller),
        "teams": [(tenant.slug, tenant.name, role.value) for tenant, role in teams],
        "tenant_name": next((t.name for t, _ in teams if t.slug == caller.tenant_slug), caller.tenant_slug),
    }
    return own_page(render(request, f"marina/{template}", {**frame, **(context or {})}, status=status))


def fragment(
    request: HttpRequest,
    caller: Caller,
    template: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """A part of a page, for htmx."""
    base = {"caller": caller, "may": Rights(caller)}
    return own_page(render(request, f"marina/parts/{template}", {**base, **(context or {})}, status=status))


def form_status(form: BaseForm | None) -> int:
    """The status of a page that shows this form: 400 where the form says what is wrong."""
    return 400 if form is not None and form.is_bound and form.errors else 200


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx asked for a part rather than a person for the page."""
    headers = request.headers
    return headers.get("HX-Request") == "true" and headers.get("HX-History-Restore-Request") != "true"


def own_page(response: HttpResponse) -> HttpResponse:
    """Mark a page that says itself what is wrong, so that ``ErrorPageMiddleware`` leaves it as it is."""
    response.is_page = True  # type: ignore[attr-defined]
    return response
