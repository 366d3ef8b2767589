"""How clients come to a team's issuer: registration by themselves, and the fetching of documents that describe them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from core.fetching import FetchRefused, fetch_document
from core.loop import run_async
from frontend.oauth.answers import json_answer, program_endpoint, read_body
from frontend.oauth.noting import pad_of, registration_facts
from frontend.sessions import visitor_address
from tenants.access import Caller
from tenants.oauth_steps import Kind
from tenants.services.oauth_clients import (
    FETCH_SECONDS,
    MAX_DOCUMENT_BYTES,
    document_to_fetch,
    is_document_address,
    register_client,
    take_document,
)
from tenants.services.oauth_parameters import OAuthFault


@program_endpoint(Kind.REGISTRATION)
def register(request: HttpRequest, tenant_id: int, tenant_slug: str) -> HttpResponse:
    """RFC 7591. Open to anyone: what was registered opens nothing until a member consents."""
    if request.content_type != "application/json":
        raise OAuthFault("invalid_client_metadata", "Send the client's metadata as application/json.")
    body = read_body(request)
    pad = pad_of(request)
    pad.asked.update(registration_facts(body))
    told = register_client(
        body,
        address=visitor_address(request),
        tenant_id=tenant_id,
        tenant_slug=tenant_slug,
    )
    pad.client_id = told["client_id"]
    return json_answer(told, status=201)


def learn_client(client_id: str, *, caller: Caller) -> bool:
    """Fetch the document that describes a client, where its id is the document's address and it is not known yet.

    Whether it was fetched. Only for a signed-in member, and outside any transaction. Raises ``OAuthFault`` and
    ``RateLimited``.
    """
    if not is_document_address(client_id) or not document_to_fetch(client_id, caller=caller):
        return False
    try:
        document = run_async(
            fetch_document(client_id, seconds=FETCH_SECONDS, most_bytes=MAX_DOCUMENT_BYTES),
            timeout=2 * FETCH_SECONDS,
        )
    except (FetchRefused, TimeoutError) as refusal:
        why = str(refusal) or "it did not answer"
        raise OAuthFault("invalid_client", f"The client's document was not fetched: {why}.") from None
    take_document(client_id, document, caller=caller)
    return True
