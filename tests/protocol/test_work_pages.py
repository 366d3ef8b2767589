"""The dashboard's pages of long work: the live list, one task, and where a tool runs."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

from django.test import Client

from servers.services.long_work import run_again
from servers.services.tools import list_tools
from tenants.roles import Role
from tenants.services.log import search_records
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.protocol.lasting import LastingBackend
from tests.protocol.tasks import TaskClient, Workers
from tests.protocol.waiting import wait_for

HTMX = {"HX-Request": "true"}
AGAIN = "load delay"


def words_of(client: Client, url: str, *, status: int = 200) -> str:
    """A page's words, without its tags and its navigation."""
    answer = client.get(url)
    assert answer.status_code == status
    body = answer.content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", body.partition("<main")[2] or body).split())


def url_of(team: Team, rest: str = "") -> str:
    return f"/app/{team.slug}/work/{rest}"


def tool_url(team: Team, name: str, rest: str = "") -> str:
    tool = next(each for each in list_tools(caller=team.owner) if each.name == name)
    return f"/app/{team.slug}/tools/{tool.pk}/{rest}"


def test_without_any_the_page_says_what_makes_a_call_long(lasters: Team) -> None:
    client = client_of(lasters)
    words = words_of(client, url_of(lasters))
    assert "No long work yet" in words
    assert "a deadline of more than 30 seconds" in words
    assert AGAIN not in client.get(url_of(lasters)).content.decode()


def test_the_list_is_live_while_something_waits_and_filters_are_in_its_url(
    tasker: TaskClient, workers_later: Workers, lasters: Team
) -> None:
    client = client_of(lasters)
    task_id = tasker.begin("quick")["taskId"]
    tasker.begin("fail")
    page = client.get(url_of(lasters, "?tool=quick")).content.decode()
    assert "place 1 in line" in page
    assert f'hx-get="{url_of(lasters, "part")}?tool=quick"' in page
    part = client.get(url_of(lasters, "part?tool=quick"), headers=HTMX).content.decode()
    assert part.count("data-status=") == 1
    assert AGAIN in part
    older = client.get(url_of(lasters, f"?before={task_id}")).content.decode()
    assert AGAIN not in older
    assert "No task matches" in words_of(client, url_of(lasters, "?status=failed"))
    assert "is not known" in words_of(client, url_of(lasters, "?status=lost"), status=400)
    assert "No task matches" in words_of(client, url_of(lasters, f"part?before={uuid4()}"))


def test_a_task_is_followed_stopped_after_a_question_and_run_again(
    tasker: TaskClient, workers: Workers, lasters: Team, held: LastingBackend
) -> None:
    client = client_of(lasters)
    task_id = tasker.begin("hold")["taskId"]
    assert held.entered.acquire(timeout=60)
    url = url_of(lasters, f"{task_id}/")
    wait_for(lambda: "1 of 2" in words_of(client, url))
    page = client.get(url).content.decode()
    assert AGAIN in page
    assert "Cancel this task of hold?" in page
    assert "Run again" not in page
    assert "HX-Refresh" not in client.get(f"{url}part", headers=HTMX)
    assert client.post(f"{url}cancel").status_code == 302
    wait_for(lambda: client.get(f"{url}part", headers=HTMX).get("HX-Refresh") == "true")
    words = words_of(client, url)
    assert f"Cancelled by {lasters.owner.actor}." in words
    assert "Run again" in words
    assert AGAIN not in client.get(url).content.decode()
    followed = client.post(f"{url}cancel", follow=True).content.decode()
    assert "has ended already" in followed
    again = client.post(f"{url}run-again")
    assert again.status_code == 302
    assert held.entered.acquire(timeout=60)
    second = again["Location"]
    assert second != url
    assert lasters.owner.actor in words_of(client, second)
    early = client.post(f"{second}run-again", follow=True).content.decode()
    assert "has not ended" in early
    client.post(f"{second}cancel")
    wait_for(lambda: "Run again" in words_of(client, second))


def test_a_result_is_shown_masked_with_its_records(
    tasker: TaskClient, workers: Workers, lasters: Team
) -> None:
    task_id = tasker.begin("quick", {"password": "hunter2-secret"})["taskId"]
    tasker.until(task_id)
    client = client_of(lasters)
    page = client.get(url_of(lasters, f"{task_id}/")).content.decode()
    assert "hunter2-secret" not in page
    assert "[masked]" in page
    assert 'id="task-result"' in page
    record = search_records(kind="tools/call", caller=lasters.owner).records[-1]
    assert f"/app/{lasters.slug}/log/{record.seq}" in page
    shown = client.get(f"/app/{lasters.slug}/log/{record.seq}").content.decode()
    assert url_of(lasters, f"{task_id}/") in shown
    for role, sees in ((Role.VIEWER, False), (Role.AUDITOR, False), (Role.EDITOR, True)):
        reader = client_of(lasters, role)
        seen = reader.get(url_of(lasters, f"{task_id}/")).content.decode()
        assert ('id="task-result"' in seen, "Run again" in seen) == (sees, sees)
        if not sees:
            assert [
                reader.post(url_of(lasters, f"{task_id}/{each}")).status_code
                for each in ("cancel", "run-again")
            ] == [
                403,
                403,
            ]


def test_a_task_that_asks_says_what_and_an_intent_says_that_it_is_a_task(
    tasker: TaskClient, workers_later: Workers, lasters: Team
) -> None:
    task_id = tasker.begin("names")["taskId"]
    (intent,) = search_records(kind="tools/call", caller=lasters.owner).records
    assert (intent.task, intent.standing) == (task_id, "runs as a task")
    client = client_of(lasters)
    assert "runs as a task" in words_of(client, f"/app/{lasters.slug}/log/")
    assert "went on as a task" in words_of(client, f"/app/{lasters.slug}/log/{intent.seq}")
    workers_later.begin()
    tasker.until(task_id, "input_required")
    words = words_of(client, url_of(lasters, f"{task_id}/"))
    assert "It asks its client First?" in words
    assert "Second?" in words


def test_another_teams_task_is_not_there(tasker: TaskClient, workers_later: Workers, lasters: Team) -> None:
    task_id = tasker.begin("quick")["taskId"]
    outsider = make_team()
    client = client_of(outsider)
    assert "No long work yet" in words_of(client, url_of(outsider))
    for team in (lasters, outsider):
        for each in (task_id, uuid4()):
            assert client.get(url_of(team, f"{each}/")).status_code == 404
            assert client.get(url_of(team, f"{each}/part"), headers=HTMX).status_code == 404
            for what in ("cancel", "run-again"):
                assert client.post(url_of(team, f"{each}/{what}")).status_code == 404
    assert tasker.get(task_id)["status"] == "working"


def test_where_a_tool_runs_is_shown_and_set_on_its_page(lasters: Team) -> None:
    client = client_of(lasters)
    words = words_of(client, tool_url(lasters, "effect"))
    assert "Run at a worker, as tasks . Its data source says that it takes long." in words
    assert "it may have changed something, so it is not run twice" in words
    saved = client.post(tool_url(lasters, "inline", "running"), {"runs": "automatic", "deadline": "120"})
    assert saved.status_code == 302
    assert "Its deadline of 120 seconds is longer" in words_of(client, tool_url(lasters, "inline"))
    refused = client.post(tool_url(lasters, "inline", "running"), {"runs": "inline", "deadline": "120"})
    assert refused.status_code == 400
    assert "has 30 seconds at most" in refused.content.decode()
    client.post(tool_url(lasters, "inline", "running"), {"runs": "automatic", "deadline": ""})
    assert "Run within their requests." in words_of(client, tool_url(lasters, "inline"))
    viewer = client_of(lasters, Role.VIEWER)
    assert "Calls run" not in words_of(viewer, tool_url(lasters, "inline"))
    assert viewer.post(tool_url(lasters, "inline", "running"), {"runs": "worker"}).status_code == 403
    theirs = tool_url(lasters, "inline", "running").replace(lasters.slug, make_team().slug)
    assert client.post(theirs, {"runs": "worker"}).status_code == 404


def test_a_task_made_by_a_member_is_listed_with_who_made_it(
    tasker: TaskClient, workers: Workers, lasters: Team
) -> None:
    task_id = tasker.begin("quick")["taskId"]
    tasker.until(task_id)
    member = lasters.member(Role.EDITOR)
    run_again(UUID(task_id), caller=member, client="a script")
    words = words_of(client_of(lasters), url_of(lasters))
    assert f"{member.actor.removeprefix('user:')} a script" in words
