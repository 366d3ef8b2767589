"""What is still to be handed over is waited for; what a paused stream missed is said, and the rest still chains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from core.errors import Conflict
from core.notetargets import FolderTarget
from tenants import pruning
from tenants.exports.making import make_export
from tenants.models import ExportSchedule
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import create_schedule
from tenants.services.exports import download_export, start_export
from tenants.services.log import search_records
from tenants.services.retention import read_keeping, set_retention
from tenants.services.streams import pause_stream, redeliver, resume_stream
from tests.farside import FarSide, far_side, reply
from tests.tenants.audit.places import Place
from tests.tenants.retention.aging import numbers_of, old_log, owner_of, prune, publish, published_in
from tests.tenants.streams.flows import deliveries_of, row_of, stream_to, turn
from tests.tenants.streams.receivers import seqs_in, verified


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with published_in(tmp_path / "notes") as target:
        it = old_log()
        publish(it, target)
        assert isinstance(target, FolderTarget)
        set_retention(60, caller=owner_of(it))
        yield it


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


def test_a_stream_is_waited_for_and_one_that_is_paused_is_not(place: Place, far: FarSide) -> None:
    caller = owner_of(place)
    stream = stream_to(caller, far.serve("/in", reply())).standing.row
    assert prune(place) == 0
    assert "The stream siem" in read_keeping(caller=caller).waits
    pause_stream(stream.pk, caller=caller)
    assert prune(place) == 4
    resume_stream(stream.pk, caller=caller)
    turn(caller, stream.pk)
    seqs = [seq for asked in far.asked for seq in seqs_in(asked)]
    assert seqs[0] == 5
    assert seqs == list(range(5, seqs[-1] + 1))
    assert verified([line for asked in far.asked for line in json.loads(asked.body)["records"]]) == seqs[-1]
    (skipped,) = search_records(caller=caller, kind="stream.skipped").records
    assert skipped.arguments is not None
    assert (skipped.arguments["after"]["first"], skipped.arguments["after"]["last"]) == (1, 4)
    assert row_of(caller, stream.pk).failures == 0


def test_a_delivery_of_what_was_removed_is_not_made_again(place: Place, far: FarSide) -> None:
    caller = owner_of(place)
    stream = stream_to(caller, far.serve("/in", reply())).standing.row
    turn(caller, stream.pk)
    first = deliveries_of(caller, stream.pk)[0]
    assert first.first == 1
    assert prune(place) == 4
    with pytest.raises(Conflict, match="Retention has removed"):
        redeliver(stream.pk, first.pk, caller=caller)


def test_a_scheduled_export_is_waited_for_unless_it_is_switched_off(place: Place) -> None:
    caller = owner_of(place)
    given = {"name": "Archive", "bucket": "archive", "access_key": "AKIDEXAMPLE", "secret_key": "s" * 20}
    row = create_schedule(given, caller=caller)
    assert prune(place) == 0
    assert "The scheduled export Archive" in read_keeping(caller=caller).waits
    with tenant_scope(place.tenant_id):
        ExportSchedule.objects.filter(pk=row.pk).update(enabled=False)
    assert prune(place) == 4


def test_a_filtered_export_holds_what_is_left_and_chains_to_the_tombstone(place: Place) -> None:
    caller = owner_of(place)
    assert prune(place) == 4
    export = start_export(filters={"kind": "key.created"}, caller=caller)
    assert make_export(place.tenant_id, export.id)
    lines = download_export(export.id, caller=caller).path.read_bytes().splitlines()
    assert len(lines) == 8
    assert b'"seq":5,' in lines[0]
    assert b'"prev":"%s"' % (b"0" * 64) not in lines[0]


def test_a_log_of_many_records_gets_several_tombstones_at_once(place: Place) -> None:
    set_retention(40, caller=owner_of(place))
    with patch.object(pruning, "MOST_RECORDS", 4), patch.object(pruning, "EVERY", timedelta(days=1)):
        assert prune(place) == 8
    assert [stone.count for stone in read_keeping(caller=owner_of(place)).tombstones] == [4, 4]
    assert numbers_of(place)[0] == 9


def test_what_is_removed_in_batches_goes_all(place: Place) -> None:
    with patch.object(pruning, "BATCH", 3):
        assert prune(place) == 4
    assert numbers_of(place)[0] == 5
