"""The page that explains access: what it shows to whom."""

from __future__ import annotations

from django.urls import reverse

from tenants.models import OAuthAuthorization
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import issue_key
from tests.factories import Team
from tests.frontend.visitor import client_of
from tests.oauth.flows import make_app


def visit(team: Team, asked: dict[str, str], role: Role = Role.OWNER) -> tuple[int, str]:
    answer = client_of(team, role).get(reverse("frontend:access", args=[team.slug]), asked)
    return answer.status_code, answer.content.decode()


def test_the_decision_is_shown_step_by_step(team: Team) -> None:
    key = issue_key("reader", ["tools:read"], caller=team.owner).row
    status, text = visit(team, {"credential": str(key.pk), "server": "default", "tool": "list_tables"})
    assert status == 200
    assert "A call is refused" in text
    assert "scope:tools:execute" in text
    status, text = visit(team, {"credential": str(key.pk)})
    assert status == 200
    assert "A call is refused" not in text


def test_what_cannot_be_asked_is_named_beside_its_field(team: Team) -> None:
    key = issue_key("reader", ["tools:read"], caller=team.owner).row
    for asked in (
        {"credential": "nonsense", "tool": "x"},
        {"credential": str(key.pk), "tool": ""},
        {"credential": str(key.pk), "tool": "x", "address": "nowhere"},
        {"credential": "6f1c1c9e-0000-4000-8000-000000000000", "tool": "x"},
    ):
        status, text = visit(team, {"server": "default", **asked})
        assert status == 400, asked
        assert 'aria-invalid="true"' in text


def test_a_connected_app_is_asked_about_and_looked_for_in_the_log(team: Team) -> None:
    make_app(team, name="Claude").tokens()
    with tenant_scope(team.tenant_id):
        number = str(OAuthAuthorization.objects.get().pk)
    status, text = visit(team, {"credential": number, "server": "default", "tool": "gone"})
    assert status == 200
    assert f"Claude, for {team.owner_email}, at default" in text
    assert "A call is refused" in text
    assert "tool_unknown" in text
    browser = client_of(team)
    apps = browser.get(reverse("frontend:apps", args=[team.slug])).content.decode()
    assert f"{reverse('frontend:access', args=[team.slug])}?credential={number}" in apps
    log = browser.get(reverse("frontend:log", args=[team.slug]), {"credential": number}).content.decode()
    assert f'<option value="{number}" selected>' in log


def test_an_auditor_may_ask_and_a_viewer_may_not(team: Team) -> None:
    key = issue_key("reader", ["tools:read"], caller=team.owner).row
    asked = {"credential": str(key.pk), "server": "default", "tool": "x"}
    assert visit(team, asked, Role.AUDITOR)[0] == 200
    assert visit(team, asked, Role.VIEWER)[0] == 403


def test_a_team_without_keys_is_told_the_next_step(team: Team) -> None:
    status, text = visit(team, {})
    assert status == 200
    assert "no API keys yet" in text
