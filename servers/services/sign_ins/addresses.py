"""Addresses of Marina's own: where people sign in, where browsers come back to, and its document as an OAuth client."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings

from servers.execution.authorizing.clients import document_of
from tenants.services.mail import public_link


def source_page(tenant_slug: str, source_id: UUID) -> str:
    """The page of a data source, on which people sign in."""
    return public_link(f"{tenant_slug}/data-sources/{source_id}/")


def callback_url() -> str:
    """Where every authorization server sends browsers back to."""
    return f"{settings.ENV.base_url}/upstream/back"


def document_url() -> str:
    """The address of the metadata document, which is Marina's client id; empty where it is no https address."""
    base: str = settings.ENV.base_url
    return f"{base}/upstream/client.json" if base.startswith("https://") else ""


def client_document() -> dict[str, Any]:
    """The document itself."""
    return document_of(f"{settings.ENV.base_url}/upstream/client.json", callback_url())
