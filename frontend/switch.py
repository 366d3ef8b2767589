"""The switch of a tool, resource or prompt: what its press asks for, and where it leads. Changes nothing itself."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from tenants.access import Caller


def turned_on(request: HttpRequest) -> bool:
    """Whether the switch was turned on rather than off."""
    return request.POST.get("enabled") == "true"


def switched(
    request: HttpRequest, caller: Caller, name: str, row_id: UUID, *, page: str, listing: str
) -> HttpResponse:
    """Say what became of it, and go back to where the switch stood: its ``page``, or its row in the ``listing``."""
    messages.success(request, f"{name} is {'offered' if turned_on(request) else 'no longer offered'}.")
    if request.POST.get("back") == "list":
        return redirect(f"frontend:{listing}", caller.tenant_slug)
    return redirect(f"frontend:{page}", caller.tenant_slug, row_id)
