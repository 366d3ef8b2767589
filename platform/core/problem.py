"""Errors as RFC 9457 problem documents, for REST and for pages alike. Pure: no framework."""

from __future__ import annotations

from typing import Any

from core.errors import InvalidInput, MarinaError


def problem_document(error: MarinaError, *, request_id: str) -> dict[str, Any]:
    """The body of ``application/problem+json``: type, title, status, detail, code, request_id, errors.

    Source: RFC 9457 section 3. ``code`` and ``request_id`` are extension members.
    """
    document: dict[str, Any] = {
        "type": f"urn:marina:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "request_id": request_id,
    }
    if error.data:
        document["data"] = error.data
    if isinstance(error, InvalidInput):
        document["errors"] = error.errors
    return document
