"""What REST does with credentials shows: in the key's last use, and in the team's log."""

from __future__ import annotations

from core.loop import run_async
from servers.services.runtime import get_runtime
from tenants.services.keys import list_keys
from tenants.services.log import search_records
from tests.factories import make_team
from tests.rest import Rest


def test_a_refused_key_is_in_the_log_of_the_team_it_was_tried_on() -> None:
    team = make_team()
    wrong = team.key()[:-6] + "zzzzzz"
    answer = Rest(wrong).get(f"/tenants/{team.slug}/tools")
    assert (answer.status, answer.body["code"]) == (401, "key_unknown")
    found = search_records(kind="auth", caller=team.owner).records
    assert [(record.outcome, record.request_id) for record in found] == [
        ("refused", answer.body["request_id"])
    ]
    assert wrong not in str(found)


def test_another_teams_key_is_in_the_log_of_the_team_it_was_tried_on_and_in_no_other() -> None:
    team, other = make_team(), make_team()
    key = other.key("admin")
    answer = Rest(key).post(f"/tenants/{team.slug}/members", {"email": "a@example.com", "role": "owner"})
    found = search_records(kind="auth", caller=team.owner).records
    assert [(record.outcome, record.request_id) for record in found] == [
        ("refused", answer.body["request_id"])
    ]
    assert found[0].reason is not None
    assert found[0].reason["code"] == "key_unknown"
    assert found[0].actor == f"unknown key ({key.rpartition('_')[0]})"
    assert key not in str(found)
    assert search_records(kind="auth", caller=other.owner).records == []


def test_a_refused_key_on_a_team_that_is_not_there_answers_the_same() -> None:
    team = make_team()
    wrong = team.key()[:-6] + "zzzzzz"
    known, unknown = (Rest(wrong).get(f"/tenants/{slug}/tools").body for slug in (team.slug, "no-such-team"))
    assert {**known, "request_id": ""} == {**unknown, "request_id": ""}


def test_a_keys_use_over_rest_counts_as_its_last_use() -> None:
    team = make_team()
    Rest(team.key("admin")).get(f"/tenants/{team.slug}/tools")
    run_async(get_runtime().uses.flush())
    assert [key.last_used_at is not None for key in list_keys(caller=team.owner)] == [True]
