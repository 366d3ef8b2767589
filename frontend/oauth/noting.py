"""From a request to the issuer to a step of its timeline: what was asked without its secrets, and what was answered."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from django.http import HttpRequest

from frontend.sessions import visitor_address
from servers.services.oauth_notes import note_soon
from servers.services.runtime import get_runtime
from tenants.oauth_steps import Kind, Step, clean_address, mark_of, presence
from tenants.services.oauth_clients import MAX_DOCUMENT_BYTES
from tenants.services.oauth_flow import Answered
from tenants.services.oauth_parameters import OAuthFault

_PLAIN: Final = ("grant_type", "response_type", "response_mode", "scope", "code_challenge_method")
_SECRETS: Final = (
    "code",
    "code_verifier",
    "code_challenge",
    "refresh_token",
    "client_secret",
    "token",
    "state",
)


@dataclass(slots=True)
class Pad:
    """What a view learns of a request on the way; ``note`` makes a step of it. ``fault`` is what a program is told."""

    asked: dict[str, str] = field(default_factory=dict)
    client_id: str = ""
    member: str = ""
    grant: str = ""
    code_mark: str = ""
    consent_mark: str = ""
    why: str = ""
    kind: Kind | None = None
    known: bool = False
    fault: OAuthFault | None = None

    def take_parameters(self, parameters: Mapping[str, str]) -> None:
        """Note what was asked for. Of what is secret, only that it came, and how long it was."""
        for name in _PLAIN:
            if name in parameters:
                self.asked[name] = parameters[name] or "(empty)"
        if parameters.get("redirect_uri"):
            self.asked["redirect_uri"] = clean_address(parameters["redirect_uri"])
        if "resource" in parameters:
            given = parameters["resource"].split(" ")
            self.asked["resource"] = " and ".join(map(clean_address, given)) if given != [""] else "(empty)"
        self.asked.update(presence(parameters, _SECRETS))
        self.client_id = parameters.get("client_id", "") or self.client_id
        self.code_mark = mark_of(parameters.get("code", ""))

    def take_answer(self, answered: Answered) -> None:
        """Note whose request it turned out to be."""
        self.client_id = answered.client_id or self.client_id
        self.grant, self.why, self.fault = answered.grant, answered.why, answered.fault
        self.known = bool(answered.grant)

    def take_location(self, location: str) -> None:
        """Note the code that the browser takes along, by its mark."""
        codes = parse_qs(urlsplit(location).query).get("code", [""])
        self.code_mark = mark_of(codes[0])


def pad_of(request: HttpRequest) -> Pad:
    """The request's pad; a new one where there is none yet."""
    pad: Pad | None = getattr(request, "oauth_pad", None)
    if pad is None:
        pad = Pad()
        request.oauth_pad = pad  # type: ignore[attr-defined]
    return pad


def note(
    request: HttpRequest,
    tenant_id: int | None,
    kind: Kind,
    *,
    ok: bool,
    status: int,
    code: str = "",
    told: str = "",
) -> None:
    """Take a step down; it is kept beside the answer, which does not wait for it."""
    pad = pad_of(request)
    step = Step(
        kind=pad.kind or kind,
        at=time.time(),
        ok=ok,
        status=status,
        code=code,
        told=told,
        why=pad.why,
        asked={"request": f"{request.method} {request.path}", **pad.asked},
        address=visitor_address(request),
        agent=request.headers.get("User-Agent", ""),
        client_id=pad.client_id,
        member=pad.member,
        grant=pad.grant,
        code_mark=pad.code_mark,
        consent_mark=pad.consent_mark,
        known=pad.known,
    )
    note_soon(get_runtime().oauth_steps, tenant_id, step)


def note_answer(request: HttpRequest, tenant_id: int, kind: Kind, status: int) -> None:
    """Take down a step whose answer is a program's: as the pad has it."""
    fault = pad_of(request).fault
    if fault is None:
        note(request, tenant_id, kind, ok=True, status=status)
    else:
        note(request, tenant_id, kind, ok=False, status=status, code=fault.code, told=fault.description)


def registration_facts(body: bytes) -> dict[str, str]:
    """What a client says of itself as it registers, as far as it can be read: nothing is judged here."""
    try:
        found: Any = json.loads(body[:MAX_DOCUMENT_BYTES])
    except (ValueError, RecursionError):
        return {"metadata": "not to be read as JSON"}
    if not isinstance(found, dict):
        return {"metadata": "no JSON object"}
    facts = {}
    for name in ("client_name", "application_type", "token_endpoint_auth_method"):
        if isinstance(found.get(name), str):
            facts[name] = found[name]
    uris = found.get("redirect_uris")
    if isinstance(uris, list):
        facts["redirect_uris"] = ", ".join(clean_address(str(uri)[:500]) for uri in uris[:5])
    return facts
