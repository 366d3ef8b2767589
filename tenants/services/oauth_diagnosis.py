"""Says what is wrong with an attempt to connect, from its steps alone. Pure: asks nothing, keeps nothing.

A fault is told at the step where it showed. One that a later step got over is told all the same, and does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tenants.oauth_steps import Kind, Step
from tenants.services.oauth_faults import FAULTS
from tenants.services.oauth_timelines import Attempt

PATIENCE_SECONDS: Final = 120.0
"""A client that asked nothing for so long has stopped."""

CONNECTED: Final = "connected"
ENDED: Final = "ended"
FAILED: Final = "failed"
STOPPED: Final = "stopped"
UNDER_WAY: Final = "under way"
STATES: Final = (CONNECTED, ENDED, FAILED, STOPPED, UNDER_WAY)

_PHASES: Final[Mapping[Kind, int]] = {
    Kind.CHALLENGE: 0,
    Kind.MISPLACED: 1,
    Kind.RESOURCE_METADATA: 1,
    Kind.ISSUER_METADATA: 2,
    Kind.REGISTRATION: 3,
    Kind.CLIENT_DOCUMENT: 4,
    Kind.AUTHORIZATION: 4,
    Kind.CONSENT: 5,
    Kind.TOKEN: 6,
    Kind.REFRESH: 6,
    Kind.REVOCATION: 6,
    Kind.CALL: 7,
}

_STOPS: Final[tuple[tuple[Kind, str], ...]] = (
    (Kind.REFRESH, "token_not_used"),
    (Kind.TOKEN, "token_not_used"),
    (Kind.CONSENT, "code_not_redeemed"),
    (Kind.AUTHORIZATION, "consent_unfinished"),
    (Kind.REGISTRATION, "registered_only"),
    (Kind.ISSUER_METADATA, "issuer_read_only"),
    (Kind.RESOURCE_METADATA, "issuer_not_asked"),
)
"""What it means to stop after a step that went well, the furthest first."""

_FOLLOWED_UP: Final = frozenset(
    {"insufficient_scope", "token_expired", "well_known_path", "issuer_metadata_missed"}
)
"""Faults only where the client does not go on in the right way."""

_AT_AUTHORIZATION: Final[Mapping[str, str]] = {
    "invalid_client_id": "client_unknown",
    "missing_client_id": "client_unknown",
    "mismatching_redirect_uri": "redirect_uri_unregistered",
    "missing_redirect_uri": "redirect_uri_unregistered",
    "invalid_redirect_uri": "redirect_uri_unregistered",
    "unsupported_response_type": "response_type",
    "unauthorized_client": "response_type",
    "request_not_supported": "response_type",
    "request_uri_not_supported": "response_type",
    "not_a_member": "not_a_member",
    "request_unknown": "consent_elsewhere",
    "access_denied": "consent_denied",
    "nothing_ticked": "nothing_ticked",
}
_AT_TOKENS: Final[Mapping[str, str]] = {
    "code_unknown": "code_unknown",
    "code_expired": "code_expired",
    "code_replayed": "code_replayed",
    "verifier_wrong": "verifier_wrong",
    "verifier_malformed": "verifier_wrong",
    "refresh_token_replayed": "refresh_replayed",
    "refresh_token_unknown": "refresh_unknown",
    "authorization_ended": "authorization_ended",
    "rights_gone": "rights_gone",
}
_AT_CALLS: Final[Mapping[str, str]] = {
    "token_audience": "token_audience",
    "token_in_query": "token_in_query",
    "token_expired": "token_expired",
    "token_revoked": "token_ended",
    "token_unknown": "token_ended",
    "insufficient_scope": "insufficient_scope",
}


@dataclass(frozen=True, slots=True)
class Place:
    """The team whose issuer was asked: the resource identifier of its default server, and where all teams' begin."""

    resource: str
    all_resources: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at one step. ``overcome``: a later step went well all the same."""

    code: str
    step_id: str
    title: str
    wrong: str
    developer: str
    admin: str
    overcome: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What became of an attempt."""

    state: str
    findings: tuple[Finding, ...]

    @property
    def main(self) -> Finding | None:
        """The fault that stands in the way: the last that nothing overcame."""
        return next((each for each in reversed(self.findings) if not each.overcome), None)


def diagnose(attempt: Attempt, place: Place, *, now: float) -> Diagnosis:
    """Judge an attempt as it stands at ``now``, in seconds since 1970."""
    patient = now - attempt.ended_at <= PATIENCE_SECONDS
    findings: dict[str, Finding] = {}
    for at, step in reversed(tuple(enumerate(attempt.steps))):
        code = "" if step.ok else _fault_of(step, attempt, place)
        # Of the same fault again, the newest counts.
        if not code or code in findings or (code in _FOLLOWED_UP and patient):
            continue
        findings[code] = _finding(code, step, attempt, place, overcome=_is_overcome(attempt, at, code))
    found = tuple(reversed(findings.values()))
    if any(not each.overcome for each in found):
        return Diagnosis(FAILED, found)
    if attempt.has(Kind.REVOCATION, ok=True) and attempt.steps[-1].kind is Kind.REVOCATION:
        return Diagnosis(ENDED, found)
    if attempt.has(Kind.CALL, ok=True):
        return Diagnosis(CONNECTED, found)
    if patient:
        return Diagnosis(UNDER_WAY, found)
    stopped = tuple(_where_it_stopped(attempt, place))
    return Diagnosis(STOPPED, (*found, *stopped))


def _is_overcome(attempt: Attempt, at: int, code: str) -> bool:
    """Whether a step after this one went well, and so far that the fault was not in its way."""
    step = attempt.steps[at]
    later = [each for each in attempt.steps[at + 1 :] if each.ok and each.status != 302]
    if code == "insufficient_scope":
        return any(each.kind in {Kind.CONSENT, Kind.TOKEN} for each in later)
    needed = _PHASES[Kind.TOKEN] if step.kind is Kind.CALL else _PHASES[step.kind]
    if step.kind in {Kind.TOKEN, Kind.REFRESH} and step.code == "invalid_grant":
        # What ended with the grant is not back with a call that came meanwhile.
        return any(each.kind in {Kind.CONSENT, Kind.TOKEN, Kind.REFRESH} for each in later)
    return any(_PHASES[each.kind] >= needed for each in later)


def _where_it_stopped(attempt: Attempt, place: Place) -> Iterator[Finding]:
    for kind, code in _STOPS:
        step = next((each for each in reversed(attempt.steps) if each.kind is kind and each.ok), None)
        if step is not None:
            at_sign_in = kind is Kind.AUTHORIZATION and step.status == 302
            yield _finding("sign_in_unfinished" if at_sign_in else code, step, attempt, place)
            return
    step = attempt.steps[-1]
    if step.kind is Kind.CHALLENGE:
        yield _finding("discovery_stopped", step, attempt, place)


def _finding(code: str, step: Step, attempt: Attempt, place: Place, *, overcome: bool = False) -> Finding:
    fault = FAULTS[code]
    return Finding(
        code=code,
        step_id=step.id,
        title=fault.title,
        wrong=fault.wrong.format_map(_values_of(step, attempt, place)),
        developer=fault.developer,
        admin=fault.admin,
        overcome=overcome,
    )


def _values_of(step: Step, attempt: Attempt, place: Place) -> dict[str, str]:
    """What the sentences name."""
    asked = step.asked
    request = asked.get("request", "")
    words = {Kind.TOKEN: "token", Kind.REFRESH: "refresh"}
    method = asked.get("code_challenge_method", "no code_challenge_method")
    challenge = "a code_challenge" if "code_challenge" in asked else "no code_challenge"
    return {
        "path": request.partition(" ")[2] or request,
        "told": step.told or "(nothing)",
        "kind": words.get(step.kind, "authorization"),
        "resource": asked.get("resource", "no resource"),
        "expected": place.resource,
        "scope": asked.get("scope", "(none)"),
        "redirect_uri": asked.get("redirect_uri", "no redirect URI"),
        "redirect_uris": asked.get("redirect_uris", "no redirect URI"),
        "pkce": f"{challenge} and {method}",
        "member": step.member or attempt.member or "The member",
        "client_id": step.client_id or "(no id)",
        "needed": asked.get("scopes needed", "another scope"),
    }


def _fault_of(step: Step, attempt: Attempt, place: Place) -> str:
    """The code of what is wrong with a step that did not go well; empty: nothing is, or it tells nothing."""
    if step.kind is Kind.MISPLACED:
        return _fault_of_search(step, attempt)
    if step.kind is Kind.RESOURCE_METADATA:
        return "server_unknown"
    if step.kind is Kind.REGISTRATION:
        if step.status == 429:
            return "registration_quota"
        return "registration_redirect_uri" if step.code == "invalid_redirect_uri" else "registration_metadata"
    if step.kind is Kind.CLIENT_DOCUMENT:
        fetched = step.code in {"invalid_client_metadata", "invalid_redirect_uri"}
        return "client_document_wrong" if fetched else "client_document_unreachable"
    if step.kind in {Kind.AUTHORIZATION, Kind.CONSENT}:
        return _fault_of_authorization(step, place)
    if step.kind in {Kind.TOKEN, Kind.REFRESH}:
        return _fault_of_token_request(step, place)
    if step.kind is Kind.CALL:
        if step.why == "refresh_token_as_access":
            return step.why
        return _AT_CALLS.get(step.code, "foreign_token")
    return ""


def _fault_of_search(step: Step, attempt: Attempt) -> str:
    """Clients try several addresses; only where none was right is a wrong one the reason."""
    of_server = "oauth-protected-resource" in step.asked.get("request", "")
    right = Kind.RESOURCE_METADATA if of_server else Kind.ISSUER_METADATA
    if attempt.has(right, ok=True):
        return ""
    return "well_known_path" if of_server else "issuer_metadata_missed"


def _fault_of_authorization(step: Step, place: Place) -> str:
    known = _AT_AUTHORIZATION.get(step.code)
    if known is not None:
        return known
    if step.code == "invalid_target":
        return _fault_of_resource(step, place)
    if step.code == "invalid_scope":
        return "scope_none" if "role" in step.told else "scope_unknown"
    # Nothing of a request that could not be read is kept.
    if step.code == "invalid_request" and step.asked.keys() - {"request"}:
        if "response_type" not in step.asked:
            return "response_type"
        if "code_challenge" not in step.asked or step.asked.get("code_challenge_method") != "S256":
            return "pkce_missing"
    return "authorization_refused"


def _fault_of_token_request(step: Step, place: Place) -> str:
    if step.code == "invalid_client":
        return "client_unknown" if step.why == "client_unknown" else "client_secret_wrong"
    if step.code == "invalid_grant":
        return _AT_TOKENS.get(step.why, "token_refused")
    if step.code == "invalid_target":
        return "resource_changed" if step.why == "resource_changed" else _fault_of_resource(step, place)
    if step.code == "invalid_scope":
        return "scope_unknown"
    if "redirect" in step.told.lower():
        return "redirect_uri_changed"
    if step.code in {"unsupported_grant_type", "unauthorized_client"}:
        return "grant_not_offered"
    if step.why == "verifier_wrong" and "code_verifier" not in step.asked:
        return "verifier_wrong"
    return "token_refused"


def _fault_of_resource(step: Step, place: Place) -> str:
    given = step.asked.get("resource", "")
    if given in {"", "(empty)"}:
        return "resource_missing"
    if " and " in given:
        return "resource_twice"
    own = given == place.resource or given.startswith(f"{place.resource}/")
    if given.startswith(place.all_resources) and not own:
        return "issuer_of_another_team"
    if "no such server" in step.told:
        return "server_not_there"
    return "resource_wrong"
