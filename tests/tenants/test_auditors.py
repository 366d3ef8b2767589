"""Auditors: access for a time, data apart from metadata, and a log of what they looked at."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
import redis
from django.utils import timezone

from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from tenants import tasks
from tenants.access import Caller, caller_for_key, caller_for_user
from tenants.audit.append import append_entry
from tenants.audit.records import Entry, Reason
from tenants.changes import redis_client
from tenants.exports.making import make_export
from tenants.models import Membership, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services import looks
from tenants.services.ends import note_ends
from tenants.services.exports import (
    download_export,
    get_export,
    make_link,
    open_manifest,
    repeat_export,
    start_export,
)
from tenants.services.keys import issue_key
from tenants.services.log import get_record, reveal_record, search_records
from tenants.services.members import change_member, get_own_membership, transfer_ownership
from tests.factories import Team, email_of, make_team
from tests.rest import Rest
from tests.tenants.rounds import begin_with

DATA = "Frankfurt"
MARK = "ab" * 32


@pytest.fixture
def team() -> Team:
    return make_team()


def write_call(team: Team) -> int:
    """A call's record with data in it."""
    entry = Entry(
        "tools/call",
        "ok",
        "key:a",
        tool="airport",
        arguments={"city": DATA},
        hmac=MARK,
        preview=f"{DATA}: FRA",
    )
    with tenant_scope(team.tenant_id):
        return append_entry(entry, tenant_id=team.tenant_id)


def as_now(member: Caller) -> Caller:
    """The member as a request of theirs would be now."""
    user = User.objects.get(pk=member.user_id or 0)
    return caller_for_user(user.pk, user.email, member.tenant_slug)


def show_payloads(member: Caller, team: Team, shown: bool = True) -> Caller:
    change_member(get_own_membership(caller=member).pk, payloads=shown, caller=team.owner)
    return as_now(member)


def kinds(team: Team) -> list[str]:
    """What the log has of looking, oldest first."""
    found = [
        record
        for kind in (looks.SEARCHED, looks.OPENED, "record.revealed")
        for record in search_records(caller=team.owner, kind=kind).records
    ]
    return [record.kind for record in sorted(found, key=lambda record: record.seq)]


# Data apart from metadata


def test_an_auditor_sees_who_did_what_and_neither_what_it_was_given_nor_what_it_gave(team: Team) -> None:
    seq, auditor = write_call(team), team.member(Role.AUDITOR)
    for seen in (get_record(seq, caller=auditor), search_records(caller=auditor, tool="airport").records[0]):
        assert (seen.actor, seen.tool) == ("key:a", "airport")
        assert (seen.arguments, seen.hmac, seen.preview, seen.payload_hidden) == (None, "", "", True)
    rest = Rest(email=email_of(auditor))
    answer = rest.get(f"/tenants/{team.slug}/audit/records/{seq}").body
    assert answer["payload_hidden"]
    assert not any(each in json.dumps(answer) for each in (DATA, MARK))
    whole = get_record(seq, caller=team.owner)
    assert (whole.arguments, whole.preview, whole.payload_hidden) == ({"city": DATA}, "Frankfurt: FRA", False)
    assert whole.hmac == MARK


def test_what_a_source_said_of_an_error_is_data_and_why_something_was_refused_is_not(team: Team) -> None:
    auditor = team.member(Role.AUDITOR)
    said = f'invalid input syntax for type integer: "{DATA}"'
    reason = Reason("sql_failed", "", said)
    with tenant_scope(team.tenant_id):
        failed = append_entry(Entry("tools/call", "error", "key:a", reason=reason), tenant_id=team.tenant_id)
        refused = append_entry(
            Entry("tools/call", "refused", "key:a", reason=Reason("no_scope", "scope:x", "It lacks x.")),
            tenant_id=team.tenant_id,
        )
    seen = get_record(failed, caller=auditor)
    assert (seen.reason, seen.payload_hidden) == ({"code": "sql_failed", "rule": "", "message": ""}, True)
    seen = get_record(refused, caller=auditor)
    assert seen.reason == {"code": "no_scope", "rule": "scope:x", "message": "It lacks x."}
    assert not seen.payload_hidden
    revealed = reveal_record(failed, "why", caller=auditor)
    assert (revealed.reason or {})["message"] == said


def test_a_resources_uri_is_what_was_read_and_its_contents_and_mark_are_data(team: Team) -> None:
    auditor, given = team.member(Role.AUDITOR), {"uri": f"city://{DATA}"}
    entry = Entry(
        "resources/read", "ok", "key:a", tool=given["uri"], arguments=given, hmac=MARK, preview="FRA: 1"
    )
    with tenant_scope(team.tenant_id):
        seq = append_entry(entry, tenant_id=team.tenant_id)
    seen = get_record(seq, caller=auditor)
    assert (seen.tool, seen.arguments, seen.hmac, seen.preview) == (given["uri"], given, "", "")
    assert seen.payload_hidden
    row = list(csv.DictReader(io.StringIO(made(team, auditor, "csv").decode())))[seq - 1]
    assert (json.loads(row["arguments"]), row["hmac"], row["preview"]) == (given, "", "")


def test_changes_of_configuration_are_no_data(team: Team) -> None:
    auditor = team.member(Role.AUDITOR)
    found = search_records(caller=auditor, kind="tenant.created").records[0]
    assert found.arguments is not None
    assert (found.arguments["after"]["slug"], found.payload_hidden) == (team.slug, False)


def test_what_is_hidden_is_not_to_be_found_by_its_text_either(team: Team) -> None:
    seq, auditor = write_call(team), team.member(Role.AUDITOR)
    assert [record.seq for record in search_records(caller=team.owner, text=DATA).records] == [seq]
    assert [record.kind for record in search_records(caller=auditor, text=DATA).records] == [looks.SEARCHED]
    assert seq in [record.seq for record in search_records(caller=auditor, text="AIRPORT").records]
    assert search_records(caller=auditor, text=team.slug, kind="tenant.created").records
    assert search_records(caller=auditor, text=DATA, kind="tools/call").records == []
    assert search_records(caller=auditor, text=MARK, kind="tools/call").records == []
    assert [record.seq for record in search_records(caller=team.owner, text=MARK).records][-1:] == [seq]


def test_an_admin_shows_data_to_an_auditor_and_hides_it_again(team: Team) -> None:
    seq, auditor = write_call(team), team.member(Role.AUDITOR)
    assert get_record(seq, caller=show_payloads(auditor, team)).arguments == {"city": DATA}
    record = search_records(caller=team.owner, kind="member.changed").records[0]
    assert record.arguments is not None
    assert (record.arguments["before"]["payloads"], record.arguments["after"]["payloads"]) == (False, True)
    assert get_record(seq, caller=show_payloads(auditor, team, shown=False)).arguments is None
    show_payloads(auditor, team)
    team.give_role(auditor, Role.ADMIN)
    team.give_role(auditor, Role.AUDITOR)
    assert get_record(seq, caller=as_now(auditor)).arguments is None, "another role ends it"
    show_payloads(auditor, team)
    assert not transfer_ownership(get_own_membership(caller=auditor).pk, caller=team.owner).payloads


def test_only_auditors_are_given_that_sight_and_only_by_who_may_change_members(team: Team) -> None:
    viewer, auditor = team.member(Role.VIEWER), team.member(Role.AUDITOR)
    with pytest.raises(InvalidInput, match="payloads"):
        change_member(get_own_membership(caller=viewer).pk, payloads=True, caller=team.owner)
    with pytest.raises(Forbidden):
        change_member(get_own_membership(caller=auditor).pk, payloads=True, caller=auditor)
    own = f"/tenants/{team.slug}/members/{get_own_membership(caller=auditor).pk}"
    assert Rest.admin(team).patch(own, {"payloads": True}).body["payloads"] is True
    assert Rest.admin(make_team()).patch(own, {"payloads": False}).status == 401
    assert Rest(email=make_team().owner_email).patch(own, {"payloads": False}).status == 404


def test_a_record_is_revealed_with_a_reason_that_the_log_keeps(team: Team) -> None:
    seq, auditor = write_call(team), team.member(Role.AUDITOR)
    rest = Rest(email=email_of(auditor))
    path = f"/tenants/{team.slug}/audit/records/{seq}/reveal"
    assert rest.post(path, {"reason": "  "}).paths == {"reason"}
    shown = rest.post(path, {"reason": "Complaint 17"}).body
    assert (shown["arguments"], shown["preview"], shown["hmac"]) == ({"city": DATA}, "Frankfurt: FRA", MARK)
    (record,) = search_records(caller=team.owner, kind="record.revealed").records
    assert (record.actor, record.arguments) == (
        auditor.actor,
        {"after": {"seq": seq, "reason": "Complaint 17"}},
    )
    assert get_record(seq, caller=auditor).arguments is None, "it was shown once"
    with pytest.raises(Conflict, match="Nothing of record"):
        reveal_record(1, "why", caller=auditor)
    with pytest.raises(NotFound):
        reveal_record(10**9, "why", caller=auditor)
    assert Rest(email=make_team().owner_email).post(path, {"reason": "why"}).status == 404


def test_keys_that_read_the_log_see_what_they_saw_and_a_scope_of_its_own_sees_metadata(team: Team) -> None:
    seq = write_call(team)
    path = f"/tenants/{team.slug}/audit/records/{seq}"
    assert Rest(team.key("audit:read")).get(path).body["arguments"] == {"city": DATA}
    rest = Rest(team.key("audit:metadata"))
    assert rest.get(path).body["arguments"] is None
    assert rest.post(f"{path}/reveal", {"reason": "why"}).status == 403
    assert rest.post(f"/tenants/{team.slug}/audit/exports", {"payloads": True}).status == 403
    assert rest.post(f"/tenants/{team.slug}/audit/exports", {}).body["payloads"] is False


def test_a_key_of_who_became_an_auditor_sees_and_leaves_what_an_auditor_does(team: Team) -> None:
    seq, maker = write_call(team), team.member(Role.ADMIN)
    key = issue_key("theirs", ["audit:read"], expires_in_days=1, caller=maker).key
    assert get_record(seq, caller=caller_for_key(key)).arguments == {"city": DATA}
    assert kinds(team) == []
    team.give_role(maker, Role.AUDITOR)
    assert get_record(seq, caller=caller_for_key(key)).arguments is None
    assert kinds(team) == [looks.OPENED]
    show_payloads(maker, team)
    assert get_record(seq, caller=caller_for_key(key)).arguments == {"city": DATA}


# Exports


def made(team: Team, caller: Caller, form: str = "jsonl", payloads: bool | None = None) -> bytes:
    export = start_export(form, payloads=payloads, caller=caller)
    assert make_export(team.tenant_id, export.id)
    return download_export(export.id, caller=caller).path.read_bytes()


def test_an_auditors_export_holds_no_data_in_any_format(team: Team) -> None:
    seq, auditor = write_call(team), team.member(Role.AUDITOR)
    lines = [json.loads(line) for line in made(team, auditor).splitlines()]
    line = next(line for line in lines if line["seq"] == seq)
    assert "record" not in line
    assert (line["metadata"]["tool"], "hmac" in line["metadata"]) == ("airport", False)
    assert lines[0]["record"]["kind"] == "tenant.created", "what holds no data is whole"
    rows = list(csv.DictReader(io.StringIO(made(team, auditor, "csv").decode())))
    row = rows[seq - 1]
    assert (row["tool"], row["arguments"], row["hmac"], row["preview"]) == ("airport", "", "", "")
    table = pq.read_table(io.BytesIO(made(team, auditor, "parquet"))).to_pylist()
    hidden = table[seq - 1]
    assert [hidden[name] for name in ("tool", "arguments", "hmac", "record")] == ["airport", None, None, None]
    assert table[0]["record"] is not None
    for form in ("jsonl", "csv"):
        assert not any(each.encode() in made(team, auditor, form) for each in (DATA, MARK))
    whole = next(line for line in map(json.loads, made(team, team.owner).splitlines()) if line["seq"] == seq)
    assert (whole["record"]["preview"], whole["hash"]) == ("Frankfurt: FRA", line["hash"])


def test_the_manifest_says_that_data_was_left_out(team: Team) -> None:
    write_call(team)
    for payloads, said in ((True, None), (False, "left out")):
        export = start_export(payloads=payloads, caller=team.owner)
        assert make_export(team.tenant_id, export.id)
        manifest = json.loads(open_manifest(export.id, caller=team.owner).read_bytes())
        assert manifest.get("payloads") == said


def test_an_export_with_data_opens_for_nobody_who_may_not_see_it(team: Team) -> None:
    write_call(team)
    auditor = team.member(Role.AUDITOR)
    export = start_export(caller=team.owner)
    assert make_export(team.tenant_id, export.id)
    assert get_export(export.id, caller=auditor).payloads
    acts: list[Callable[[], object]] = [
        lambda: download_export(export.id, caller=auditor),
        lambda: make_link(export.id, caller=auditor),
        lambda: repeat_export(export.id, caller=auditor),
        lambda: start_export(payloads=True, caller=auditor),
    ]
    for act in acts:
        with pytest.raises(Forbidden) as refused:
            act()
        assert refused.value.rule == "role:audit.payloads"
    assert download_export(export.id, caller=show_payloads(auditor, team)).path.is_file()


def test_a_link_ends_with_the_access_of_who_makes_it(team: Team) -> None:
    auditor = team.member(Role.AUDITOR)
    export = start_export(caller=auditor)
    assert make_export(team.tenant_id, export.id)
    end = timezone.now() + timedelta(hours=1)
    change_member(get_own_membership(caller=auditor).pk, access_ends_at=end, caller=team.owner)
    assert make_link(export.id, 7 * 24 * 60, caller=as_now(auditor)).expires_at == end.replace(microsecond=0)
    assert make_link(export.id, 5, caller=as_now(auditor)).expires_at < end - timedelta(minutes=50)


# Their own actions


def test_each_look_of_an_auditor_is_recorded_once_a_minute(team: Team) -> None:
    seq, auditor = write_call(team), team.member(Role.AUDITOR)
    for _ in range(3):
        search_records(caller=auditor, tool="airport")
        search_records(caller=auditor, tool="airport", before_seq=5)
        get_record(seq, caller=auditor)
    search_records(caller=auditor, tool="airport", outcome="ok", from_at=timezone.now() - timedelta(days=1))
    found = search_records(caller=team.owner, kind=looks.SEARCHED).records
    assert [record.actor for record in found] == [auditor.actor] * 2
    assert found[1].arguments == {"after": {"tool": "airport"}}
    assert found[0].arguments is not None
    assert set(found[0].arguments["after"]) == {"tool", "outcome", "from"}
    (opened,) = search_records(caller=team.owner, kind=looks.OPENED).records
    assert opened.arguments == {"after": {"seq": seq}}


def test_a_look_is_in_the_log_before_it_is_answered_and_a_repeated_one_is_recorded_later_on(
    team: Team,
) -> None:
    auditor = team.member(Role.AUDITOR)
    assert search_records(caller=auditor).records[0].kind == looks.SEARCHED
    for key in redis_client().scan_iter("marina:looked:*"):
        # Another test's may end just now.
        assert redis_client().ttl(key) != -1
        assert redis_client().ttl(key) <= 60
        redis_client().delete(key)
    search_records(caller=auditor)
    assert kinds(team) == [looks.SEARCHED] * 2


def test_without_redis_each_look_is_recorded(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("redis://127.0.0.1:9/0", socket_connect_timeout=0.2)
    monkeypatch.setattr(looks, "redis_client", lambda: away)
    auditor = team.member(Role.AUDITOR)
    for _ in range(2):
        search_records(caller=auditor)
    assert kinds(team) == [looks.SEARCHED] * 2


def test_other_roles_and_keys_leave_no_record_of_looking(team: Team) -> None:
    search_records(caller=team.owner)
    get_record(1, caller=team.member(Role.ADMIN))
    Rest(team.key("audit:read")).get(f"/tenants/{team.slug}/audit/records")
    assert kinds(team) == []


# For a time


def end_now(caller: Caller) -> None:
    """As if the end had come meanwhile."""
    with tenant_scope(caller.tenant_id):
        Membership.objects.filter(user_id=caller.user_id or 0).update(ends_at=timezone.now())


def test_who_was_here_for_a_time_is_told_so_and_a_stranger_is_not(team: Team) -> None:
    auditor = team.member(Role.AUDITOR)
    rest = Rest(email=email_of(auditor))
    path = f"/tenants/{team.slug}/audit/records"
    assert rest.get(path).status == 200
    end_now(auditor)
    told = rest.get(path)
    assert (told.status, told.body["code"]) == (404, "access_ended")
    assert "was for a time, and ended on" in told.body["detail"]
    stranger = Rest(email=make_team().owner_email).get(path)
    assert (stranger.status, stranger.body["code"]) == (404, "tenant_not_found")


def test_an_end_is_recorded_once_and_again_after_it_was_moved(team: Team) -> None:
    auditor = team.member(Role.AUDITOR)
    assert note_ends(team.tenant_id) == 0
    end_now(auditor)
    assert [note_ends(team.tenant_id), note_ends(team.tenant_id)] == [1, 0]
    (record,) = search_records(caller=team.owner, kind="member.expired").records
    assert record.arguments is not None
    assert (record.actor, record.arguments["before"]["email"]) == ("marina", email_of(auditor))
    with tenant_scope(team.tenant_id):
        own = Membership.objects.get(user_id=auditor.user_id or 0)
    change_member(own.pk, access_ends_at=timezone.now() + timedelta(days=1), caller=team.owner)
    assert note_ends(team.tenant_id) == 0
    end_now(auditor)
    assert note_ends(team.tenant_id) == 1


def test_what_fails_for_one_team_keeps_no_other_teams_ends_out_of_the_log(
    team: Team, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    later = make_team()
    auditor = later.member(Role.AUDITOR)
    end_now(auditor)

    def break_for_one(tenant_id: int) -> int:
        if tenant_id == team.tenant_id:
            raise ValueError("words of somebody else")
        return note_ends(tenant_id)

    assert team.tenant_id < later.tenant_id
    monkeypatch.setattr(tasks, "note_ends", break_for_one)
    begin_with(team.tenant_id, monkeypatch)
    tasks.note_ended_members()
    assert len(search_records(caller=later.owner, kind="member.expired").records) == 1
    [told] = [record for record in caplog.records if record.getMessage() == "ends not noted"]
    assert (told.__dict__["tenant_id"], told.__dict__["kind"]) == (team.tenant_id, "ValueError")
