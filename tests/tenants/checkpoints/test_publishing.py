"""Checkpoints come to every place, in order and at least once, whatever happens to the place meanwhile."""

from __future__ import annotations

import base64
import hashlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from core.notetargets import Target, parse_targets
from core.objectstorage import Target as StorageTarget
from core.objectstorage import sign as storage_sign
from tenants import publishing
from tenants.access import Caller
from tenants.audit.notes import digest_of, join_notes, read_statement, split_notes
from tenants.checkpoint_tasks import publish_checkpoints
from tenants.models import CheckpointCursor
from tenants.notesenders import send_notes
from tenants.publishing import publish_tenant
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.publication import read_standing
from tests.farside import FarSide, far_side, reply
from tests.objectstorage import KEYS, object_storage, storage_client
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.logs import notes_of, sign_off, signed_log, state_of, tamper, write

SECRET = "hook-secret"


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


def use(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> tuple[Target, ...]:
    """This process with these places."""
    targets = parse_targets(addresses, **KEYS)
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, checkpoints=targets))
    return targets


def publish(place: Place, target: Target) -> tuple[int, str]:
    return publish_tenant(place.tenant_id, place.slug, target)


def only(monkeypatch: pytest.MonkeyPatch, *places: Place) -> None:
    """Other tests' tenants are due, too: a look passes them by."""
    ours = {place.tenant_id for place in places}

    def publish_ours(tenant_id: int, slug: str, target: Target) -> tuple[int, str]:
        return publish_tenant(tenant_id, slug, target) if tenant_id in ours else (0, "")

    monkeypatch.setattr(publishing, "publish_tenant", publish_ours)


def cursor_of(place: Place, target: Target) -> CheckpointCursor:
    with tenant_scope(place.tenant_id):
        return CheckpointCursor.objects.get(target=target.id)


def be_due(place: Place) -> None:
    with tenant_scope(place.tenant_id):
        CheckpointCursor.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))


def test_a_look_brings_every_place_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, far: FarSide
) -> None:
    hook = far.serve("/notes", reply())
    use(monkeypatch, f"file://{tmp_path}/a", f"{hook}?token={SECRET}")
    place, other = signed_log(2, 1), signed_log(1)
    only(monkeypatch, place, other)
    publish_checkpoints()
    file = tmp_path / "a" / f"{place.slug}.notes"
    assert split_notes(file.read_bytes()) == notes_of(place)
    assert split_notes((tmp_path / "a" / f"{other.slug}.notes").read_bytes()) == notes_of(other)
    ours = [asked for asked in far.asked if asked.headers["marina-tenant"] == place.slug]
    assert [asked.body for asked in ours] == notes_of(place)
    assert [asked.headers["marina-checkpoint"] for asked in ours] == ["1", "2"]
    assert ours[0].headers["idempotency-key"] == digest_of(notes_of(place)[0]).hex()
    assert ours[0].headers["content-type"] == "text/plain; charset=utf-8"
    assert ours[0].query == f"token={SECRET}"
    publish_checkpoints()
    assert split_notes(file.read_bytes()) == notes_of(place), "nothing comes twice"


def test_of_stills_the_newest_is_published_and_nothing_is_while_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (target,) = use(monkeypatch, f"file://{tmp_path}")
    place = signed_log(2)
    for _ in range(3):
        assert sign_off(place) is not None
    still = bytes(state_of(place).still)
    assert publish(place, target) == (2, "")
    file = tmp_path / f"{place.slug}.notes"
    assert split_notes(file.read_bytes()) == [*notes_of(place), still]
    assert publish(place, target) == (0, "")
    assert sign_off(place) is not None
    write(place)
    assert sign_off(place) is not None
    assert publish(place, target) == (1, "")
    kinds = [read_statement(note).kind for note in split_notes(file.read_bytes())]
    assert kinds == ["checkpoint", "still", "checkpoint"]


def test_a_file_is_private_to_its_group_and_only_grows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (target,) = use(monkeypatch, f"file://{tmp_path}/deep/er")
    place = signed_log(1)
    publish(place, target)
    file = tmp_path / "deep" / "er" / f"{place.slug}.notes"
    before = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) & 0o027 == 0
    write(place)
    sign_off(place)
    publish(place, target)
    assert file.read_bytes() == before + join_notes(notes_of(place)[1:])


@pytest.mark.parametrize("kept", [1, 30, 100, 200, -2, -1])
def test_a_note_torn_by_a_power_failure_comes_again_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: int
) -> None:
    (target,) = use(monkeypatch, f"file://{tmp_path}")
    place = signed_log(1)
    publish(place, target)
    write(place)
    sign_off(place)
    file = tmp_path / f"{place.slug}.notes"
    torn = join_notes(notes_of(place)[1:])[:kept]
    file.write_bytes(file.read_bytes() + torn)
    assert publish(place, target) == (1, "")
    assert split_notes(file.read_bytes()) == notes_of(place)


def test_nothing_is_lost_while_a_webhook_is_down_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, far: FarSide, caplog: pytest.LogCaptureFixture
) -> None:
    # Not over before the next look, on a slow machine either.
    monkeypatch.setattr(publishing, "FIRST_PAUSE", timedelta(minutes=2))
    hook = far.serve("/notes", reply(status=503))
    (target,) = use(monkeypatch, f"{hook}?token={SECRET}")
    place = signed_log(1, 1)
    only(monkeypatch, place)
    assert publish(place, target) == (0, "It answered with status 503.")
    first = cursor_of(place, target)
    assert (first.failures, first.number) == (1, 0)
    assert first.next_try_at is not None
    assert first.next_try_at > timezone.now()
    publish_checkpoints()
    assert len(far.asked) == 1, "not before its time"
    for _ in range(12):
        publish(place, target)
    later = cursor_of(place, target)
    assert later.failing_since == first.failing_since
    assert later.next_try_at is not None
    pause = later.next_try_at - timezone.now()
    assert timedelta(minutes=3) < pause <= timedelta(minutes=5)
    caller = Caller(place.tenant_id, place.slug, actor="user:a", role=Role.AUDITOR)
    (shown,) = read_standing(caller=caller).places
    assert (shown.number, shown.error) == (0, "It answered with status 503.")
    assert SECRET not in shown.label + caplog.text
    assert "checkpoint not published" in caplog.text
    far.serve("/notes", reply(status=204))
    far.asked.clear()
    be_due(place)
    publish_checkpoints()
    assert [asked.body for asked in far.asked] == notes_of(place)
    assert (cursor_of(place, target).failures, cursor_of(place, target).error) == (0, "")


def test_what_a_place_took_before_it_failed_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, far: FarSide
) -> None:
    def two_only(asked: Any, send: Any) -> None:
        send(reply(status=200 if len(far.asked) <= 2 else 500))

    (target,) = use(monkeypatch, far.serve("/notes", two_only))
    place = signed_log(1, 1, 1, 1)
    assert publish(place, target) == (2, "It answered with status 500.")
    assert cursor_of(place, target).number == 2
    far.serve("/notes", reply())
    far.asked.clear()
    assert publish(place, target) == (2, "")
    assert [asked.body for asked in far.asked] == notes_of(place)[2:]


def test_a_worker_that_dies_before_it_noted_what_arrived_sends_it_again_and_no_verdict_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (target,) = use(monkeypatch, f"file://{tmp_path}")
    place = signed_log(1, 1)

    def die(sent_to: Target, notes: Any) -> Any:
        send_notes(sent_to, notes)
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(publishing, "send_notes", die)
        with pytest.raises(KeyboardInterrupt):
            publish(place, target)
    assert publish(place, target) == (2, "")
    file = tmp_path / f"{place.slug}.notes"
    assert split_notes(file.read_bytes()) == [*notes_of(place), *notes_of(place)]
    call_command("verify_log", place.slug, checkpoints=tmp_path)
    assert "Published notes that fit: 4." in capsys.readouterr().out


def test_a_webhook_that_hangs_up_and_one_that_is_away_are_said(
    monkeypatch: pytest.MonkeyPatch, far: FarSide
) -> None:
    place = signed_log(1)
    (broken,) = use(monkeypatch, far.serve("/notes", b""))
    sent, problem = publish(place, broken)
    assert (sent, problem[:3]) == (0, "It ")
    far.stop()
    sent, problem = publish(place, broken)
    assert (sent, problem) == (0, "It could not be connected to.")


def test_a_place_in_a_private_network_must_be_allowed(monkeypatch: pytest.MonkeyPatch, far: FarSide) -> None:
    (target,) = use(monkeypatch, far.serve("/notes", reply()))
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, outbound_allow=()))
    sent, problem = publish(signed_log(1), target)
    assert (sent, far.asked) == (0, [])
    assert "does not connect to" in problem


def test_a_folder_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (target,) = use(monkeypatch, f"file://{tmp_path}/file/below")
    sent, problem = publish(signed_log(1), target)
    assert sent == 0
    assert "(ENOTDIR)" in problem


def test_one_place_that_is_down_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, far: FarSide
) -> None:
    hook = far.serve("/notes", reply(status=500))
    use(monkeypatch, hook, f"file://{tmp_path}")
    places = [signed_log(1) for _ in range(4)]
    only(monkeypatch, *places)
    publish_checkpoints()
    assert len(far.asked) == 2, "two teams' notes are enough to know that it is down"
    for place in places:
        assert split_notes((tmp_path / f"{place.slug}.notes").read_bytes()) == notes_of(place)


def test_a_bucket_holds_an_object_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with object_storage() as storage:
        s3 = storage_client(storage)
        s3.create_bucket(Bucket="checkpoints")
        (target,) = use(monkeypatch, f"s3://checkpoints/marina/log?endpoint={storage}")
        place = signed_log(1, 1)
        for _ in range(2):
            sign_off(place)
            assert publish(place, target)[1] == ""
        prefix = f"marina/log/{place.slug}/"
        found = {
            each["Key"].removeprefix(prefix): s3.get_object(Bucket="checkpoints", Key=each["Key"])[
                "Body"
            ].read()
            for each in s3.list_objects_v2(Bucket="checkpoints", Prefix=prefix)["Contents"]
        }
        first, second = notes_of(place)
        marks = [digest_of(note).hex()[:16] for note in (first, second)]
        assert found == {
            f"000000000001-{marks[0]}.note": first,
            f"000000000002-{marks[1]}.note": second,
            f"000000000002-{marks[1]}.still.note": bytes(state_of(place).still),
        }
        (away,) = use(monkeypatch, f"s3://not-there/?endpoint={storage}")
        assert publish(place, away) == (0, "It answered with status 404.")


def test_in_a_bucket_another_note_of_the_same_number_takes_no_ones_place(
    monkeypatch: pytest.MonkeyPatch, far: FarSide
) -> None:
    (target,) = use(monkeypatch, f"s3://checkpoints/?endpoint={far.serve('/', reply()).rstrip('/')}")
    place, other = signed_log(1), signed_log(1)
    for each in (place, other):
        assert sign_off(each) is not None
        far.serve(_path_of(each, place.slug), reply())
        far.serve(_path_of(each, place.slug, "still."), reply())
        assert publish_tenant(each.tenant_id, place.slug, target) == (2, "")
    assert len({asked.path for asked in far.asked}) == 4
    for asked in far.asked:
        digest = base64.b64encode(hashlib.md5(asked.body, usedforsecurity=False).digest()).decode()
        assert asked.headers["content-md5"] == digest
        assert "content-md5" in asked.headers["authorization"]


def _path_of(place: Place, slug: str, kind: str = "") -> str:
    return f"/checkpoints/{slug}/000000000001-{digest_of(notes_of(place)[0]).hex()[:16]}.{kind}note"


def test_what_is_in_one_teams_rows_stops_no_other_teams_notes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use(monkeypatch, f"file://{tmp_path}")
    place, later = signed_log(1), signed_log(1)
    tamper(("UPDATE tenants_auditcheckpoint SET at = 'infinity' WHERE tenant_id = %s", (place.tenant_id,)))
    only(monkeypatch, place, later)
    publish_checkpoints()
    assert split_notes((tmp_path / f"{later.slug}.notes").read_bytes()) == notes_of(later)
    told = [line for line in caplog.records if line.name == publishing.__name__]
    assert [(line.levelname, line.__dict__["tenant_id"]) for line in told] == [("CRITICAL", place.tenant_id)]


def test_a_tenant_without_statements_has_nothing_to_publish(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (target,) = use(monkeypatch, f"file://{tmp_path}")
    assert publish(make_place(), target) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://x/y", "neither file"),
        ("file://host/folder", "file:///var"),
        ("file:///a/../b", "file:///var"),
        ("https://user:secret@x.example.com/", "without a user"),
        ("https://:99999/", "is none"),
        ("s3://UPPER/x", "s3://name/prefix"),
        ("s3://bucket/a/../b", "s3://name/prefix"),
        ("s3://bucket/x?secret=secret", "endpoint= and region= alone"),
        ("s3://bucket/x?endpoint=http://a/b", "scheme, host and port"),
    ],
)
def test_an_address_that_is_none_is_refused_without_being_repeated(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        parse_targets([address], **KEYS)
    assert "secret@" not in str(refusal.value)
    assert "secret=secret" not in str(refusal.value)


def test_a_bucket_needs_its_keys() -> None:
    with pytest.raises(ValueError, match="MARINA_CHECKPOINTS_ACCESS_KEY"):
        parse_targets(["s3://bucket"], access_key="", secret_key="")


def test_targets_in_words_hold_no_secret() -> None:
    targets = parse_targets(["https://x.example.com/?token=hidden", "s3://bucket/a"], **KEYS)
    for text in (repr(targets), *(target.label for target in targets), *(target.id for target in targets)):
        assert "hidden" not in text
        assert KEYS["secret_key"] not in text


def test_every_put_into_a_storage_has_its_digest() -> None:
    for place in (
        StorageTarget("b", "https://x", "r", "", ""),
        StorageTarget("b", "https://x", "r", "k", "s"),
    ):
        put = storage_sign(place, "PUT", "https://x/b/k", headers={}, content=b"abc")
        assert put["Content-MD5"] == "kAFQmDzST7DWlj99KOF/cg=="
        assert "Content-MD5" not in storage_sign(place, "POST", "https://x/b/k", headers={}, content=b"abc")
