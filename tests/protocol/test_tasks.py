"""MCP tasks (SEP-2663) on the wire: made, asked for, stopped, waited for by clients that know none; and the log."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from core.loop import run_async
from servers.models import Task, Turn
from servers.services.servers import create_server
from tenants.audit.verification import verify_log
from tenants.scoping import tenant_scope
from tenants.services.keys import revoke_key
from tests.factories import Team, make_team
from tests.protocol.conftest import ALL_SCOPES, HearAll, Records
from tests.protocol.lasting import LastingBackend
from tests.protocol.officialclient import connected
from tests.protocol.tasks import EXTENSION, TaskClient, Workers, declaring
from tests.protocol.waiting import in_thread, wait_for
from tests.protocol.wireclient import Endpoint, modern_meta

pytestmark = pytest.mark.anyio

UNKNOWN = "There is no such task of yours here"


def test_a_call_that_takes_long_is_a_task_whose_result_is_asked_for(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records
) -> None:
    created = tasker.begin("quick")
    assert created["status"] == "working"
    assert created.keys() >= {"taskId", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs", "_meta"}
    assert not created.keys() & {"task", "result", "error", "inputRequests", "requestState"}
    ended = tasker.until(created["taskId"])
    assert ended["resultType"] == "complete"
    assert ended["status"] == "completed"
    assert ended["result"]["content"] == [{"type": "text", "text": "quick 1"}]
    assert ended["result"]["structuredContent"]["run"] == 1
    assert ended["result"]["isError"] is False
    intent, outcome = records(lasters, kind="tools/call")
    assert (intent["outcome"], intent["task"]) == ("intent", created["taskId"])
    assert (outcome["outcome"], outcome["intent"]) == ("ok", intent["seq"])
    assert verify_log(lasters.tenant_id).seq


def test_a_task_is_there_before_its_id_is(tasker: TaskClient, lasters: Team) -> None:
    # No worker is about.
    task_id = tasker.begin("quick")["taskId"]
    assert tasker.get(task_id)["status"] == "working"
    with tenant_scope(lasters.tenant_id):
        row = Task.objects.get(id=task_id)
    assert row.intent_seq
    assert b"quick" not in bytes(row.sealed)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_client_that_knows_no_tasks_waits_for_the_result(
    tasker: TaskClient, workers: Workers, held: LastingBackend, mode: str
) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async with connected(tasker.endpoint, mode) as client:
        call = asyncio.create_task(client.call_tool("hold", progress_callback=hear))
        await asyncio.to_thread(run_async, held.let_go())
        result = await call
    assert not result.is_error
    assert result.structured_content["run"]
    assert heard == [(1, 2, "half")]


def test_a_tool_for_tasks_only_refuses_other_clients(tasker: TaskClient, workers: Workers) -> None:
    refused = tasker.endpoint.call("only")
    assert refused.error["code"] == -32021
    assert refused.error["data"]["requiredCapabilities"] == {"extensions": {EXTENSION: {}}}
    assert tasker.until(tasker.begin("only")["taskId"])["status"] == "completed"


def test_what_runs_within_its_request_is_no_task(tasker: TaskClient) -> None:
    result = tasker.endpoint.call("inline", meta=declaring()).result
    assert result["resultType"] == "complete"
    assert "taskId" not in result


@pytest.mark.parametrize("method", ["get", "update", "cancel"])
def test_tasks_are_for_clients_that_declare_them(tasker: TaskClient, method: str) -> None:
    sent = {"taskId": "a", "inputResponses": {}}
    answer = tasker.endpoint.modern(f"tasks/{method}", sent, headers={"Mcp-Name": "a"})
    assert (answer.status, answer.error["code"]) == (400, -32021)
    assert answer.error["data"]["requiredCapabilities"] == {"extensions": {EXTENSION: {}}}


def test_the_extension_is_announced_to_clients_of_2026_07_28(tasker: TaskClient) -> None:
    assert tasker.endpoint.modern("server/discover").result["capabilities"]["extensions"] == {EXTENSION: {}}


def test_a_header_that_names_another_task_is_refused(tasker: TaskClient) -> None:
    task_id = tasker.begin("quick")["taskId"]
    answer = tasker.endpoint.modern(
        "tasks/get", {"taskId": task_id}, meta=declaring(), headers={"Mcp-Name": "other"}
    )
    assert answer.error["code"] == -32020


@pytest.mark.parametrize("method", ["get", "update", "cancel"])
def test_nobody_else_hears_of_a_task(
    port: int, tasker: TaskClient, lasters: Team, hear_all: HearAll, method: str
) -> None:
    task_id = tasker.begin("quick")["taskId"]
    create_server(slug="other", title="Other", sources=["lasting-source"], caller=lasters.owner)
    hear_all()
    elsewhere = make_team()
    others = {
        "another key": tasker.endpoint.with_key(lasters.key(*ALL_SCOPES)),
        "another server": tasker.endpoint.at(f"/mcp/{lasters.slug}/other"),
        "another team": Endpoint(port, f"/mcp/{elsewhere.slug}", elsewhere.key()),
    }
    told = {
        name: TaskClient(door).ask(method, task_id, inputResponses={}).error for name, door in others.items()
    }
    told["an unknown id"] = tasker.ask(method, str(uuid4()), inputResponses={}).error
    told["no id at all"] = tasker.ask(method, "nonsense", inputResponses={}).error
    assert all(error == told["an unknown id"] for error in told.values()), told
    assert told["an unknown id"]["code"] == -32602
    assert told["an unknown id"]["message"].startswith(UNKNOWN)
    assert tasker.get(task_id)["status"] == "working"


def test_cancelling_stops_the_work(
    tasker: TaskClient, workers: Workers, held: LastingBackend, lasters: Team, records: Records
) -> None:
    task_id = tasker.begin("hold")["taskId"]
    assert held.entered.acquire(timeout=60)
    acknowledged = tasker.ask("cancel", task_id).result
    assert acknowledged.keys() == {"resultType", "_meta"}
    assert held.cancelled.wait(60)
    ended = tasker.until(task_id)
    assert ended["status"] == "cancelled"
    assert not ended.keys() & {"result", "error"}
    assert tasker.ask("cancel", task_id).result["resultType"] == "complete"
    assert [each["outcome"] for each in records(lasters, kind="tools/call")] == ["intent", "cancelled"]


def test_what_waits_is_cancelled_without_a_run(
    tasker: TaskClient, lasting_backend: LastingBackend, lasters: Team, records: Records
) -> None:
    task_id = tasker.begin("quick")["taskId"]
    tasker.ask("cancel", task_id)
    assert tasker.get(task_id)["status"] == "cancelled"
    assert not Turn.objects.filter(task_id=task_id).exists()
    assert not lasting_backend.runs[lasters.slug, "quick"]
    intent, outcome = records(lasters, kind="tools/call")
    assert (outcome["outcome"], outcome["intent"]) == ("cancelled", intent["seq"])


def test_a_client_that_goes_away_has_the_work_stopped(
    tasker: TaskClient, workers: Workers, held: LastingBackend, lasters: Team, records: Records
) -> None:
    impatient = replace(tasker.endpoint, seconds=6)
    with in_thread(lambda: impatient.call("hold")) as answer:
        assert held.entered.acquire(timeout=60)
        with pytest.raises(TimeoutError):
            answer()
    assert held.cancelled.wait(60)
    wait_for(
        lambda: [each["outcome"] for each in records(lasters, kind="tools/call")] == ["intent", "cancelled"]
    )


def test_a_tools_failure_is_a_result_and_a_fault_of_the_program_is_none(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records
) -> None:
    failed = tasker.until(tasker.begin("fail")["taskId"])
    assert failed["status"] == "completed"
    assert failed["result"]["isError"] is True
    assert failed["result"]["_meta"]["marina/error"]["code"] == "source_unreachable"
    broken = tasker.until(tasker.begin("break")["taskId"])
    assert broken["status"] == "failed"
    assert broken["error"]["code"] == -32603
    assert "result" not in broken
    assert "secret" not in json.dumps(broken)
    outcomes = [each["outcome"] for each in records(lasters, kind="tools/call")]
    assert outcomes == ["intent", "error", "intent", "error"]


def test_a_credential_that_was_revoked_has_nothing_run(
    port: int, lasters: Team, held: LastingBackend, workers_later: Workers, records: Records
) -> None:
    key = lasters.key(*ALL_SCOPES)
    TaskClient(Endpoint(port, f"/mcp/{lasters.slug}", key)).begin("effect")
    with tenant_scope(lasters.tenant_id):
        row = Task.objects.get()
        assert row.credential_id is not None
    revoke_key(row.credential_id, caller=lasters.owner)
    workers_later.begin()
    wait_for(lambda: len(records(lasters, kind="tools/call")) == 2)
    assert not held.runs[lasters.slug, "effect"]
    assert records(lasters, kind="tools/call")[1]["reason"]["code"] == "credential_ended"
    with tenant_scope(lasters.tenant_id):
        wait_for(lambda: Task.objects.get().status == "failed")


def test_the_same_call_with_its_idempotency_key_is_one_task(
    tasker: TaskClient, workers: Workers, lasters: Team, lasting_backend: LastingBackend
) -> None:
    key = {"marina/idempotencyKey": "order-7"}
    first, second = tasker.begin("quick", meta=key), tasker.begin("quick", meta=key)
    assert first["taskId"] == second["taskId"]
    assert tasker.until(first["taskId"])["status"] == "completed"
    assert lasting_backend.runs[lasters.slug, "quick"] == 1
    wrong = tasker.endpoint.call("quick", meta={**declaring(), "marina/idempotencyKey": 7})
    assert wrong.error["code"] == -32602


def test_many_that_are_cancelled_at_once_all_end(
    tasker: TaskClient, workers: Workers, held: LastingBackend
) -> None:
    # Other arguments each, so that none shares another's run.
    ids = [tasker.begin("hold", {"n": n})["taskId"] for n in range(6)]
    for _ in ids:
        # Each hint's workers take one after another, and these are held.
        workers.hint()
        assert held.entered.acquire(timeout=60)
    with ThreadPoolExecutor(6) as together:
        list(together.map(lambda task_id: tasker.ask("cancel", task_id), ids))
    assert {tasker.until(task_id)["status"] for task_id in ids} == {"cancelled"}


def test_a_task_is_cancelled_in_the_moment_in_which_it_is_claimed(
    tasker: TaskClient, workers: Workers, lasters: Team
) -> None:
    for _ in range(30):
        task_id = tasker.begin("quick")["taskId"]
        assert tasker.ask("cancel", task_id).status == 200
        assert tasker.until(task_id)["status"] in ("cancelled", "completed")


def test_an_idempotency_key_is_of_one_call(tasker: TaskClient, workers: Workers) -> None:
    key = {"marina/idempotencyKey": "order-8"}
    tasker.begin("quick", {"n": 1}, meta=key)
    for tool, arguments in (("quick", {"n": 2}), ("only", {"n": 1})):
        other = tasker.endpoint.call(tool, arguments, meta={**declaring(), **key}).result
        assert other["isError"] is True
        assert other["_meta"]["marina/error"]["code"] == "idempotency_key_reused"


def test_a_listener_is_told_of_its_tasks(tasker: TaskClient, workers: Workers, held: LastingBackend) -> None:
    task_id = tasker.begin("hold")["taskId"]
    wanted = {"notifications": {"taskIds": [task_id, str(uuid4())]}}
    refused = tasker.endpoint.modern("subscriptions/listen", wanted, meta=modern_meta())
    assert refused.error["code"] == -32021
    told: list[dict[str, Any]] = []
    for message in listen(tasker.endpoint, wanted):
        if message["method"] == "notifications/subscriptions/acknowledged":
            assert message["params"]["notifications"]["taskIds"] == [task_id]
            run_async(held.let_go())
        else:
            assert message["method"] == "notifications/tasks"
            told.append(message["params"])
            if told[-1]["status"] == "completed":
                break
    assert told[-1]["taskId"] == task_id
    assert told[-1]["result"]["isError"] is False


def listen(endpoint: Endpoint, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The messages of a stream of ``subscriptions/listen``."""
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {**params, "_meta": declaring()},
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {endpoint.key}",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }
    try:
        connection.request("POST", endpoint.path, json.dumps(body), headers)
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        connection.close()
