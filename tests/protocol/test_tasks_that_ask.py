"""Tasks that ask their client: by ``inputRequests``, or as the client's era has it where it knows no tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from mcp_types import ElicitResult

from servers.models import Task
from servers.services.tasks.sweeping import sweep_tasks_of
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.protocol.conftest import Records
from tests.protocol.lasting import LastingBackend
from tests.protocol.officialclient import connected
from tests.protocol.tasks import TaskClient, Workers, declaring
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import modern_meta

pytestmark = pytest.mark.anyio


def test_a_task_asks_and_goes_on_with_the_answer(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records, lasting_backend: LastingBackend
) -> None:
    task_id = tasker.begin("name")["taskId"]
    asking = tasker.until(task_id, "input_required")
    assert asking["inputRequests"]["name"]["method"] == "elicitation/create"
    assert asking["inputRequests"]["name"]["params"]["message"] == "Who?"
    ignored = tasker.answer(task_id, other={"name": "x"})
    assert ignored.result.keys() == {"resultType", "_meta"}
    assert tasker.get(task_id)["status"] == "input_required"
    tasker.answer(task_id, name={"name": "Ada"})
    ended = tasker.until(task_id)
    assert ended["result"]["structuredContent"]["name"] == "Ada"
    assert ended["result"]["structuredContent"]["kept"] == "kept"
    assert lasting_backend.runs[lasters.slug, "name"] == 2
    found = records(lasters, kind="tools/call")
    assert [each["outcome"] for each in found] == ["intent", "input_required", "intent", "ok"]
    assert [each.get("intent") for each in found] == [None, found[0]["seq"], None, found[2]["seq"]]
    assert {each["task"] for each in found} == {task_id}


def test_a_question_that_no_row_can_hold_is_asked_without_what_it_cannot(
    tasker: TaskClient, workers: Workers
) -> None:
    task_id = tasker.begin("odd")["taskId"]
    asking = tasker.until(task_id, "input_required")
    assert asking["inputRequests"]["name"]["params"]["message"].startswith("Who")
    tasker.answer(task_id, name={"name": "Ada"})
    assert tasker.until(task_id)["status"] == "completed"


def test_answers_may_come_one_by_one(tasker: TaskClient, workers: Workers) -> None:
    task_id = tasker.begin("names")["taskId"]
    assert tasker.until(task_id, "input_required")["inputRequests"].keys() == {"first", "second"}
    tasker.answer(task_id, second={"name": "Bo"})
    waiting = tasker.get(task_id)
    assert waiting["status"] == "input_required"
    assert waiting["inputRequests"].keys() == {"first"}
    # What is answered stays answered.
    tasker.answer(task_id, second={"name": "Someone else"})
    tasker.answer(task_id, first={"name": "Al"})
    assert tasker.until(task_id)["result"]["structuredContent"]["names"] == ["Al", "Bo"]


def test_an_answer_that_does_not_fit_is_asked_for_by_another_key(
    tasker: TaskClient, workers: Workers
) -> None:
    task_id = tasker.begin("name")["taskId"]
    tasker.until(task_id, "input_required")
    tasker.ask("update", task_id, inputResponses={"name": {"action": "perhaps"}})
    wait_for(lambda: tasker.get(task_id).get("inputRequests", {}).keys() == {"name-2"})
    tasker.answer(task_id, name={"name": "too late"})
    assert tasker.get(task_id)["inputRequests"].keys() == {"name-2"}
    tasker.answer(task_id, **{"name-2": {"name": "Ada"}})
    assert tasker.until(task_id)["result"]["structuredContent"]["name"] == "Ada"


def test_a_client_that_cannot_be_asked_has_that_for_a_result(tasker: TaskClient, workers: Workers) -> None:
    created = tasker.endpoint.call(
        "name",
        meta=modern_meta(
            **{
                "io.modelcontextprotocol/clientCapabilities": {
                    "extensions": {"io.modelcontextprotocol/tasks": {}}
                }
            }
        ),
    ).result
    ended = tasker.until(created["taskId"])
    assert ended["result"]["isError"] is True
    assert ended["result"]["_meta"]["marina/error"]["code"] == "client_cannot"


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_client_that_knows_no_tasks_is_asked_as_its_era_has_it(
    tasker: TaskClient, workers: Workers, mode: str
) -> None:
    asked: list[str] = []

    async def answer(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"name": "Ada"})

    async with connected(tasker.endpoint, mode, elicitation_callback=answer) as client:
        result = await client.call_tool("name")
    assert not result.is_error, result
    assert result.structured_content is not None
    assert result.structured_content["name"] == "Ada"
    assert asked == ["Who?"]


def test_what_is_asked_before_it_takes_long_is_asked_within_the_request(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records
) -> None:
    first = tasker.endpoint.call("early", meta=declaring()).result
    assert first["resultType"] == "input_required"
    assert "taskId" not in first
    answers = {"name": {"action": "accept", "content": {"name": "Ada"}}}
    second = tasker.endpoint.modern(
        "tools/call",
        {"name": "early", "arguments": {}, "inputResponses": answers, "requestState": first["requestState"]},
        meta=declaring(),
    ).result
    assert second["resultType"] == "task"
    assert not second.keys() & {"requestState", "inputRequests"}
    ended = tasker.until(second["taskId"])
    assert ended["result"]["structuredContent"]["name"] == "Ada"
    assert ended["result"]["structuredContent"]["kept"] == "later"
    outcomes = [each["outcome"] for each in records(lasters, kind="tools/call")]
    assert outcomes == ["input_required", "intent", "ok"]


def test_what_nobody_answers_in_time_ends(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records
) -> None:
    task_id = tasker.begin("name")["taskId"]
    tasker.until(task_id, "input_required")
    with tenant_scope(lasters.tenant_id):
        Task.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    sweep_tasks_of(lasters.tenant_id, timezone.now())
    ended = tasker.get(task_id)
    assert ended["status"] == "failed"
    assert "did not answer" in ended["error"]["message"]
    assert records(lasters, kind="tools/call")[-1]["reason"]["code"] == "task_expired"


def test_a_task_whose_time_is_up_is_gone(tasker: TaskClient, workers: Workers, lasters: Team) -> None:
    task_id = tasker.begin("quick")["taskId"]
    tasker.until(task_id)
    later = timezone.now() + timedelta(days=2)
    with tenant_scope(lasters.tenant_id):
        Task.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tasker.ask("get", task_id).error["code"] == -32602
    assert sweep_tasks_of(lasters.tenant_id, later) == 1
    with tenant_scope(lasters.tenant_id):
        assert not Task.objects.exists()
