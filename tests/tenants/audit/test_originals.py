"""Marks of the originals: HMAC-SHA-256 under a key of the team's own, which is made once and survives rotation."""

from __future__ import annotations

import hmac
import json
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.errors import Conflict, NotFound, RateLimited, Unavailable
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.originals import KEY_BYTES, Marks
from tenants.audit.records import Entry, decode, encode
from tenants.models import OriginalsKey
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services import counting, originals
from tenants.services.log import search_records
from tenants.services.originals import confirm_original, open_marks
from tests.factories import make_team
from tests.rest import Rest
from tests.tenants.audit.places import make_place
from tests.together import apart, do_at_once

KEY = bytes(range(KEY_BYTES))


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")) | st.integers(-9, 9)
    )
)
def test_a_mark_is_the_hmac_of_the_canonical_json(arguments: dict[str, Any]) -> None:
    said = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert Marks(KEY).of(arguments) == hmac.digest(KEY, said.encode(), "sha256").hex()


def test_equal_arguments_have_equal_marks_and_others_have_others() -> None:
    marks = Marks(KEY)
    assert marks.of({"a": 1, "b": [2]}) == marks.of({"b": [2], "a": 1})
    assert len({marks.of(each) for each in ({}, {"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]})}) == 5
    assert Marks(bytes(KEY_BYTES)).of({"a": 1}) != marks.of({"a": 1}), "of another team"


def test_what_json_cannot_say_has_no_mark() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert Marks(KEY).of(endless) == ""
    assert "hmac" not in decode(encode(Entry("tools/call", "ok", "key:a")))


def test_a_team_has_one_key_whoever_makes_it_first() -> None:
    place, other = make_place(), make_place()

    def mark(tenant_id: int) -> str:
        with tenant_scope(tenant_id):
            marks = open_marks()
            assert marks is not None
            return marks.of({"a": 1})

    made = do_at_once([apart(lambda: mark(place.tenant_id))] * 4)
    assert len({*made, mark(place.tenant_id)}) == 1
    assert mark(other.tenant_id) not in made
    with tenant_scope(place.tenant_id):
        assert OriginalsKey.objects.count() == 1


def test_a_key_of_another_team_does_not_open(caplog: pytest.LogCaptureFixture) -> None:
    place, other = make_place(), make_place()
    with tenant_scope(other.tenant_id):
        open_marks()
        foreign = bytes(OriginalsKey.objects.get().sealed)
    with tenant_scope(place.tenant_id):
        open_marks()
        OriginalsKey.objects.update(sealed=foreign)
        assert open_marks() is None
    assert "key of originals does not open" in caplog.text


def _written(caller: Caller, original: dict[str, Any]) -> int:
    with tenant_scope(caller.tenant_id):
        marks = open_marks()
        assert marks is not None
        entry = Entry("tools/call", "ok", "key:a", tool="look", arguments={}, hmac=marks.of(original))
        return append_entry(entry, tenant_id=caller.tenant_id)


@pytest.fixture
def caller(database: None) -> Caller:
    place = make_place()
    return Caller(place.tenant_id, place.slug, actor=f"user:{uuid4()}@example.com", role=Role.ADMIN)


def test_an_original_is_confirmed_and_nothing_else_is_and_both_are_recorded(caller: Caller) -> None:
    seq = _written(caller, {"password": "hunter2", "n": 1})
    assert confirm_original(seq, {"n": 1, "password": "hunter2"}, caller=caller).matches
    assert not confirm_original(seq, {"n": 1, "password": "hunter3"}, caller=caller).matches
    found = search_records(caller=caller, kind="record.confirmed").records
    assert [record.arguments for record in found] == [
        {"after": {"seq": seq, "matches": matches}} for matches in (False, True)
    ]


def test_a_number_beyond_64_bits_is_confirmed_as_clients_were_understood(caller: Caller) -> None:
    seq = _written(caller, {"n": float(2**70)})
    assert confirm_original(seq, {"n": 2**70}, caller=caller).matches


def test_a_record_without_a_mark_and_one_that_is_not_there_say_so(caller: Caller) -> None:
    with tenant_scope(caller.tenant_id):
        plain = append_entry(Entry("key.created", "ok", "user:a"), tenant_id=caller.tenant_id)
    with pytest.raises(Conflict, match="no mark"):
        confirm_original(plain, {}, caller=caller)
    with pytest.raises(NotFound):
        confirm_original(plain + 100, {}, caller=caller)


def test_nobody_may_try_without_end(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "MAX_CONFIRMATIONS", 2)
    seq = _written(caller, {"pin": 1234})
    for pin in (1, 2):
        assert not confirm_original(seq, {"pin": pin}, caller=caller).matches
    with pytest.raises(RateLimited) as refused:
        confirm_original(seq, {"pin": 1234}, caller=caller)
    assert 0 < refused.value.retry_after <= 3600


def test_nobody_may_try_while_nobody_counts(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    seq = _written(caller, {"pin": 1234})
    away = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(counting, "redis_client", lambda: away)
    with pytest.raises(Unavailable):
        confirm_original(seq, {"pin": 1234}, caller=caller)
    assert search_records(caller=caller, kind="record.confirmed").records == []


def test_rest_confirms_for_the_team_and_for_no_outsider() -> None:
    team, outsiders = make_team(), make_team()
    seq = _written(team.owner, {"iata": "FRA"})
    path = f"/tenants/{team.slug}/audit/records/{seq}/confirm"
    rest = Rest(team.key("audit:metadata"))
    assert rest.post(path, {"arguments": {"iata": "FRA"}}).body == {"seq": seq, "matches": True}
    assert rest.post(path, {"arguments": {"iata": "MUC"}}).body == {"seq": seq, "matches": False}
    assert rest.post(path, {"arguments": [1]}).status == 400
    assert Rest(team.key("tools:read")).post(path, {"arguments": {}}).status == 403
    assert Rest(email=outsiders.owner_email).post(path, {"arguments": {}}).status == 404
    own = f"/tenants/{outsiders.slug}/audit/records/{seq + 1000}/confirm"
    assert Rest(email=outsiders.owner_email).post(own, {"arguments": {}}).status == 404
