"""Outside issuers as the team keeps them: bounds, secrets, the test of a token, REST, records, and outsiders."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from tenants.audit.records import decode
from tenants.models import AuditRecord, TrustedIssuer
from tenants.oauth_addresses import issuer as own_issuer
from tenants.oauth_addresses import resource
from tenants.outsiders import rule_of
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services import outside_issuers
from tenants.services.outside_issuers import (
    Judgement,
    caller_with_values,
    change_issuer,
    create_issuer,
    get_issuer,
    judge_token,
    list_issuers,
    remove_issuer,
)
from tests.factories import Team, make_team
from tests.oauth.outside import TABLE, issuer, trust, trust_by_asking
from tests.plugins.issuer import JWKS, LoopbackIssuer
from tests.rest import Rest

__all__ = ["issuer"]

SECRET = "a secret of Marina's own"


@pytest.fixture
def team() -> Team:
    return make_team()


def given(**changes: Any) -> dict[str, Any]:
    return {"name": "corp", "issuer": "https://id.corp.example", "mapping": TABLE, **changes}


def asked(**changes: Any) -> dict[str, Any]:
    return given(method="introspection", client_id="marina", client_secret=SECRET, **changes)


def log_of(team: Team) -> list[dict[str, Any]]:
    with tenant_scope(team.tenant_id):
        rows = AuditRecord.objects.filter(kind__startswith="issuer.").order_by("seq")
        return [decode(bytes(row.body)) for row in rows]


def failed_at(judgement: Judgement) -> str:
    """The step that a token fell at; all before it were passed, and nothing after it was asked."""
    passed = [step.passed for step in judgement.steps]
    if judgement.accepted:
        assert set(passed) == {True}
        return ""
    at = passed.index(False)
    assert passed == [True] * at + [False] + [None] * (len(passed) - at - 1)
    return judgement.steps[at].name


def test_changes_are_recorded_with_before_and_after_and_without_the_secret(team: Team) -> None:
    row = create_issuer(asked(), caller=team.owner)
    change_issuer(row.pk, {"enabled": False, "mapping": []}, caller=team.owner)
    remove_issuer(row.pk, caller=team.owner)
    records = log_of(team)
    assert [record["kind"] for record in records] == ["issuer.trusted", "issuer.changed", "issuer.removed"]
    changed = records[1]["arguments"]
    assert (changed["before"]["enabled"], changed["after"]["enabled"]) == (True, False)
    assert changed["before"]["mapping"] == TABLE
    assert changed["after"]["has_secret"] is True
    assert SECRET not in str(records)


def test_secret_is_sealed_and_opens_in_its_own_row_alone(team: Team) -> None:
    row = create_issuer(asked(), caller=team.owner)
    assert SECRET.encode() not in bytes(row.sealed)
    assert SECRET not in repr(rule_of(row, team.slug))
    assert rule_of(row, team.slug).secret == SECRET
    other = make_team()
    copied = create_issuer(asked(), caller=other.owner)
    copied.sealed = row.sealed
    assert rule_of(copied, other.slug).secret == ""


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"introspection_endpoint": "https://evil.example/introspect"},
        {"client_id": "other"},
    ],
)
def test_secret_does_not_go_elsewhere_unless_it_is_given_again(team: Team, change: dict[str, str]) -> None:
    row = create_issuer(asked(), caller=team.owner)
    with pytest.raises(InvalidInput, match="given again"):
        change_issuer(row.pk, change, caller=team.owner)
    assert change_issuer(row.pk, {**change, "client_secret": "new"}, caller=team.owner).has_secret


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "Corp"),
        ("name", "a:b"),
        ("name", "x" * 41),
        ("issuer", ""),
        ("issuer", "http://id.corp.example"),
        ("issuer", "https://id.corp.example?x=1"),
        ("issuer", "https://u@id.corp.example"),
        ("issuer", "https://id.corp.example/" + "x" * 250),
        ("issuer", "https://id.corp.example/\x00"),
        ("jwks_uri", "http://id.corp.example/keys"),
        ("jwks_uri", "file:///etc/passwd"),
        ("jwks_uri", "https://[::1"),
        ("introspection_endpoint", "javascript:alert(1)"),
        ("method", "trust-me"),
        ("audience", "two words"),
        ("audience", "x" * 501),
        ("subject_claim", ""),
        ("scopes_claim", "a b"),
        ("email_claim", 5),
        ("enabled", "yes"),
        ("client_secret", "a\x00b"),
        ("mapping", {}),
        ("mapping", [5]),
        ("mapping", [{"value": "a"}]),
        ("mapping", [{"value": "a b", "scopes": ["tools:read"]}]),
        ("mapping", [{"value": "a", "scopes": []}]),
        ("mapping", [{"value": "a", "scopes": ["admin"]}]),
        ("mapping", [{"value": "a", "scopes": ["audit:read"]}]),
        ("mapping", [{"value": "a", "scopes": ["server:NO"]}]),
        ("mapping", [{"value": "a", "scopes": ["tools:read"], "role": "admin"}]),
        ("mapping", [{"value": "a", "scopes": ["tools:read"], "role": "owner"}]),
        ("mapping", [{"value": "a", "scopes": ["tools:read"]}] * 2),
        ("mapping", [{"value": f"v{n}", "scopes": ["tools:read"]} for n in range(51)]),
    ],
)
def test_what_is_not_sound_is_refused_where_it_stands(team: Team, field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_issuer(given(**{field: value}), caller=team.owner)
    assert refused.value.errors[0]["path"].split(".")[0] == field
    assert list_issuers(caller=team.owner) == []


def test_all_that_is_wrong_is_told_at_once(team: Team) -> None:
    sound = {"value": "a", "scopes": ["tools:read"]}
    wrong = {
        **asked(),
        "issuer": "http://id.corp.example",
        "scopes_claim": "a b",
        "client_id": "",
        "client_secret": "a\x00b",
        "mapping": [sound, {**sound, "scopes": ["admin"]}, sound, {"value": "nonsense"}],
    }
    with pytest.raises(InvalidInput) as refused:
        create_issuer(wrong, caller=team.owner)
    assert [fault["path"] for fault in refused.value.errors] == [
        *("issuer", "scopes_claim", "mapping.1", "mapping.2", "mapping.3"),
        *("client_secret", "client_id"),
    ]
    row = create_issuer(asked(), caller=team.owner)
    with pytest.raises(InvalidInput) as refused:
        change_issuer(row.pk, {"name": "No", "client_id": "other"}, caller=team.owner)
    assert [fault["path"] for fault in refused.value.errors] == ["name", "client_secret"]


def test_teams_own_issuer_is_none_outside(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_issuer(team.slug).replace("http://", "https://")
    monkeypatch.setattr(outside_issuers, "own_issuer", lambda slug: own)
    with pytest.raises(InvalidInput, match="own"):
        create_issuer(given(issuer=own), caller=team.owner)


def test_asking_takes_an_id_and_a_secret(team: Team) -> None:
    for left_out in ("client_id", "client_secret"):
        with pytest.raises(InvalidInput, match=left_out):
            create_issuer({**asked(), left_out: ""}, caller=team.owner)


def test_names_issuers_and_the_one_that_is_asked_are_unique_in_a_team(team: Team) -> None:
    create_issuer(asked(), caller=team.owner)
    with pytest.raises(Conflict, match="name corp is taken"):
        create_issuer(given(issuer="https://b.example"), caller=team.owner)
    with pytest.raises(Conflict, match="trusts this issuer already"):
        create_issuer(given(name="b"), caller=team.owner)
    with pytest.raises(Conflict, match="one alone"):
        create_issuer(asked(name="b", issuer="https://b.example"), caller=team.owner)
    second = create_issuer(asked(name="b", issuer="https://b.example", enabled=False), caller=team.owner)
    with pytest.raises(Conflict, match="one alone"):
        change_issuer(second.pk, {"enabled": True}, caller=team.owner)
    create_issuer(asked(), caller=make_team().owner)


def test_the_database_holds_the_same(team: Team) -> None:
    create_issuer(asked(), caller=team.owner)
    broken: list[dict[str, Any]] = [
        {"name": "corp", "issuer": "https://b.example"},
        {"name": "b", "issuer": "https://id.corp.example"},
        {"name": "b", "issuer": "https://b.example", "method": "introspection"},
        {"name": "b", "issuer": "https://b.example", "method": "other"},
    ]
    for values in broken:
        with tenant_scope(team.tenant_id), pytest.raises(IntegrityError), transaction.atomic():
            TrustedIssuer.objects.create(**values)  # type: ignore[misc]


def test_number_of_issuers_is_bounded(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside_issuers, "MAX_ISSUERS", 1)
    create_issuer(given(), caller=team.owner)
    with pytest.raises(Conflict, match="at most"):
        create_issuer(given(name="b", issuer="https://b.example"), caller=team.owner)


def test_who_looks_after_keys_looks_after_issuers(team: Team) -> None:
    row = create_issuer(given(), caller=team.member(Role.ADMIN))
    for role, reads in ((Role.EDITOR, False), (Role.VIEWER, False), (Role.AUDITOR, True)):
        member = team.member(role)
        if reads:
            assert get_issuer(row.pk, caller=member).name == "corp"
        else:
            with pytest.raises(Forbidden):
                list_issuers(caller=member)
        for refused in (
            lambda: create_issuer(given(name="b"), caller=member),  # noqa: B023
            lambda: change_issuer(row.pk, {"enabled": False}, caller=member),  # noqa: B023
            lambda: remove_issuer(row.pk, caller=member),  # noqa: B023
            lambda: judge_token(row.pk, "x", caller=member),  # noqa: B023
        ):
            with pytest.raises(Forbidden):
                refused()


def test_outsider_finds_nothing(team: Team) -> None:
    row = create_issuer(given(), caller=team.owner)
    stranger = make_team().owner
    for ask in (
        lambda: get_issuer(row.pk, caller=stranger),
        lambda: change_issuer(row.pk, {}, caller=stranger),
        lambda: remove_issuer(row.pk, caller=stranger),
        lambda: judge_token(row.pk, "x", caller=stranger),
    ):
        with pytest.raises(NotFound):
            ask()
    assert list_issuers(caller=stranger) == []


def test_token_is_judged_step_by_step_and_kept_nowhere(team: Team, issuer: LoopbackIssuer) -> None:
    row = trust(team, issuer, enabled=False)
    here, past = resource(team.slug), int(time.time()) - 3600
    sound = issuer.token(here, scope="mcp.use", email="ada@corp.example")
    judged = judge_token(row.pk, f" {sound}\n", caller=team.owner)
    assert failed_at(judged) == ""
    assert judged.actor == "issuer:corp:ada (ada@corp.example)"
    assert judged.scopes == ("server:default", "tools:execute", "tools:read")
    claims = issuer.claims(here)
    faults = {
        "form": "opaque",
        "header": issuer.sign(claims, header={"alg": "none"}),
        "issuer": issuer.token(here, iss="https://other.example"),
        "key": issuer.sign(claims, header={"kid": "other"}),
        "signature": sound[:-8] + "AAAAAAAA",
        "times": issuer.token(here, exp=past),
        "audience": issuer.token("https://other.example"),
        "subject": issuer.token(here, sub=None),
        "scopes": issuer.token(here, scope="openid"),
    }
    for step, token in faults.items():
        assert failed_at(judge_token(row.pk, token, caller=team.owner)) == step
    issuer.be_away(JWKS)
    other = LoopbackIssuer(issuer.authority.parent)
    other.be_away(JWKS)
    second = trust(team, other, name="other")
    away = judge_token(second.pk, other.token(here), caller=team.owner)
    other.stop()
    assert failed_at(away) == "key"
    assert "status 503" in str(away.steps)
    shown = str(log_of(team))
    assert "issuer.tested" in shown
    assert sound.split(".")[2] not in shown
    with pytest.raises(InvalidInput):
        judge_token(row.pk, "  ", caller=team.owner)


@pytest.mark.parametrize("claim", ["sub", "groups", "realm_access.roles"])
def test_any_claim_that_counts_can_be_asked_about_also_the_one_that_names_its_bearer(
    team: Team, claim: str
) -> None:
    row = create_issuer(given(scopes_claim=claim, subject_claim="sub"), caller=team.owner)
    who = caller_with_values(row, ["mcp.use"], "default", caller=team.owner)
    assert "tools:read" in who.scopes


def test_values_that_nobody_can_have_are_refused_in_words(team: Team) -> None:
    row = create_issuer(given(scopes_claim="sub"), caller=team.owner)
    with pytest.raises(Unauthenticated, match="does not name anybody"):
        caller_with_values(row, ["\u202e"], "default", caller=team.owner)


def test_opaque_token_is_judged_by_asking(team: Team, issuer: LoopbackIssuer) -> None:
    row = trust_by_asking(team, issuer)
    here = resource(team.slug)
    assert failed_at(judge_token(row.pk, issuer.opaque_token(here, scope="mcp.use"), caller=team.owner)) == ""
    assert failed_at(judge_token(row.pk, "unknown-opaque-token", caller=team.owner)) == "active"
    elsewhere = issuer.opaque_token("https://other.example")
    assert failed_at(judge_token(row.pk, elsewhere, caller=team.owner)) == "audience"


def test_rest_takes_the_secret_and_never_tells_it(team: Team, issuer: LoopbackIssuer) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/outside-issuers"
    made = rest.post(path, {**asked(issuer=issuer.identifier)})
    assert made.status == 201, made.body
    assert (made.body["has_secret"], made.body["mapping"]) == (True, TABLE)
    one = f"{path}/{made.body['id']}"
    assert (
        rest.patch(one, {"method": "jwks", "client_id": "", "client_secret": ""}).body["has_secret"] is False
    )
    assert rest.get(one).body["method"] == "jwks"
    listed = rest.get(path).body["results"]
    assert [row["name"] for row in listed] == ["corp"]
    assert SECRET not in str([made.body, listed])
    judged = rest.post(f"{one}/test", {"token": issuer.token(resource(team.slug), scope="mcp.use")})
    assert (judged.status, judged.body["accepted"]) == (200, True)
    assert rest.post(f"{one}/test", {"token": "x" * 9000}).status == 400
    assert rest.patch(one, {"mapping": [{"scopes": ["tools:read"]}]}).status == 400
    assert rest.patch(one, {"mapping": [{"value": "a", "scopes": ["admin"]}]}).paths
    assert rest.patch(one, {"owner": True}).status == 400
    assert rest.delete(one).status == 204
    assert rest.get(one).status == 404
    assert Rest(team.key("tools:read")).get(path).status == 403


def test_rest_takes_no_outside_tokens(team: Team, issuer: LoopbackIssuer) -> None:
    trust(team, issuer)
    token = issuer.token(resource(team.slug), scope="mcp.use")
    assert Rest(token).get(f"/tenants/{team.slug}/members").status == 401
    assert issuer.asked == []
