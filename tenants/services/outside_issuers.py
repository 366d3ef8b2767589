"""The outside issuers that a team trusts: stored with Marina's secret sealed, tested with a token, changed, ended.

A token that is tested is judged by the code that judges it at the endpoint; it is neither stored nor recorded. No
connection to an issuer is opened while a transaction of ours is open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid4

from core import signedtokens
from core.errors import Conflict, NotFound, Unauthenticated
from core.faults import Faults
from core.jwks import IssuerUnavailable, check_issuer
from core.loop import run_async
from core.sealing import sealer
from core.signedtokens import TokenRefused
from core.webaddress import read_https
from tenants.access import Caller
from tenants.changes import announce_change
from tenants.models import Tenant, TrustedIssuer
from tenants.oauth_addresses import issuer as own_issuer
from tenants.oauth_addresses import resource
from tenants.outsiders import ROLES, STEPS, caller_of_claims, claims_of, may_map, rule_of
from tenants.roles import OAUTH_SCOPES, Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, matching, name_taken, one_of, refuse
from tenants.services.recording import record_change

MAX_ISSUERS: Final = 10
MAX_ROWS: Final = 50
"""Values in the table of one issuer."""

MAX_SECRET: Final = 500
SECONDS: Final = 20.0
"""How long a test may take: metadata, keys and an answer, each with a bound of its own."""

_NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
_CLAIM: Final = re.compile(r"[\x21-\x7e]{1,120}")
_VALUE: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_WHERE: Final = ("issuer", "method", "jwks_uri", "introspection_endpoint", "client_id")
"""Fields that say to whom Marina's secret goes."""

_PLACES: Final = {
    "jwks": ("form", "header", "issuer", "key", "signature", "times", "audience", "subject", "scopes"),
    "introspection": ("active", "issuer", "times", "audience", "subject", "scopes"),
}
"""The steps of a test, in the order in which the endpoint takes them."""

_UNREACHABLE: Final = {"jwks": "key", "introspection": "active"}
"""The step at which an issuer that cannot be asked is noticed."""


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """One step of a token's test. ``passed`` is ``None`` where it did not come to that."""

    name: str
    question: str
    passed: bool | None
    answer: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a token: every step and, where all were passed, who its bearer is and what they may use."""

    accepted: bool
    steps: tuple[JudgedStep, ...]
    actor: str = ""
    scopes: tuple[str, ...] = ()


def list_issuers(*, caller: Caller) -> list[TrustedIssuer]:
    """The team's outside issuers by name."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        return list(TrustedIssuer.objects.all())


def get_issuer(issuer_id: UUID, *, caller: Caller) -> TrustedIssuer:
    """One outside issuer. Raises ``NotFound``."""
    caller.require(Action.KEYS_READ)
    with tenant_scope(caller.tenant_id):
        return _row(issuer_id)


def outside_identifiers(tenant_id: int) -> list[str]:
    """The issuers whose tokens a team's servers take besides its own. Told to everybody (RFC 9728)."""
    with tenant_scope(tenant_id):
        return list(TrustedIssuer.objects.filter(enabled=True).values_list("issuer", flat=True))


def create_issuer(given: Mapping[str, Any], *, caller: Caller) -> TrustedIssuer:
    """Trust an issuer. Nothing is fetched yet. Raises ``InvalidInput`` and ``Conflict``."""
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        _lock_team(caller)
        if TrustedIssuer.objects.count() >= MAX_ISSUERS:
            raise Conflict(
                f"A team trusts {MAX_ISSUERS} outside issuers at most. Remove one first.", code="too_many"
            )
        row = TrustedIssuer(id=uuid4(), tenant_id=caller.tenant_id)
        _fill(row, {"name": "", "issuer": "", **given}, caller)
        _save(row, new=True)
        announce_change(caller.tenant_id)
        record_change("issuer.trusted", caller=caller, after=shown(row))
    return row


def change_issuer(issuer_id: UUID, given: Mapping[str, Any], *, caller: Caller) -> TrustedIssuer:
    """Change what is given, and leave the rest. Tokens are judged by it everywhere within five seconds.

    The secret has to be given again where it would go to somewhere else. Raises ``NotFound``, ``InvalidInput`` and
    ``Conflict``.
    """
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        _lock_team(caller)
        row = _row(issuer_id, lock=True)
        before = shown(row)
        _fill(row, given, caller)
        _save(row)
        announce_change(caller.tenant_id)
        record_change("issuer.changed", caller=caller, before=before, after=shown(row))
    return row


def remove_issuer(issuer_id: UUID, *, caller: Caller) -> TrustedIssuer:
    """Trust an issuer no more. Raises ``NotFound``."""
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        row = _row(issuer_id, lock=True)
        before = shown(row)
        row.delete()
        announce_change(caller.tenant_id)
        record_change("issuer.removed", caller=caller, before=before)
    return row


def judge_token(issuer_id: UUID, token: str, *, caller: Caller) -> Judgement:
    """What would become of a token at the team's servers, step by step. Keeps nothing of it. Raises ``NotFound``.

    An issuer that is switched off is judged as if it were on.
    """
    caller.require(Action.KEYS_CHANGE)
    token = token.strip()
    if not token:
        refuse("token", "must not be empty.")
    with tenant_scope(caller.tenant_id):
        row = _row(issuer_id)
        record_change("issuer.tested", caller=caller, after={"id": str(row.id), "name": row.name})
    rule = rule_of(row, caller.tenant_slug)
    try:
        claims = run_async(claims_of(token, rule), timeout=SECONDS)
        who = caller_of_claims(rule, claims)
    except TokenRefused as refused:
        return _judged(row.method, refused.step, f"{refused}.")
    except (IssuerUnavailable, TimeoutError) as fault:
        why = str(fault) or "It did not answer in time"
        return _judged(row.method, _UNREACHABLE[row.method], f"{why}.")
    worth = sorted(scope for scope in who.scopes if scope in OAUTH_SCOPES)
    if not worth:
        return _judged(
            row.method,
            "scopes",
            f"The table has none of the values of its claim {row.scopes_claim}, or gives them nothing at the server "
            "that it is for. Its bearer may do nothing.",
        )
    return _judged(row.method, "", "", actor=who.actor, scopes=tuple(sorted(who.scopes)))


def caller_with_values(row: TrustedIssuer, values: Sequence[str], server: str, *, caller: Caller) -> Caller:
    """Who somebody with a token of this issuer for ``server``, with these values of the claim, would be now.

    ``row`` is one of the team's, as ``get_issuer`` gave it to the caller. Raises ``Unauthenticated`` for one that is
    switched off, and for values that no token's bearer can have.
    """
    if not row.enabled:
        raise Unauthenticated(
            f"The outside issuer {row.name} is switched off, so the team's servers take none of its tokens.",
            code="token_unknown",
        )
    rule = rule_of(row, caller.tenant_slug)
    audience = rule.audience or resource(caller.tenant_slug, server)
    claims: dict[str, Any] = {rule.subject_claim: "somebody", "aud": audience}
    # The claim that says who somebody is may be the one that counts: then it is one text, as a token has it.
    claims[rule.scopes_claim] = values[0] if rule.scopes_claim in claims and values else list(values)
    try:
        return caller_of_claims(replace(rule, email_claim=""), claims)
    except TokenRefused as refused:
        raise Unauthenticated(f"Such a token is refused. {refused}.", code="token_invalid") from None


def shown(row: TrustedIssuer) -> dict[str, Any]:
    """What the log shows of an issuer. Of the secret, only whether there is one."""
    return {
        "id": str(row.id),
        "name": row.name,
        "issuer": row.issuer,
        "method": str(row.method),
        "jwks_uri": row.jwks_uri,
        "introspection_endpoint": row.introspection_endpoint,
        "client_id": row.client_id,
        "has_secret": row.has_secret,
        "audience": row.audience,
        "subject_claim": row.subject_claim,
        "email_claim": row.email_claim,
        "scopes_claim": row.scopes_claim,
        "mapping": list(row.mapping),
        "enabled": row.enabled,
    }


def _row(issuer_id: UUID, *, lock: bool = False) -> TrustedIssuer:
    rows = TrustedIssuer.objects.select_for_update() if lock else TrustedIssuer.objects
    row = rows.filter(pk=issuer_id).first()
    if row is None:
        raise NotFound("There is no such outside issuer in this team.", code="issuer_not_found")
    return row


def _fill(row: TrustedIssuer, given: Mapping[str, Any], caller: Caller) -> None:
    """Put what is given into the row, checked. Raises ``InvalidInput`` with all that is wrong."""
    faults = Faults()
    before = {field: getattr(row, field) for field in _WHERE}
    for field, clean in _CLEAN.items():
        if field in given:
            with faults.gathered():
                setattr(row, field, clean(given[field], field))
    if row.issuer == own_issuer(caller.tenant_slug):
        faults.add("issuer", "is the team's own, whose tokens are taken anyway.")
    secret = given.get("client_secret")
    if secret is not None:
        with faults.gathered():
            text = clean_text(secret, "client_secret", longest=MAX_SECRET, empty=True)
            row.sealed = sealer().seal(text.encode(), context=row.seal_context) if text else b""
    elif row.sealed and any(getattr(row, field) != value for field, value in before.items()):
        # Otherwise whoever may change this could have a secret sent to them that they were never shown.
        faults.add(
            "client_secret", "must be given again when the issuer, its address or the client id changes."
        )
    if row.method == TrustedIssuer.Method.INTROSPECTION:
        if not row.client_id:
            faults.add("client_id", "must not be empty: Marina asks the issuer by this id.")
        if not row.sealed:
            faults.add("client_secret", "must not be empty: Marina asks the issuer with this secret.")
    faults.require_none()


def _save(row: TrustedIssuer, *, new: bool = False) -> None:
    """Store the row. The constraints below hold all the same; the team's row is locked, so nobody comes between."""
    others = TrustedIssuer.objects.exclude(pk=row.pk)
    if others.filter(issuer=row.issuer).exists():
        raise Conflict("The team trusts this issuer already. Change that entry.", code="issuer_taken")
    asked = row.enabled and row.method == TrustedIssuer.Method.INTROSPECTION
    if asked and others.filter(enabled=True, method=row.method).exists():
        raise Conflict(
            "Another issuer of the team is asked about tokens already, and a token that names no issuer is shown to "
            "one alone. Switch that one off first.",
            code="issuer_taken",
        )
    with name_taken(
        "tenants_trustedissuer_name_unique", f"The name {row.name} is taken. Choose another one."
    ):
        row.save(force_insert=new)


def _lock_team(caller: Caller) -> None:
    """Let two changes at once take turns."""
    Tenant.objects.select_for_update().get(pk=caller.tenant_id)


def _judged(method: str, fallen: str, why: str, *, actor: str = "", scopes: Sequence[str] = ()) -> Judgement:
    steps = []
    passed: bool | None = True
    for name in _PLACES[method]:
        question = STEPS.get(name) or signedtokens.STEPS[name]
        if name == fallen:
            steps.append(JudgedStep(name, question, False, why))
            passed = None
        else:
            steps.append(JudgedStep(name, question, passed, "Yes." if passed else "It did not come to that."))
    return Judgement(not fallen, tuple(steps), actor, tuple(scopes))


def _clean_name(value: object, path: str) -> str:
    return matching(value, path, _NAME, "is 1 to 40 lower-case letters, digits and inner hyphens.")


def _clean_issuer(value: object, path: str) -> str:
    text = clean_text(value, path, longest=255)
    try:
        return check_issuer(text)
    except ValueError as fault:
        refuse(path, f"is no issuer's identifier: {fault}.")


def _clean_url(value: object, path: str) -> str:
    text = clean_text(value, path, longest=500, empty=True)
    if text:
        try:
            read_https(text, longest=500)
        except ValueError as fault:
            refuse(path, f"is none that Marina asks at: {fault}.")
    return text


def _clean_claim(value: object, path: str) -> str:
    text = clean_text(value, path, longest=120)
    if not _CLAIM.fullmatch(text):
        refuse(path, "is the name of a claim: plain characters without spaces.")
    return text


def _clean_email_claim(value: object, path: str) -> str:
    return _clean_claim(value, path) if value != "" else ""


def _clean_method(value: object, path: str) -> str:
    return one_of(value, path, list(TrustedIssuer.Method.values))


def _clean_audience(value: object, path: str) -> str:
    text = clean_text(value, path, longest=500, empty=True)
    if text and (not text.isascii() or " " in text):
        refuse(path, "is one audience, in plain characters without spaces; empty for the server's own URL.")
    return text


def _clean_enabled(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        refuse(path, "must be true or false.")
    return value


def _clean_client_id(value: object, path: str) -> str:
    return clean_text(value, path, longest=255, empty=True)


def _clean_mapping(value: object, path: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > MAX_ROWS:
        refuse(path, f"must be a list of at most {MAX_ROWS} rows.")
    faults = Faults()
    rows: dict[str, dict[str, Any]] = {}
    for number, given in enumerate(value):
        with faults.gathered():
            row = _clean_row(given, f"{path}.{number}")
            if row["value"] in rows:
                refuse(f"{path}.{number}", f"the value {row['value']} stands in the table already.")
            rows[row["value"]] = row
    faults.require_none()
    return list(rows.values())


def _clean_row(row: object, path: str) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        refuse(path, "must be an object with value, scopes and role.")
    value, scopes = row.get("value"), row.get("scopes")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        refuse(path, "the value is 1 to 200 characters without spaces, as it stands in the claim.")
    if not isinstance(scopes, list) or not 0 < len(scopes) <= 50:
        refuse(path, "the scopes must be a list of 1 to 50.")
    for scope in scopes:
        if not isinstance(scope, str) or not may_map(scope):
            refuse(
                path,
                f"the scope {str(scope)[:80]!r} cannot be given to an outside issuer's tokens. Choose among "
                f"{', '.join(OAUTH_SCOPES)}, tool:<name> and server:<slug>.",
            )
    role = one_of(row.get("role", ROLES[0].value), path, [role.value for role in ROLES])
    return {"value": value, "scopes": list(dict.fromkeys(scopes)), "role": role}


_CLEAN: Final = {
    "name": _clean_name,
    "issuer": _clean_issuer,
    "method": _clean_method,
    "jwks_uri": _clean_url,
    "introspection_endpoint": _clean_url,
    "client_id": _clean_client_id,
    "audience": _clean_audience,
    "subject_claim": _clean_claim,
    "email_claim": _clean_email_claim,
    "scopes_claim": _clean_claim,
    "mapping": _clean_mapping,
    "enabled": _clean_enabled,
}
"""Field → how what is given for it is checked."""
