"""Exports of schedules in a bucket of a real server of S3's protocol: whole, tried again, given up in words."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from core import objectstorage
from core.outbound import parse_networks
from tenants import tasks
from tenants.access import Caller
from tenants.exportfiles import manifest_of
from tenants.exports import delivering
from tenants.exports.delivering import deliver_export, find_undelivered
from tenants.exports.making import make_export
from tenants.models import AuditExport, ExportSchedule
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import create_schedule, delete_schedule, deliver_again, run_schedule
from tenants.services.exports import download_export, get_export
from tenants.services.log import search_records
from tests.objectstorage import KEYS, object_storage, storage_client
from tests.tenants.audit.places import make_place
from tests.tenants.exports.filling import fill_log
from tests.tenants.rounds import begin_with


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    with object_storage() as url:
        yield url


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    env = replace(settings.ENV, outbound_allow=parse_networks(["127.0.0.1"]))
    monkeypatch.setattr(settings, "ENV", env)
    monkeypatch.setattr(objectstorage, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def caller() -> Caller:
    place = make_place()
    return Caller(place.tenant_id, place.slug, actor="user:admin@example.com", role=Role.ADMIN)


@pytest.fixture
def silent() -> Iterator[tuple[str, Event]]:
    """A storage that takes a connection, and says nothing; and what happens when it was connected to."""
    connected, taken = Event(), []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    connected.set()

        Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", connected
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


def made_run(caller: Caller, endpoint: str, bucket: str, **given: Any) -> AuditExport:
    row = create_schedule(
        {
            "name": "Archive",
            "endpoint": endpoint,
            "bucket": bucket,
            "prefix": "audit/marina",
            **KEYS,
            **given,
        },
        caller=caller,
    )
    run = run_schedule(row.id, caller=caller)
    assert find_undelivered(caller.tenant_id) == []
    assert make_export(caller.tenant_id, run.id)
    assert find_undelivered(caller.tenant_id) == [run.id]
    return get_export(run.id, caller=caller)


def new_bucket(storage: str) -> tuple[Any, str]:
    client = storage_client(storage)
    name = f"audit-{hashlib.sha256(str(timezone.now()).encode()).hexdigest()[:20]}"
    client.create_bucket(Bucket=name)
    return client, name


def let_it_be_due(caller: Caller, run: AuditExport) -> None:
    with tenant_scope(caller.tenant_id):
        AuditExport.objects.filter(id=run.id).update(deliver_at=timezone.now())


def test_a_run_is_in_the_bucket_with_its_manifest_and_recorded(caller: Caller, storage: str) -> None:
    client, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)
    assert deliver_export(caller.tenant_id, run.id)
    run = get_export(run.id, caller=caller)
    assert (run.delivery, run.delivery_error, run.deliver_at) == ("delivered", "", None)
    path = download_export(run.id, caller=caller).path
    assert run.delivery_key.startswith(f"audit/marina/{caller.tenant_slug}-2")
    assert run.delivery_key.endswith(f"-1-1-{str(run.id)[:8]}.jsonl")
    stored = client.get_object(Bucket=bucket, Key=run.delivery_key)
    assert (stored["Body"].read(), stored["ContentType"]) == (path.read_bytes(), "application/x-ndjson")
    manifest = client.get_object(Bucket=bucket, Key=run.delivery_key.replace(".jsonl", ".manifest.json"))
    assert manifest["Body"].read() == manifest_of(path).read_bytes()
    [record] = search_records(caller=caller, kind="export.delivered").records
    assert record.actor == "marina"
    assert record.arguments is not None
    assert record.arguments["after"]["key"] == run.delivery_key
    assert KEYS["secret_key"] not in str(record.arguments)
    assert find_undelivered(caller.tenant_id) == []
    assert not deliver_export(caller.tenant_id, run.id)


def test_a_large_file_goes_in_parts_and_no_upload_is_left(
    caller: Caller, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The protocol takes no part below five MiB but the last.
    monkeypatch.setattr(objectstorage, "PART_BYTES", 5 * 1024 * 1024)
    fill_log(caller.tenant_id, 20_000)
    client, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)
    assert run.size is not None
    assert run.size > 10 * 1024 * 1024
    assert deliver_export(caller.tenant_id, run.id)
    key = get_export(run.id, caller=caller).delivery_key
    stored = client.get_object(Bucket=bucket, Key=key)
    assert stored["ETag"].rstrip('"').endswith("-3"), "made of three parts"
    assert hashlib.sha256(stored["Body"].read()).hexdigest() == run.sha256
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_an_upload_that_breaks_off_leaves_nothing_behind(
    caller: Caller, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstorage, "PART_BYTES", 5 * 1024 * 1024)
    fill_log(caller.tenant_id, 20_000)
    client, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)
    renewed: list[int] = []

    def break_off(_: object) -> None:
        renewed.append(1)
        if len(renewed) == 2:
            raise OSError(5, "the disk broke")

    monkeypatch.setattr(delivering._Hold, "renew", break_off)
    assert not deliver_export(caller.tenant_id, run.id)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    waiting = get_export(run.id, caller=caller)
    assert (waiting.delivery, waiting.delivery_tries) == ("waiting", 1)


def test_a_storage_that_is_away_is_tried_again_later_and_later(caller: Caller, storage: str) -> None:
    _, bucket = new_bucket(storage)
    run = made_run(caller, "http://127.0.0.1:9", bucket)
    pauses = []
    for tries in (1, 2, 3):
        before = timezone.now()
        assert not deliver_export(caller.tenant_id, run.id)
        waiting = get_export(run.id, caller=caller)
        assert (waiting.delivery, waiting.delivery_tries) == ("waiting", tries)
        assert "could not be connected to" in waiting.delivery_error
        assert waiting.deliver_at is not None
        pauses.append((waiting.deliver_at - before) // timedelta(minutes=1))
        assert find_undelivered(caller.tenant_id) == []
        let_it_be_due(caller, run)
    assert pauses == [1, 2, 4]


def test_after_many_tries_it_is_given_up_in_words_and_may_be_tried_again(
    caller: Caller, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "MAX_TRIES", 1)
    client, bucket = new_bucket(storage)
    run = made_run(caller, storage, "no-bucket-of-exports")
    assert not deliver_export(caller.tenant_id, run.id)
    failed = get_export(run.id, caller=caller)
    assert (failed.delivery, failed.deliver_at) == ("failed", None)
    assert "There is no bucket no-bucket-of-exports" in failed.delivery_error
    [record] = search_records(caller=caller, kind="export.undelivered").records
    assert record.arguments is not None
    assert record.arguments["after"]["reason"] == failed.delivery_error
    client.create_bucket(Bucket="no-bucket-of-exports")
    deliver_again(run.id, caller=caller)
    assert deliver_export(caller.tenant_id, run.id)
    assert get_export(run.id, caller=caller).delivery == "delivered"
    assert bucket


def test_an_address_that_is_not_connected_to_is_told(
    caller: Caller, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, outbound_allow=()))
    assert run.schedule_id is not None
    # The first is a public one: it is the scheme that is at fault.
    for endpoint, words in (("http://8.8.8.8", "in the clear"), ("https://127.0.0.1", "does not connect to")):
        with tenant_scope(caller.tenant_id):
            ExportSchedule.objects.filter(id=run.schedule_id).update(endpoint=endpoint)
        let_it_be_due(caller, run)
        assert not deliver_export(caller.tenant_id, run.id)
        assert words in get_export(run.id, caller=caller).delivery_error


def test_a_storage_that_says_nothing_is_left_after_a_while(
    caller: Caller, silent: tuple[str, Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "DELIVER_SECONDS", 0.5)
    run = made_run(caller, silent[0], "audit-logs")
    begun = monotonic()
    assert not deliver_export(caller.tenant_id, run.id)
    assert monotonic() - begun < 50, "one request alone may take a minute"
    waiting = get_export(run.id, caller=caller)
    assert (waiting.delivery, waiting.delivery_tries) == ("waiting", 1)
    assert "had not taken the file" in waiting.delivery_error


def test_who_is_at_it_holds_it_by_time_and_stops_when_the_schedule_is_deleted(
    caller: Caller, silent: tuple[str, Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "RENEW_SECONDS", 0.1)
    run = made_run(caller, silent[0], "audit-logs")
    assert run.schedule_id is not None
    with ThreadPoolExecutor(1) as worker:
        delivering_it = worker.submit(deliver_export, caller.tenant_id, run.id)
        assert silent[1].wait(60), "the request is under way"
        let_it_be_due(caller, run)
        for _ in range(1000):
            if find_undelivered(caller.tenant_id) == []:
                break
            sleep(0.05)
        assert find_undelivered(caller.tenant_id) == []
        delete_schedule(run.schedule_id, caller=caller)
        assert delivering_it.result(60) is False
    ended = get_export(run.id, caller=caller)
    assert ended.delivery == "failed"
    assert "was deleted" in ended.delivery_error


def test_what_nobody_foresaw_is_a_try_and_its_words_are_told_to_nobody(
    caller: Caller, storage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)

    async def fail(*_: object) -> None:
        raise ValueError("words of somebody else")

    monkeypatch.setattr(delivering, "put_file", fail)
    assert not deliver_export(caller.tenant_id, run.id)
    waiting = get_export(run.id, caller=caller)
    assert (waiting.delivery, waiting.delivery_tries) == ("waiting", 1)
    assert "unforeseen" in waiting.delivery_error
    told = [record for record in caplog.records if record.name == delivering.__name__]
    assert [record.__dict__.get("kind") for record in told] == ["ValueError"]
    assert "somebody else" not in caplog.text + waiting.delivery_error


def test_one_that_ends_its_workers_again_and_again_is_given_up(caller: Caller, storage: str) -> None:
    client, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)
    with tenant_scope(caller.tenant_id):
        AuditExport.objects.filter(id=run.id).update(delivery_tries=delivering.MAX_TRIES)
    assert not deliver_export(caller.tenant_id, run.id)
    assert get_export(run.id, caller=caller).delivery == "failed"
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_one_whose_making_failed_is_made_again(caller: Caller, storage: str) -> None:
    _, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)
    with tenant_scope(caller.tenant_id):
        AuditExport.objects.filter(id=run.id).update(status=AuditExport.Status.FAILED, error="no space")
    assert not deliver_export(caller.tenant_id, run.id)
    assert get_export(run.id, caller=caller).status == "queued"
    assert make_export(caller.tenant_id, run.id)
    let_it_be_due(caller, run)
    assert deliver_export(caller.tenant_id, run.id)


def test_one_of_a_deleted_schedule_is_given_up(caller: Caller, storage: str) -> None:
    _, bucket = new_bucket(storage)
    run = made_run(caller, storage, bucket)
    assert run.schedule_id is not None
    delete_schedule(run.schedule_id, caller=caller)
    assert not deliver_export(caller.tenant_id, run.id)
    assert "was deleted" in get_export(run.id, caller=caller).delivery_error


def test_a_worker_makes_and_delivers_in_one_go_and_the_sweep_does_what_was_lost(
    caller: Caller, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(caller.tenant_id, monkeypatch)
    hinted: list[tuple[str, tuple[int, str]]] = []
    for task in (tasks.run_export, tasks.deliver_export):
        monkeypatch.setattr(
            task, "apply_async", lambda args, retry, name=task.name: hinted.append((name, args))
        )
    client, bucket = new_bucket(storage)
    row = create_schedule({"name": "A", "endpoint": storage, "bucket": bucket, **KEYS}, caller=caller)
    with tenant_scope(caller.tenant_id):
        type(row).objects.filter(id=row.id).update(next_at=timezone.now())
    tasks.sweep_exports()
    [run_hint] = [
        args for name, args in hinted if name.endswith("run_export") and args[0] == caller.tenant_id
    ]
    tasks.run_export(*run_hint)
    assert (f"{tasks.deliver_export.name}", run_hint) in hinted
    hinted.clear()
    tasks.sweep_exports()
    assert (f"{tasks.deliver_export.name}", run_hint) in hinted
    tasks.deliver_export(*run_hint)
    assert len(client.list_objects_v2(Bucket=bucket)["Contents"]) == 2
