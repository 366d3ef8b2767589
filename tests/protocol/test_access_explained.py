"""The explanation of a call and what becomes of the call agree, whatever key, maker, server and tool it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.models import Tool
from servers.services.explaining import QUESTIONS, explain_call
from servers.services.served_versions import serve_version
from servers.services.servers import create_server, list_servers
from servers.services.sources import create_source
from servers.services.tool_versions import discard_draft
from servers.services.tools import change_tool, set_tool_enabled
from tenants.models import ApiKey, Membership, OAuthAccessToken, OAuthAuthorization
from tenants.oauth_addresses import resource
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import issue_key, restrict_key, revoke_key
from tenants.services.log import search_records
from tenants.services.oauth_apps import end_connection, revoke_client
from tests.factories import Team, make_team
from tests.oauth.flows import make_app
from tests.protocol import probe
from tests.protocol.wireclient import Endpoint
from tests.rest import Rest

LOOPBACK = "127.0.0.1"
SCOPES = ("tools:read", "tools:execute", "resources:read", "audit:read", "admin")
NARROWING = ("tool:echo", "tool:routed", "tool:gone", "server:default", "server:bare", "server:gone")
KEYS = st.fixed_dictionaries(
    {
        "scopes": st.sets(st.sampled_from(SCOPES), min_size=1),
        "narrowing": st.sets(st.sampled_from(NARROWING), max_size=3),
        "networks": st.sampled_from([[], [LOOPBACK], ["10.0.0.0/8"]]),
        "ended": st.sampled_from(["", "", "", "revoked"]),
        "maker": st.sampled_from([None, *Role]),
    }
)


@pytest.fixture
def shop(port: int) -> Team:
    """A team with a probe source, a tool of which is off, and a server that offers nothing of it."""
    team = make_team()
    create_source("probe-source", probe.KIND, {}, caller=team.owner)
    create_server("bare", "Bare", "private", [], caller=team.owner)
    with tenant_scope(team.tenant_id):
        off = Tool.objects.get(name="routed").pk
    set_tool_enabled(off, False, caller=team.owner)
    return team


def make_key(team: Team, drawn: dict[str, Any]) -> tuple[ApiKey, str]:
    """A key as drawn: made by an admin who becomes what was drawn, or leaves (``None``)."""
    maker = team.member(Role.OWNER)
    assert maker.user_id is not None
    scopes = sorted(drawn["scopes"] | (drawn["narrowing"] if "admin" not in drawn["scopes"] else set()))
    issued = issue_key("drawn", scopes, caller=maker)
    if drawn["networks"]:
        restrict_key(issued.row.pk, drawn["networks"], caller=team.owner)
    if drawn["ended"]:
        revoke_key(issued.row.pk, caller=team.owner)
    with tenant_scope(team.tenant_id):
        membership = Membership.objects.filter(user_id=maker.user_id)
        if drawn["maker"] is None:
            membership.delete()
        else:
            membership.update(role=drawn["maker"].value)
    return issued.row, issued.key


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=KEYS,
    server=st.sampled_from(["default", "bare", "gone"]),
    tool=st.sampled_from(["echo", "routed", "gone"]),
)
def test_explanation_and_call_agree(
    port: int, shop: Team, drawn: dict[str, Any], server: str, tool: str
) -> None:
    row, key = make_key(shop, drawn)
    explained = explain_call(row.pk, server, tool, address=LOOPBACK, caller=shop.owner)
    answer = Endpoint(port, f"/mcp/{shop.slug}/{server}", key).call(tool, {"text": "x"})
    refusal = explained.refusal
    if explained.allowed:
        assert refusal is None
        assert answer.status == 200
        assert answer.result["isError"] is False
    else:
        assert refusal is not None
        assert answer.error["data"]["code"] == refusal.code
        # Whoever may see the team's tools is told more of what is missing than the client is.
        if refusal.name not in {"exists", "offered"}:
            assert answer.error["message"] == refusal.answer
    assert [step.name for step in explained.steps] == list(QUESTIONS)


APPS = st.fixed_dictionaries(
    {
        "scopes": st.sets(st.sampled_from(["tools:read", "tools:execute", "prompts:read"]), min_size=1),
        "tools": st.sets(st.sampled_from(["tool:echo", "tool:routed"]), max_size=2),
        "at": st.sampled_from(["default", "bare"]),
        "then": st.sampled_from(
            ["", "", "", "refreshed", "narrowed", "disconnected", "shut out", "expired", "idle"]
        ),
        "member": st.sampled_from([None, *Role]),
    }
)


def make_connection(team: Team, drawn: dict[str, Any]) -> tuple[UUID, str]:
    """A connected app as drawn, and the access token that it holds: of an owner who becomes what was drawn."""
    member, app = team.member(Role.OWNER), make_app(team)
    target = resource(team.slug, drawn["at"]) if drawn["at"] != "default" else resource(team.slug)
    tokens = app.tokens(member, scope=" ".join(sorted(drawn["scopes"] | drawn["tools"])), resource=target)
    with tenant_scope(team.tenant_id):
        row = OAuthAuthorization.objects.get(client=app.row)
    past = timezone.now() - timedelta(seconds=1)
    if drawn["then"] in {"refreshed", "narrowed"}:
        less = {"scope": min(drawn["scopes"])} if drawn["then"] == "narrowed" else {}
        tokens = dict(app.refresh(tokens["refresh_token"], resource=target, **less).body)
    elif drawn["then"] == "disconnected":
        end_connection(row.pk, caller=team.owner)
    elif drawn["then"] == "shut out":
        revoke_client(app.row.pk, caller=team.owner)
    with tenant_scope(team.tenant_id):
        if drawn["then"] == "expired":
            OAuthAccessToken.objects.filter(authorization=row).update(expires=past)
        elif drawn["then"] == "idle":
            OAuthAuthorization.objects.filter(pk=row.pk).update(expires_at=past)
        membership = Membership.objects.filter(user_id=member.user_id or 0)
        if drawn["member"] is None:
            membership.update(ends_at=past)
        else:
            membership.update(role=drawn["member"].value)
    return row.pk, tokens["access_token"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=APPS,
    server=st.sampled_from(["default", "bare", "gone"]),
    tool=st.sampled_from(["echo", "routed", "gone"]),
)
def test_explanation_and_call_of_a_connected_app_agree(
    port: int, shop: Team, drawn: dict[str, Any], server: str, tool: str
) -> None:
    number, token = make_connection(shop, drawn)
    explained = explain_call(number, server, tool, address=LOOPBACK, caller=shop.owner)
    answer = Endpoint(port, f"/mcp/{shop.slug}/{server}", token).call(tool, {"text": "x"})
    refusal = explained.refusal
    if explained.allowed:
        assert answer.status == 200
        assert answer.result["isError"] is False
    else:
        assert refusal is not None
        assert answer.error["data"]["code"] == refusal.code
        if refusal.name not in {"credential", "exists", "offered"}:
            assert answer.error["message"] == refusal.answer
    assert [step.name for step in explained.steps] == list(QUESTIONS)


def test_app_that_was_disconnected_is_explained_as_that_and_the_log_is_filtered_by_it(
    port: int, shop: Team
) -> None:
    drawn = {"scopes": {"tools:execute"}, "tools": set(), "at": "default", "then": "", "member": Role.OWNER}
    number, token = make_connection(shop, drawn)
    assert Endpoint(port, f"/mcp/{shop.slug}", token).call("echo", {"text": "x"}).status == 200
    end_connection(number, caller=shop.owner)
    (step, *_) = explain_call(number, "default", "echo", caller=shop.owner).steps
    assert (step.passed, step.code) == (False, "token_unknown")
    assert step.answer.endswith("What its member agreed to has ended.")
    found = search_records(credential_id=number, tool="echo", caller=shop.owner).records
    assert {record.credential_id for record in found} == {number}
    path = f"/tenants/{shop.slug}/access?credential_id={number}&tool=echo"
    assert Rest.admin(shop).get(path).body["allowed"] is False
    other = make_team()
    assert Rest.admin(other).get(path.replace(shop.slug, other.slug)).status == 404


def test_each_reason_for_a_missing_tool_is_told(shop: Team) -> None:
    key = issue_key("k", ["tools:execute"], caller=shop.owner).row.pk

    def why(server: str, tool: str) -> str:
        explained = explain_call(key, server, tool, caller=shop.owner)
        (step,) = [step for step in explained.steps if step.name == "offered"]
        assert step.passed is False
        return step.answer

    assert why("default", "routed").endswith("The tool is switched off.")
    assert "does not offer the data source probe-source" in why("bare", "echo")
    assert why("default", "gone").endswith("The team has no tool of this name.")
    assert why("default", "gone_v1").endswith("The team has no tool of this name.")

    assert why("default", "echo_v9").endswith(
        "The team has no tool of this name, and its tool echo has no version 9."
    )
    default = next(each for each in list_servers(caller=shop.owner) if each.slug == "default")
    assert why("default", "echo_v1").endswith("does not offer version 1 of echo beside the current one.")
    serve_version(default.pk, "echo", 1, "beside", caller=shop.owner)
    assert why("bare", "echo_v1").endswith("beside the current one. Offered by: default.")
    with tenant_scope(shop.tenant_id):
        echo = Tool.objects.get(name="echo")
        set_tool_enabled(echo.pk, False, caller=shop.owner)
    assert why("default", "echo_v1").endswith("It is version 1 of echo. The tool is switched off.")
    set_tool_enabled(echo.pk, True, caller=shop.owner)
    change_tool(echo.pk, title="Otherwise", draft=True, caller=shop.owner)
    discard_draft(echo.pk, 2, caller=shop.owner)
    assert why("default", "echo_v2").endswith("version 2 of its tool echo was discarded.")


def test_rest_explains_and_refuses_whoever_may_see_no_keys(shop: Team) -> None:
    key = issue_key("k", ["tools:read"], caller=shop.owner).row.pk
    path = f"/tenants/{shop.slug}/access?credential_id={key}&tool=echo"
    answer = Rest.admin(shop).get(path)
    assert answer.status == 200
    assert answer.body["allowed"] is False
    (step,) = [step for step in answer.body["steps"] if step["passed"] is False]
    assert (step["name"], step["rule"], step["code"]) == (
        "scope",
        "scope:tools:execute",
        "insufficient_scope",
    )
    assert Rest.admin(shop).get(f"/tenants/{shop.slug}/access?tool=echo").paths == {"credential_id"}
    assert Rest.admin(shop).get(f"{path}&address=nowhere").paths == {"address"}
    other = make_team()
    foreign = issue_key("k", ["tools:read"], caller=other.owner).row.pk
    assert (
        Rest.admin(shop).get(f"/tenants/{shop.slug}/access?credential_id={foreign}&tool=echo").status == 404
    )
    assert Rest(shop.key("tools:execute")).get(path).status == 403
