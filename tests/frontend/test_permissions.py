"""The table of roles in the dashboard is the one that decides."""

from __future__ import annotations

from frontend.permissions import ACTION_WORDS
from tenants.roles import ALLOWED, Action, Role
from tests.factories import make_team
from tests.frontend.visitor import client_of


def test_every_action_has_words_of_its_own() -> None:
    assert set(ACTION_WORDS) == set(Action)
    assert len(set(ACTION_WORDS.values())) == len(Action)


def test_the_members_page_shows_what_the_code_decides() -> None:
    team = make_team()
    page = client_of(team).get(f"/app/{team.slug}/members/")
    shown = {
        action: {role for role, allowed in cells if allowed}
        for action, _, cells in page.context["roles_table"]
    }
    assert shown == {
        action.value: {role.value for role in Role if action in ALLOWED[role]} for action in Action
    }
