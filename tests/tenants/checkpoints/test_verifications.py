"""A worker verifies a log that somebody wants verified: once, whatever happens to workers and queues."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.utils import timezone
from kombu.exceptions import OperationalError

from core.errors import Forbidden, NotFound
from tenants import checkpoint_tasks
from tenants.access import Caller
from tenants.audit.checking import check_log
from tenants.audit.notes import sign
from tenants.audit.walking import WINDOW_RECORDS
from tenants.models import AuditVerification
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services import verifications
from tenants.services.log import search_records
from tenants.services.verifications import (
    describe_verification,
    find_unclaimed,
    get_verification,
    list_verifications,
    run_verification,
    start_verification,
)
from tests.factories import Team, email_of, make_team
from tests.frontend.visitor import client_of
from tests.rest import API, Rest
from tests.tenants.audit.places import Place
from tests.tenants.checkpoints.logs import sign_off, signed_log, state_of, tamper, write


@pytest.fixture
def place() -> Place:
    return signed_log(3, 2)


def caller_of(place: Place, role: Role = Role.AUDITOR) -> Caller:
    return Caller(place.tenant_id, place.slug, actor="user:auditor@example.com", role=role)


def age(place: Place, **values: Any) -> None:
    with tenant_scope(place.tenant_id):
        AuditVerification.objects.update(**values)


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What would be sent to workers."""
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(
        checkpoint_tasks.run_verification, "apply_async", lambda args, retry: sent.append(args)
    )
    return sent


def test_a_whole_log_is_said_to_be_whole_and_that_is_recorded(place: Place) -> None:
    caller = caller_of(place)
    row = start_verification(caller=caller)
    assert "waits for a worker" in describe_verification(row)
    assert run_verification(place.tenant_id, row.id)
    done = get_verification(row.id, caller=caller)
    assert (done.status, done.whole, done.records, done.checkpoints) == ("done", True, 5, 2)
    assert describe_verification(done).startswith("The log is whole: 5 records, from 1 to 5.")
    assert "All 2 checkpoints fit" in done.result
    record = search_records(caller=caller).records[0]
    assert (record.kind, record.outcome, record.actor) == ("log.verified", "ok", "user:auditor@example.com")
    assert record.arguments is not None
    assert record.arguments["after"]["whole"] is True
    assert not run_verification(place.tenant_id, row.id), "once is enough"


def test_a_broken_log_is_said_in_words_and_recorded_as_an_error(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    tamper(
        (
            "UPDATE tenants_auditrecord SET body = body || ' ' WHERE seq = 2 AND tenant_id = %s",
            (place.tenant_id,),
        )
    )
    row = start_verification(caller=caller_of(place))
    assert run_verification(place.tenant_id, row.id)
    done = get_verification(row.id, caller=caller_of(place))
    assert (done.status, done.whole) == ("done", False)
    assert done.result.startswith("Record 2 was changed")
    record = search_records(caller=caller_of(place)).records[0]
    assert (record.kind, record.outcome) == ("log.verified", "error")
    assert record.reason is not None
    assert record.reason["message"].startswith("Record 2 was changed")
    assert "a log is not whole" in caplog.text


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "DELETE FROM tenants_auditcheckpoint WHERE number = 1 AND tenant_id = %s",
            "Checkpoint 1 is missing",
        ),
        (
            "DELETE FROM tenants_auditcheckpoint WHERE number = 2 AND tenant_id = %s",
            "Checkpoint 2 was made and is not there any more",
        ),
        (
            "DELETE FROM tenants_auditcheckpoint WHERE tenant_id = %s",
            "Checkpoints 1 to 2 were made and are not there any more",
        ),
        (
            "UPDATE tenants_auditcheckpoint SET seq = 4 WHERE number = 2 AND tenant_id = %s",
            "its columns were changed beside it",
        ),
        (
            "UPDATE tenants_auditcheckpoint SET note = 'x' WHERE number = 2 AND tenant_id = %s",
            "Checkpoint 2 was changed: it has no signature",
        ),
        (
            (
                "UPDATE tenants_auditcheckpoint SET note = (SELECT c.note FROM tenants_auditcheckpoint c WHERE "
                "c.tenant_id = tenants_auditcheckpoint.tenant_id AND c.number = 1) WHERE number = 2 AND tenant_id = %s"
            ),
            "Checkpoint 2 is another one's note",
        ),
        (
            "UPDATE tenants_checkpointstate SET still = 'x' WHERE tenant_id = %s",
            "The newest still was changed",
        ),
    ],
)
def test_what_is_wrong_with_checkpoints_alone_is_said(place: Place, statement: str, words: str) -> None:
    tamper((statement, (place.tenant_id,)))
    row = start_verification(caller=caller_of(place))
    assert run_verification(place.tenant_id, row.id)
    assert words in get_verification(row.id, caller=caller_of(place)).result


def test_a_still_of_another_key_is_found(place: Place) -> None:
    still = sign_off(place)
    assert still is not None
    forged = sign(still.text(), "127.0.0.1:8000/marina-log", Ed25519PrivateKey.generate())
    tamper(("UPDATE tenants_checkpointstate SET still = %s WHERE tenant_id = %s", (forged, place.tenant_id)))
    row = start_verification(caller=caller_of(place))
    run_verification(place.tenant_id, row.id)
    assert "signed by none" in get_verification(row.id, caller=caller_of(place)).result


def test_why_no_checkpoint_is_made_is_said_though_all_else_fits(place: Place) -> None:
    with tenant_scope(place.tenant_id):
        state = state_of(place)
        state.fault, state.fault_at = "It does not follow.", timezone.now()
        state.save()
    row = start_verification(caller=caller_of(place))
    run_verification(place.tenant_id, row.id)
    assert "No checkpoint was made since" in get_verification(row.id, caller=caller_of(place)).result


def test_who_asks_while_one_waits_gets_that_one(place: Place) -> None:
    first = start_verification(caller=caller_of(place))
    assert start_verification(caller=caller_of(place)).id == first.id
    run_verification(place.tenant_id, first.id)
    assert start_verification(caller=caller_of(place)).id != first.id


def test_one_whose_worker_died_is_made_by_the_next_and_given_up_after_five(place: Place) -> None:
    row = start_verification(caller=caller_of(place))
    age(place, status="running", fence=1, lease_until=timezone.now() + timedelta(seconds=30))
    assert not run_verification(place.tenant_id, row.id)
    age(place, lease_until=timezone.now() - timedelta(seconds=1))
    assert (place.tenant_id, row.id) in find_unclaimed()
    age(place, fence=verifications.MAX_CLAIMS)
    assert not run_verification(place.tenant_id, row.id)
    given_up = get_verification(row.id, caller=caller_of(place))
    assert (given_up.status, given_up.whole) == ("failed", None)
    assert "5 times" in describe_verification(given_up)


def test_a_worker_that_lost_its_lease_finishes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    row = start_verification(caller=caller_of(place))

    def overtaken(*args: Any, **options: Any) -> Any:
        age(place, fence=9)
        return check_log(*args, **options)

    monkeypatch.setattr(verifications, "check_log", overtaken)
    assert not run_verification(place.tenant_id, row.id)
    assert get_verification(row.id, caller=caller_of(place)).status == "running"
    assert search_records(caller=caller_of(place), kind="log.verified").records == []


def test_progress_is_shown_while_it_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenants.audit.walking.WINDOW_RECORDS", 2)
    assert WINDOW_RECORDS > 2
    row = start_verification(caller=caller_of(place))
    seen = []
    renew = verifications._renew

    def watched(claim: Any, looked: int) -> None:
        renew(claim, looked)
        seen.append(describe_verification(get_verification(row.id, caller=caller_of(place))))

    monkeypatch.setattr(verifications, "_renew", watched)
    assert run_verification(place.tenant_id, row.id)
    assert [words.split(" ")[0] for words in seen] == ["2", "4", "5"]


def test_hints_follow_the_row_and_the_sweeper_makes_up_for_lost_ones(
    place: Place, hints: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenant_scope(place.tenant_id):
        row = start_verification(caller=caller_of(place))
        checkpoint_tasks.enqueue_verification(row)
        assert hints == []
    assert hints == [(place.tenant_id, str(row.id))]
    hints.clear()
    # On a slow machine, too, it is not old enough by the time of the sweep.
    age(place, created_at=timezone.now() + timedelta(minutes=5))
    checkpoint_tasks.sweep_verifications()
    assert (place.tenant_id, str(row.id)) not in hints, "a fresh one was just hinted"
    age(place, created_at=timezone.now() - timedelta(seconds=10))
    checkpoint_tasks.sweep_verifications()
    assert (place.tenant_id, str(row.id)) in hints

    def down(**_: object) -> None:
        raise OperationalError

    monkeypatch.setattr(checkpoint_tasks.run_verification, "apply_async", down)
    checkpoint_tasks.enqueue_verification(row)
    checkpoint_tasks.run_verification(place.tenant_id, str(row.id))
    assert get_verification(row.id, caller=caller_of(place)).status == "done"


def test_an_outsider_and_an_envelope_of_another_tenant_find_nothing(place: Place) -> None:
    other = signed_log(1)
    row = start_verification(caller=caller_of(place))
    with pytest.raises(NotFound):
        get_verification(row.id, caller=caller_of(other))
    assert list_verifications(caller=caller_of(other)) == []
    assert not run_verification(other.tenant_id, row.id)
    assert not run_verification(place.tenant_id, uuid4())
    with pytest.raises(Forbidden):
        start_verification(caller=caller_of(place, Role.VIEWER))


# Over REST and in the dashboard


@pytest.fixture
def team() -> Team:
    return make_team()


def checked(team: Team) -> Place:
    """The team's log with a checkpoint."""
    place = Place(team.tenant_id, team.slug)
    assert sign_off(place) is not None
    return place


def test_rest_starts_shows_and_lists_verifications(team: Team, hints: list[tuple[int, str]]) -> None:
    checked(team)
    rest = Rest.admin(team)
    base = f"/tenants/{team.slug}/audit/verifications"
    started = rest.post(base)
    assert (started.status, started.body["status"], started.body["whole"]) == (202, "queued", None)
    assert hints == [(team.tenant_id, started.body["id"])]
    checkpoint_tasks.run_verification(*hints[0])
    done = rest.get(f"{base}/{started.body['id']}").body
    assert (done["status"], done["whole"], done["checkpoints"]) == ("done", True, 1)
    assert "The log is whole" in done["message"]
    assert [row["id"] for row in rest.get(base).body["results"]] == [done["id"]]
    assert rest.get(f"{base}/{uuid4()}").status == 404
    assert rest.post(base, {"depth": 3}).status == 400


def test_rest_lists_checkpoints_by_pages(team: Team) -> None:
    place = checked(team)
    for _ in range(2):
        write(place)
        sign_off(place)
    rest = Rest.admin(team)
    first = rest.get(f"/tenants/{team.slug}/audit/checkpoints?limit=2").body
    assert [row["number"] for row in first["results"]] == [3, 2]
    second = rest.get(first["next"].partition(API)[2]).body
    assert [row["number"] for row in second["results"]] == [1]
    assert second["next"] is None
    note = second["results"][0]["note"]
    assert note.startswith(f"127.0.0.1:8000/marina-log/{team.slug}\n")
    assert rest.get(f"/tenants/{team.slug}/audit/checkpoints?limit=0").status == 400
    outsider = Rest.admin(make_team())
    assert outsider.get(f"/tenants/{team.slug}/audit/checkpoints").status == 401


@pytest.mark.parametrize(("role", "status"), [(Role.AUDITOR, 200), (Role.VIEWER, 403), (Role.EDITOR, 403)])
def test_checks_are_for_those_who_may_read_the_log(team: Team, role: Role, status: int) -> None:
    rest = Rest(email=email_of(team.member(role)))
    for what in ("checkpoints", "verifications"):
        assert rest.get(f"/tenants/{team.slug}/audit/{what}").status == status


def test_the_log_page_verifies_and_says_what_was_found(team: Team, hints: list[tuple[int, str]]) -> None:
    browser = client_of(team)
    assert "No checkpoint yet" in browser.get(f"/app/{team.slug}/log/").content.decode()
    checked(team)
    shown = browser.get(f"/app/{team.slug}/log/").content.decode()
    assert "Checkpoint 1 signs" in shown
    assert "/verifiers/verify_marina_log.py" in shown
    assert browser.post(f"/app/{team.slug}/log/verify").status_code == 302
    part = browser.get(f"/app/{team.slug}/log/checks", headers={"HX-Request": "true"}).content.decode()
    assert "waits for a worker" in part
    assert "hx-get" in part
    checkpoint_tasks.run_verification(*hints[0])
    part = browser.get(f"/app/{team.slug}/log/checks", headers={"HX-Request": "true"}).content.decode()
    assert "The log is whole" in part
    assert "hx-get" not in part


def test_the_log_page_says_in_red_that_nothing_is_signed_any_more(team: Team) -> None:
    place = checked(team)
    tamper(("UPDATE tenants_audithead SET hash = sha256(hash) WHERE tenant_id = %s", (team.tenant_id,)))
    assert sign_off(place) is None
    shown = client_of(team).get(f"/app/{team.slug}/log/checks").content.decode()
    assert "notice-bad" in shown
    assert "The head of the log does not fit" in shown


def test_auditors_verify_and_viewers_do_not(team: Team, hints: list[tuple[int, str]]) -> None:
    assert client_of(team, Role.AUDITOR).post(f"/app/{team.slug}/log/verify").status_code == 302
    assert client_of(team, Role.VIEWER).post(f"/app/{team.slug}/log/verify").status_code == 403
    assert client_of(make_team()).post(f"/app/{team.slug}/log/verify").status_code == 404
