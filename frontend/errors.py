"""Error pages: what happened, what to do next, and the request id. They ask no database."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from core.errors import MarinaError

_WORDS: Final[dict[int, tuple[str, str]]] = {
    400: (
        "Bad request",
        "The address or the form was not understood. Go back, reload the page and try again.",
    ),
    403: (
        "Not allowed",
        "This form has expired or came from elsewhere. Go back, reload the page and send it again.",
    ),
    404: (
        "Not found",
        "There is nothing at this address, or it is not yours to see. Check the link or start over.",
    ),
    405: (
        "Not possible like this",
        "This address takes a form, not a visit. Go back and use the button on the page.",
    ),
    500: (
        "Something broke on our side",
        "The request was not completed. Try again; if it happens again, give your operator the request id below.",
    ),
}


def error_page(request: HttpRequest, error: MarinaError) -> HttpResponse:
    """The page for an error that was raised on purpose."""
    return _page(request, status=error.status, title=error.title, message=error.message)


def status_page(request: HttpRequest, status: int) -> HttpResponse:
    """The page for a bare status that Django gave."""
    title, message = _WORDS.get(status, (HTTPStatus(status).phrase, "Go back and try again."))
    return _page(request, status=status, title=title, message=message)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The page for a form whose token is missing or old (``settings.CSRF_FAILURE_VIEW``)."""
    return status_page(request, HTTPStatus.FORBIDDEN)


def _page(request: HttpRequest, *, status: int, title: str, message: str) -> HttpResponse:
    # A fragment that htmx asked for gets a notice in its place; a page gets a page.
    partial = request.headers.get("HX-Request") == "true"
    template = "marina/parts/problem.html" if partial else "marina/error.html"
    context = {
        "status": status,
        "title": title,
        "message": message,
        "request_id": getattr(request, "request_id", ""),
    }
    response = render(request, template, context, status=status)
    response.is_page = True  # type: ignore[attr-defined]
    return response
