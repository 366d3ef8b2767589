"""Django's admin for the operator: who gets in, and in which team's scope its pages run. Registers no model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.views.decorators.http import require_http_methods, require_POST

from core.errors import InvalidInput
from frontend.access import signed_in
from frontend.operating.choice import choose_team, chosen_team, forget_team
from tenants.models import Tenant, User
from tenants.scoping import tenant_scope
from tenants.services.operating import LOOK, enter_team

ViewT = TypeVar("ViewT", bound=Callable[..., HttpResponseBase])


_ELSEWHERE: Final = frozenset({"password_change", "password_change_done"})
"""What everybody does in the dashboard, where it is noted."""


class OperatorSite(AdminSite):
    """For people with ``is_staff``. What belongs to a team shows once they have said why they look into it."""

    site_header = "Marina: operator"
    site_title = "Marina"
    index_title = "This installation"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """See ``AdminSite``."""
        user = signed_in(request)
        return user is not None and user.is_active and user.is_staff

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send to the one sign-in page. For everyone else who is signed in there is nothing here."""
        if signed_in(request) is not None:
            raise Http404
        query = urlencode({"next": request.GET.get("next", reverse("operator:index"))})
        return HttpResponseRedirect(f"{settings.LOGIN_URL}?{query}")

    def admin_view(self, view: ViewT, cacheable: bool = False) -> ViewT:
        """See ``AdminSite``. A page is made whole while its team is in scope: nothing is looked up later."""
        inner = super().admin_view(view, cacheable)

        @wraps(inner)
        def scoped(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            chosen = chosen_team(request) if self.has_permission(request) else None
            with nullcontext() if chosen is None else tenant_scope(chosen.tenant_id):
                response = inner(request, *args, **kwargs)
                return response.render() if isinstance(response, TemplateResponse) else response

        return cast("ViewT", scoped)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """See ``AdminSite``."""
        return {**super().each_context(request), "chosen": chosen_team(request)}

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """See ``AdminSite``."""
        # Outside of ``admin_view``: it would open the scope of the team that is about to change.
        return [
            path(
                "teams/<int:tenant_id>/enter", require_http_methods(["GET", "POST"])(self.enter), name="enter"
            ),
            path("leave", require_POST(self.leave), name="leave"),
            *(url for url in super().get_urls() if getattr(url, "name", None) not in _ELSEWHERE),
        ]

    def enter(self, request: HttpRequest, tenant_id: int) -> HttpResponse:
        """Ask why, and begin to look into a team."""
        operator = self._operator(request)
        tenant = Tenant.objects.filter(pk=tenant_id).first()
        if tenant is None:
            raise Http404
        fault = ""
        if request.method == "POST":
            try:
                enter_team(tenant_id, request.POST.get("reason", ""), operator=operator)
            except InvalidInput as refused:
                fault = refused.message
            else:
                choose_team(request, tenant)
                messages.success(request, f"You look into {tenant.name}. Its log says so, with your reason.")
                return redirect("operator:index")
        context = {
            **self.each_context(request),
            "title": f"Look into {tenant.name}",
            "tenant": tenant,
            "fault": fault,
            "minutes": int(LOOK.total_seconds() // 60),
        }
        return render(request, "marina/operating/enter.html", context, status=422 if fault else 200)

    def leave(self, request: HttpRequest) -> HttpResponse:
        """Look into no team any more."""
        self._operator(request)
        forget_team(request)
        return redirect("operator:index")

    def _operator(self, request: HttpRequest) -> User:
        user = signed_in(request)
        if user is None or not self.has_permission(request):
            raise Http404
        return user


site = OperatorSite(name="operator")
