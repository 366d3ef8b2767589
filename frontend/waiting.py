"""The answer to a form that was sent too often: the same page, with words, 429 and when to come back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from frontend.pages import own_page


def asked_to_wait(
    request: HttpRequest,
    form: BaseForm,
    template: str,
    seconds: int,
    *,
    what: str,
    context: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Show the form again: too many of ``what``. In whole minutes for people, in seconds for programs."""
    minutes = math.ceil(seconds / 60)
    form.add_error(
        None, f"Too many {what}. Wait {minutes} minute{'' if minutes == 1 else 's'}, then try again."
    )
    shown = {"form": form, **(context or {})}
    response = render(request, f"marina/{template}", shown, status=HTTPStatus.TOO_MANY_REQUESTS)
    response["Retry-After"] = str(seconds)
    return own_page(response)
