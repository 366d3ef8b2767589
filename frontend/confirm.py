"""Typed-name confirmation of what cannot be undone, or opens a door. The page helps; this decides."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest


def confirmed(request: HttpRequest, name: str, *, nothing: str = "Nothing was deleted") -> bool:
    """Whether the name was typed exactly; otherwise the person is told that ``nothing`` happened."""
    if request.POST.get("confirm") == name:
        return True
    messages.error(request, f"{nothing}: the typed name was not {name}.")
    return False
