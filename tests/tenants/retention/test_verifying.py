"""Both verifiers and ``verify_log`` accept a log that begins after a tombstone, and name every tombstone that lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command

from tenants import pruning
from tenants.access import Caller
from tenants.audit.chain import Head
from tenants.audit.notes import digest_of, join_notes, key_name, sign
from tenants.audit.records import to_datetime
from tenants.audit.tombstones import DAY_US, LEAST_DAYS, Tombstone, read_tombstone
from tenants.exports.making import make_export
from tenants.models_retention import MIN_DAYS
from tenants.services.checkpoints import make_checkpoint
from tenants.services.exports import download_export, open_manifest, start_export
from tenants.services.log_keys import base_host, open_keys, public_keys
from tenants.services.retention import set_retention
from tests.tenants.audit.places import Place
from tests.tenants.checkpoints.logs import notes_of, tamper
from tests.tenants.checkpoints.programs import PROGRAMS, verify
from tests.tenants.retention.aging import (
    numbers_of,
    old_log,
    owner_of,
    prune,
    publish,
    published_in,
    tombstones_of,
)

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Pruned:
    """A log of which records 1 to 4, and then 5 to 8, were removed, as an auditor has it."""

    place: Place
    lines: tuple[bytes, ...]
    checkpoints: tuple[bytes, ...]
    tombstones: tuple[bytes, ...]
    manifest: bytes


def prune_twice(folder: Path) -> Pruned:
    """Make one."""
    with published_in(folder) as target:
        place = old_log()
        caller = owner_of(place)
        publish(place, target)
        for days in (60, 40):
            set_retention(days, caller=caller)
            with patch.object(pruning, "EVERY", timedelta(0)):
                assert prune(place) == 4
        assert make_checkpoint(place.tenant_id, place.slug, open_keys()) is not None
    export = start_export(caller=caller)
    assert make_export(place.tenant_id, export.id)
    lines = download_export(export.id, caller=caller).path.read_bytes().splitlines(keepends=True)
    manifest = open_manifest(export.id, caller=caller).read_bytes()
    return Pruned(place, tuple(lines), tuple(notes_of(place)), tuple(tombstones_of(place)), manifest)


@pytest.fixture(scope="module")
def pruned(database: None, tmp_path_factory: pytest.TempPathFactory) -> Pruned:
    return prune_twice(tmp_path_factory.mktemp("notes"))


def save(it: Pruned, folder: Path) -> tuple[Path, Path, Path]:
    """The files of an auditor."""
    export, notes, keys = folder / "export.jsonl", folder / "log.notes", folder / "keys.json"
    export.write_bytes(b"".join(it.lines))
    notes.write_bytes(join_notes([*it.checkpoints, *it.tombstones]))
    keys.write_text(json.dumps({"keys": public_keys()}))
    return export, notes, keys


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_export_that_begins_after_the_tombstones_is_whole(
    program: str, pruned: Pruned, tmp_path: Path
) -> None:
    assert json.loads(pruned.lines[0])["seq"] == 9
    export, notes, keys = save(pruned, tmp_path)
    code, said = verify(program, export, "--checkpoints", notes, "--keys", keys)
    assert code == 0, said
    assert "records 1 to 8" in said
    assert "kept for 40 days at least" in said
    assert verify(program, export)[0] == 1, "without tombstones nobody says why it begins there"
    assert verify(program, export, "--range")[0] == 0


def test_the_manifest_says_what_is_not_there_and_why(pruned: Pruned) -> None:
    told = json.loads(pruned.manifest)
    assert told["removed"] == {"last_seq": 8, "tombstones": [note.decode() for note in pruned.tombstones]}
    assert told["gaps"] == []
    assert told["range"]["first_seq"] == told["records"]["first_seq"] == 9
    assert told["records"]["first_prev"] == read_tombstone(pruned.tombstones[1]).last.hash.hex()


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_export_from_before_the_last_tombstone_is_whole_still(
    program: str, pruned: Pruned, tmp_path: Path
) -> None:
    with published_in(tmp_path / "notes") as target:
        place = old_log()
        caller = owner_of(place)
        publish(place, target)
        export = start_export(caller=caller)
        assert make_export(place.tenant_id, export.id)
        lines = download_export(export.id, caller=caller).path.read_bytes().splitlines(keepends=True)
        set_retention(60, caller=caller)
        assert prune(place) == 4
    before = Pruned(
        place, tuple(lines[:12]), tuple(notes_of(place)), tuple(tombstones_of(place)), pruned.manifest
    )
    path, notes, keys = save(before, tmp_path)
    code, said = verify(program, path, "--checkpoints", notes, "--keys", keys)
    assert code == 0, said


def _forged(it: Pruned) -> Pruned:
    """Signed with a key of the forger's own."""
    note = sign(read_tombstone(it.tombstones[1]).text(), key_name(base_host()), Ed25519PrivateKey.generate())
    return replace(it, tombstones=(it.tombstones[0], note))


def _without_second(it: Pruned) -> Pruned:
    return replace(it, tombstones=it.tombstones[:1])


def _without_first(it: Pruned) -> Pruned:
    return replace(it, tombstones=it.tombstones[1:])


def _too_narrow(it: Pruned) -> Pruned:
    """More is gone than they say."""
    return replace(it, lines=it.lines[1:])


def _wide(change: Callable[[Tombstone], Tombstone] = lambda stone: stone) -> Callable[[Pruned], Pruned]:
    """With the right key, by somebody who has the master key, too: of all but the newest, which were seconds old."""

    def make(it: Pruned) -> Pruned:
        newest = json.loads(it.lines[3])
        second = read_tombstone(it.tombstones[1])
        wide = change(replace(second, last=Head(12, bytes.fromhex(newest["hash"]))))
        note = sign(wide.text(), key_name(base_host()), open_keys().signing)
        return replace(it, tombstones=(it.tombstones[0], note), lines=it.lines[4:])

    return make


_too_wide = _wide()
_next_year = _wide(lambda stone: replace(stone, at_us=stone.at_us + 365 * DAY_US))
_last_year = _wide(lambda stone: replace(stone, at_us=stone.at_us - 365 * DAY_US))
_after_a_day = _wide(lambda stone: replace(stone, days=1))
_after_no_day = _wide(lambda stone: replace(stone, days=0))


def _sql(statement: str) -> Callable[[Pruned], None]:
    return lambda it: tamper((statement, (it.place.tenant_id,)))


def _store(make: Callable[[Pruned], Pruned]) -> Callable[[Pruned], None]:
    def run(it: Pruned) -> None:
        note = make(it).tombstones[1]
        said = read_tombstone(note)
        tamper(
            (
                "UPDATE tenants_audittombstone SET note = %s, last = %s, last_hash = %s, days = %s, at = %s"  # noqa: ISC004
                " WHERE number = 2 AND tenant_id = %s",
                (
                    note,
                    said.last.seq,
                    said.last.hash,
                    said.days,
                    to_datetime(said.at_us),
                    it.place.tenant_id,
                ),
            ),
            (
                "DELETE FROM tenants_auditrecord WHERE tenant_id = %s AND seq <= %s",
                (it.place.tenant_id, said.last.seq),
            ),
        )

    return run


class Lie(NamedTuple):
    """One way to lie about what was removed, and how what each program says of it begins."""

    name: str
    exported: Callable[[Pruned], Pruned]
    stored: Callable[[Pruned], None]
    python: str
    typescript: str
    verify_log: str
    further: tuple[str, str] = ("", "")
    """What both verifiers say after its name, which has a time."""


LIES = (
    Lie(
        "tombstone 2 forged: signed with another key",
        _forged,
        _store(_forged),
        "Tombstone 2",
        "no key that was given signed tombstone 2",
        "Tombstone 2 was forged or changed: none of this installation's keys signed it.",
    ),
    Lie(
        "records 5 to 8 deleted, and no tombstone for them",
        _without_second,
        _sql("DELETE FROM tenants_audittombstone WHERE number = 2 AND tenant_id = %s"),
        "The file begins with record 9: Records 5 to 8 are missing, and no tombstone says that they were removed",
        "record 5 is missing: the file begins with 9, and no tombstone says why",
        "records 5 to 8 are missing: record 9 follows record 4. No tombstone says that retention removed it.",
    ),
    Lie(
        "tombstone 1 taken away",
        _without_first,
        _sql("DELETE FROM tenants_audittombstone WHERE number = 1 AND tenant_id = %s"),
        "The file begins with record 9: Records 1 to 8 are missing, and no tombstone says that they were removed",
        "record 1 is missing: the file begins with 9, and no tombstone says why",
        "Tombstone 1 is missing: tombstone 2 follows.",
    ),
    Lie(
        "record 9 deleted, which no tombstone names",
        _too_narrow,
        _sql("DELETE FROM tenants_auditrecord WHERE seq = 9 AND tenant_id = %s"),
        "The file begins with record 10: Record 9 is missing, and no tombstone says that they were removed",
        "record 9 is missing: the file begins with 10, and no tombstone says why",
        "record 9 is missing: record 10 follows record 8. No tombstone says that retention removed it.",
    ),
    Lie(
        "tombstone 2 made too wide with the installation's own key: records 5 to 12, of which the last are new",
        _too_wide,
        _store(_too_wide),
        "Tombstone 2",
        "tombstone 2",
        "Tombstone 2 is too wide: it says that records 5 to 12 were removed after 40 days, but checkpoint 3",
        ("is too wide: ", "is too wide: "),
    ),
    Lie(
        "tombstone 2 likewise, and dated a year ahead",
        _next_year,
        _store(_next_year),
        "Tombstone 2",
        "tombstone 2",
        "Tombstone 2 is of ",
        ("or still to come.", "is of a time that is still to come"),
    ),
    Lie(
        "tombstone 2 likewise, and dated before tombstone 1",
        _last_year,
        _store(_last_year),
        "Tombstone 2",
        "tombstone 2",
        "Tombstone 2 is no younger than tombstone 1: its time was made up.",
        ("is no younger than the one before it", "is no younger than the tombstone before it"),
    ),
    Lie(
        "tombstone 2 likewise, and of a policy of 1 day",
        _after_a_day,
        _store(_after_a_day),
        "Tombstone 2",
        "tombstone 2",
        "Tombstone 2 says that records were removed after 1 days: no policy is shorter than 30.",
        ("says 1 days, and 30 is the least", "buries records after 1 days, and 30 is the least"),
    ),
    Lie(
        "tombstone 2 likewise, and of a policy of 0 days",
        _after_no_day,
        _store(_after_no_day),
        "Tombstone 2",
        "tombstone 2",
        "Tombstone 2 says that records were removed after 0 days: no policy is shorter than 30.",
        ("says 0 days, and 30 is the least", "buries records after 0 days, and 30 is the least"),
    ),
)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_every_lie_is_said_of_an_export(lie: Lie, program: str, pruned: Pruned, tmp_path: Path) -> None:
    export, notes, keys = save(lie.exported(pruned), tmp_path)
    code, said = verify(program, export, "--checkpoints", notes, "--keys", keys)
    words = lie.python if program == "python" else lie.typescript
    assert (code, said.partition(": ")[2][: len(words)]) == (1, words)
    assert lie.further[program == "typescript"] in said


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_every_lie_is_said_of_the_stored_log(
    lie: Lie, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = prune_twice(tmp_path / "notes")
    call_command("verify_log", it.place.slug)
    assert "2 tombstones say that records 1 to 8 were removed" in capsys.readouterr().out
    lie.stored(it)
    with pytest.raises(CommandError) as refusal:
        call_command("verify_log", it.place.slug)
    assert str(refusal.value).startswith(f"The log of {it.place.slug} is broken: {lie.verify_log}")


def test_a_published_tombstone_that_is_not_stored_is_named(tmp_path: Path) -> None:
    it = prune_twice(tmp_path / "a")
    file = tmp_path / "log.notes"
    wide = _too_wide(it)
    file.write_bytes(join_notes([*it.checkpoints, wide.tombstones[1]]))
    with pytest.raises(CommandError, match="published tombstone 2"):
        call_command("verify_log", it.place.slug, checkpoints=file)
    file.write_bytes(join_notes([*it.checkpoints, *it.tombstones]))
    call_command("verify_log", it.place.slug, checkpoints=file)


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_pasts_and_a_replaced_tombstone_are_seen(program: str, pruned: Pruned, tmp_path: Path) -> None:
    second = read_tombstone(pruned.tombstones[1])
    key = open_keys().signing
    other = sign(replace(second, at_us=second.at_us + 1).text(), key_name(base_host()), key)
    apart = sign(replace(second, previous=bytes(32)).text(), key_name(base_host()), key)
    assert digest_of(other) != digest_of(pruned.tombstones[1])
    for stones in ((*pruned.tombstones, other), (pruned.tombstones[0], apart)):
        export, notes, keys = save(replace(pruned, tombstones=stones), tmp_path)
        assert verify(program, export, "--checkpoints", notes, "--keys", keys)[0] == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_tombstones_that_lead_nowhere_hide_none_that_is_too_wide(
    program: str, pruned: Pruned, tmp_path: Path
) -> None:
    wide = _too_wide(pruned)
    second = read_tombstone(wide.tombstones[1])
    strays = [replace(second, number=number, first=1, last=Head(3, bytes(32))) for number in range(4, 9)]
    notes = [sign(each.text(), key_name(base_host()), open_keys().signing) for each in strays]
    export, published, keys = save(replace(wide, tombstones=(*wide.tombstones, *notes)), tmp_path)
    code, said = verify(program, export, "--checkpoints", published, "--keys", keys)
    assert (code, "ombstone 2 " in said, "is too wide" in said) == (1, True, True), said


def test_no_policy_is_shorter_than_what_is_believed() -> None:
    assert LEAST_DAYS == MIN_DAYS


def test_the_guide_has_the_table_of_lies() -> None:
    page = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
    for each in LIES:
        row = next((line for line in page.splitlines() if line.startswith(f"| {each.name} |")), "")
        for words in (each.python, each.typescript, each.verify_log, *each.further):
            assert words.rstrip(".") in row, f"{each.name}: {words}"


def test_nobody_but_its_team_sees_what_was_removed(pruned: Pruned) -> None:
    other = old_log()
    assert tombstones_of(other) == []
    assert numbers_of(other)[0] == 1
    assert isinstance(owner_of(other), Caller)
