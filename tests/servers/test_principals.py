"""Whom operations take a caller for: nobody is anybody else, whatever the log calls them."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from servers.endpoint.sessions import principal_of
from servers.services.limits import anonymous_caller
from servers.services.principals import identity_of, principal_as
from tenants.access import Caller

KEY = Caller(1, "acme", "key:Laptop", credential_id=uuid4())


def test_two_credentials_of_one_name_are_two_callers() -> None:
    other = replace(KEY, credential_id=uuid4())
    assert principal_as(KEY, "default", "r").actor == principal_as(other, "default", "r").actor
    assert identity_of(KEY) != identity_of(other)


def test_whose_a_session_is_is_who_operations_take_the_caller_for() -> None:
    app = replace(KEY, principal="client:7:9", user_id=9)
    person = Caller(1, "acme", "user:ann@example.com", user_id=9)
    vouched = Caller(1, "acme", "subject:ann", principal="issuer:3:ann", issuer_id=uuid4())
    everybody = [KEY, app, person, vouched]
    assert [principal_of(each) for each in everybody] == [identity_of(each) for each in everybody]
    stranger = anonymous_caller(1, "acme", "default", "192.0.2.1", frozenset())
    assert principal_of(stranger) == "anonymous 192.0.2.1"


def test_an_app_that_asks_its_member_for_more_stays_the_same_caller() -> None:
    app = replace(KEY, principal="client:7:9", user_id=9)
    assert identity_of(app) == identity_of(replace(app, credential_id=uuid4()))
    assert identity_of(app) != identity_of(replace(app, principal="client:7:8", user_id=8))


def test_a_person_is_one_caller_by_whatever_address_they_are_called() -> None:
    person = Caller(1, "acme", "user:ann@example.com", user_id=9)
    assert identity_of(person) == identity_of(replace(person, actor="user:ann@example.org"))
    assert identity_of(person) not in {"", identity_of(replace(person, user_id=8)), identity_of(KEY)}


def test_whoever_has_no_credential_is_told_apart_by_nothing() -> None:
    strangers = [
        anonymous_caller(1, "acme", "default", address, frozenset())
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")
    ]
    assert {identity_of(each) for each in strangers} == {""}


def test_a_member_is_known_as_such_by_themselves_and_by_their_apps_alone() -> None:
    app = replace(KEY, principal="client:7:9", user_id=9)
    person = Caller(1, "acme", "user:ann@example.com", user_id=9)
    vouched = Caller(1, "acme", "subject:ann", principal="issuer:3:ann", issuer_id=uuid4())
    stranger = anonymous_caller(1, "acme", "default", "192.0.2.1", frozenset())
    members = [principal_as(each, "default", "r").member for each in (app, person, KEY, vouched, stranger)]
    assert members == [9, 9, None, None, None]
