"""What a passkey's answer has to be: of this Marina, to this question, of this person. The device is the tests' own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.test import Client, override_settings
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData

from frontend.sessions import STRANGERS_SECONDS
from tenants.models import User
from tenants.services.log import search_records
from tenants.services.passkeys import LARGEST_ANSWER, MAX_PASSKEYS, why_no_passkeys
from tests.factories import Team, make_team
from tests.frontend.visitor import by_password, is_signed_in
from tests.mailbox import letters_to
from tests.together import do_at_once

ORIGIN = "https://marina.example"
SIGN_IN = "/app/sign-in"
FLAG = AuthenticatorData.FLAG


@pytest.fixture(autouse=True)
def at_a_name() -> Iterator[None]:
    """Marina stands at a name; requests come to another, which must not matter."""
    with override_settings(ENV=replace(settings.ENV, base_url=ORIGIN)):
        yield


@dataclass
class Device:
    """A browser with an authenticator in it, which answers whatever it is told to."""

    origin: str = ORIGIN
    site: str = "marina.example"
    verifies: bool = True
    counter: int = 0
    number: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    handle: bytes = b""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(self, options: dict[str, Any]) -> str:
        """Answer to being asked for a new passkey."""
        self.handle = websafe_decode(options["user"]["id"])
        public = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]
        made = AttestedCredentialData.create(Aaguid.NONE, self.number, public)
        data = AuthenticatorData.create(self._site(), self._flags() | FLAG.AT, self.counter, bytes(made))
        return self._answer(
            clientDataJSON=self._client(options, "webauthn.create"),
            attestationObject=bytes(AttestationObject.create("none", data, {})),
        )

    def use(self, options: dict[str, Any], **changed: bytes) -> str:
        """Answer to being asked who is there."""
        client = self._client(options, "webauthn.get")
        data = bytes(AuthenticatorData.create(self._site(), self._flags(), self.counter))
        signature = self.key.sign(data + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {
            "clientDataJSON": client,
            "authenticatorData": data,
            "signature": signature,
            "userHandle": self.handle,
        }
        return self._answer(**{**parts, **changed})

    def _site(self) -> bytes:
        return sha256(self.site.encode()).digest()

    def _flags(self) -> AuthenticatorData.FLAG:
        return FLAG.UP | FLAG.UV if self.verifies else FLAG.UP

    def _client(self, options: dict[str, Any], kind: str) -> bytes:
        return json.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin}).encode()

    def _answer(self, **parts: bytes) -> str:
        number = websafe_encode(self.number)
        response = {name: websafe_encode(value) for name, value in parts.items()}
        return json.dumps({"id": number, "rawId": number, "type": "public-key", "response": response})


def asked_to_make(client: Client) -> dict[str, Any]:
    options: dict[str, Any] = client.post("/app/account/passkeys/begin").json()
    return options


def add(client: Client, device: Device, *, name: str = "A device") -> int:
    """The status of adding a passkey of this device."""
    answer = device.make(asked_to_make(client))
    return client.post("/app/account/passkeys/new", {"name": name, "credential": answer}).status_code


def with_passkey(team: Team, **settings_of: Any) -> Device:
    """A device that the owner has added."""
    device = Device(**settings_of)
    assert add(by_password(team.owner_email), device) == 200
    return device


def asked_who(client: Client) -> dict[str, Any]:
    options: dict[str, Any] = client.post(f"{SIGN_IN}/passkey/begin").json()
    return options


def answer_of(client: Client, credential: str) -> int:
    """The status of signing in with this answer alone; 302: they are in."""
    return client.post(f"{SIGN_IN}/passkey", {"credential": credential}).status_code


def test_a_passkey_signs_in_alone_once_for_each_question(team: Team) -> None:
    device, client = with_passkey(team), Client()
    answer = device.use(asked_who(client))
    assert (answer_of(client, answer), is_signed_in(client)) == (302, True)
    assert Authenticator.objects.get(user_id=team.owner.user_id, type="webauthn").last_used_at
    again = Client()
    asked_who(again)
    assert (answer_of(again, answer), is_signed_in(again)) == (400, False)


def test_an_answer_is_taken_by_the_session_that_asked_alone_and_once(team: Team) -> None:
    device, asked, other = with_passkey(team), Client(), Client()
    answer = device.use(asked_who(asked))
    assert answer_of(other, answer) == 400
    assert answer_of(asked, answer) == 302
    asked.post("/app/sign-out")
    assert answer_of(asked, answer) == 400


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "https://evil.example"},
        {"origin": "https://sub.marina.example"},
        {"origin": "http://marina.example"},
        {"origin": "https://marina.example:8443"},
        {"origin": "http://testserver"},
        {"site": "testserver"},
        {"site": "example"},
    ],
)
def test_only_the_configured_base_counts_whatever_host_was_asked(team: Team, lie: dict[str, str]) -> None:
    assert add(by_password(team.owner_email), Device(**lie)) == 400  # type: ignore[arg-type]
    device, client = with_passkey(team), Client()
    for name, value in lie.items():
        setattr(device, name, value)
    assert (answer_of(client, device.use(asked_who(client))), is_signed_in(client)) == (400, False)


def test_alone_it_must_check_who_is_there_and_after_the_password_it_need_not(team: Team) -> None:
    device, client = with_passkey(team, verifies=False), Client()
    assert answer_of(client, device.use(asked_who(client))) == 400
    by_password(team.owner_email, client)
    options = client.post(f"{SIGN_IN}/second-step/passkey").json()
    assert [each["id"] for each in options["allowCredentials"]] == [websafe_encode(device.number)]
    done = client.post(f"{SIGN_IN}/second-step", {"credential": device.use(options)})
    assert (done.status_code, is_signed_in(client)) == (302, True)


def test_the_passkey_of_somebody_else_is_none(team: Team) -> None:
    mine, theirs = with_passkey(team), with_passkey(make_team())
    client = Client()
    handle = theirs.handle
    theirs.handle = mine.handle
    assert answer_of(client, theirs.use(asked_who(client))) == 400
    mine.handle = handle
    assert answer_of(client, mine.use(asked_who(client))) == 400
    by_password(team.owner_email, client)
    options = client.post(f"{SIGN_IN}/second-step/passkey").json()
    assert client.post(f"{SIGN_IN}/second-step", {"credential": theirs.use(options)}).status_code == 400
    assert not is_signed_in(client)


def test_a_signature_over_something_else_opens_nothing(team: Team) -> None:
    device, client = with_passkey(team), Client()
    assert (
        answer_of(client, device.use(asked_who(client), signature=b"\x30\x06\x02\x01\x01\x02\x01\x01")) == 400
    )
    assert answer_of(client, replace(device, key=Device().key).use(asked_who(client))) == 400


@pytest.mark.parametrize(
    ("made", "first", "then", "taken"),
    [
        (0, 0, 0, True),
        (7, 8, 9, True),
        (7, 8, 4_000_000_000, True),
        (0, 5, 6, True),
        (7, 8, 8, False),
        (7, 9, 8, False),
        (0, 1, 0, False),
    ],
)
def test_a_passkey_that_counts_must_count_upwards(
    team: Team, made: int, first: int, then: int, taken: bool
) -> None:
    device = with_passkey(team, counter=made)
    for counter, status in ((first, 302), (then, 302 if taken else 400)):
        device.counter, client = counter, Client()
        assert answer_of(client, device.use(asked_who(client))) == status
        assert is_signed_in(client) is (status == 302)


@pytest.mark.parametrize("counter", [0, 6, 7])
def test_the_count_begins_when_a_passkey_is_added(team: Team, counter: int) -> None:
    device, client = with_passkey(team, counter=7), Client()
    device.counter = counter
    assert answer_of(client, device.use(asked_who(client))) == 400


def test_a_copied_passkey_is_no_factor_either_and_its_person_and_their_teams_are_told(team: Team) -> None:
    visiting = by_password(team.owner_email)
    assert visiting.get(f"/app/{team.slug}/").status_code == 200
    device = with_passkey(team, counter=3)
    client = by_password(team.owner_email)
    options = client.post(f"{SIGN_IN}/second-step/passkey").json()
    refused = client.post(f"{SIGN_IN}/second-step", {"credential": device.use(options)})
    assert (refused.status_code, "may be a copy of it" in refused.content.decode()) == (400, True)
    assert not is_signed_in(client)
    (record,) = search_records(caller=team.owner, kind="factor.copied").records
    assert (record.outcome, record.actor) == ("refused", f"user:{team.owner_email}")
    assert record.reason
    assert record.reason["rule"] == "factor:counter"
    assert "there may be a copy" in letters_to(team.owner_email)[-1].body
    # A refused answer moves nothing: the person's own device goes on counting.
    device.counter, client = 4, Client()
    assert answer_of(client, device.use(asked_who(client))) == 302


def test_of_a_passkey_and_its_copy_used_at_once_one_comes_in(team: Team) -> None:
    device = with_passkey(team, counter=3)
    device.counter = 4
    clients = [Client(REMOTE_ADDR=f"192.0.2.{number}") for number in range(4)]
    answers = [device.use(asked_who(client)) for client in clients]
    do_at_once([partial(answer_of, *pair) for pair in zip(clients, answers, strict=True)])
    assert sum(is_signed_in(client) for client in clients) == 1


def test_an_account_that_was_shut_opens_to_no_passkey(team: Team) -> None:
    device, client = with_passkey(team), Client()
    User.objects.filter(email=team.owner_email).update(is_active=False)
    assert answer_of(client, device.use(asked_who(client))) == 400


def test_what_a_stranger_begins_is_kept_for_hours_and_a_sign_in_for_its_days(team: Team) -> None:
    device = with_passkey(team)
    client = Client()
    asked = asked_who(client)
    assert client.session.get_expiry_age() <= STRANGERS_SECONDS
    assert answer_of(client, device.use(asked)) == 302
    assert client.session.get_expiry_age() == settings.SESSION_COOKIE_AGE


def test_a_question_grows_old(team: Team) -> None:
    device, client = with_passkey(team), Client()
    options = asked_who(client)
    session = client.session
    session["passkey_using"] = {**session["passkey_using"], "at": 0}
    session.save()
    assert answer_of(client, device.use(options)) == 400


def test_one_passkey_is_added_once_and_no_more_than_twenty(team: Team) -> None:
    client, device = by_password(team.owner_email), Device()
    assert add(client, device) == 200
    assert add(client, device) == 400
    assert add(by_password(make_team().owner_email), device) == 400
    row = Authenticator.objects.get(user_id=team.owner.user_id, type="webauthn")
    for _ in range(MAX_PASSKEYS - 1):
        row.pk = None
        row.save()
    full = client.post("/app/account/passkeys/begin")
    assert (full.status_code, "Remove one first" in full.json()["problem"]) == (409, True)


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\u202eb", "a\0b"])
def test_a_passkey_has_a_name_that_can_be_read(team: Team, name: str) -> None:
    assert add(by_password(team.owner_email), Device(), name=name) == 400


BAD = [
    "",
    "{",
    "[]",
    "null",
    "{}",
    '{"id": "a"}',
    '{"id": "a", "rawId": "a", "response": []}',
    '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}',
    '{"id": 1, "rawId": 1, "type": "public-key", "response": {"clientDataJSON": 1}}',
    '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "e30", '
    '"attestationObject": "' + "gYGB" * 2000 + '", "authenticatorData": "AA", "signature": "AA"}}',
    (
        '{"id": "AA", "rawId": "AA", "type": "public-key", "response": {"clientDataJSON": "bnVsbA", '
        '"attestationObject": "oA", "authenticatorData": "AA", "signature": "AA", "userHandle": "_w"}}'
    ),
    "[" * 10_000,
    "x" * (LARGEST_ANSWER + 1),
    '{"id": "\\u0000"}',
]


@pytest.mark.parametrize("answer", BAD, ids=range(len(BAD)))
def test_what_is_no_answer_is_refused_in_words(team: Team, answer: str) -> None:
    owner, client = by_password(team.owner_email), Client(raise_request_exception=False)
    asked_to_make(owner)
    refused = owner.post("/app/account/passkeys/new", {"name": "A device", "credential": answer})
    assert refused.status_code == 400
    asked_who(client)
    assert answer_of(client, answer) == 400
    with_passkey(team)
    by_password(team.owner_email, client)
    client.post(f"{SIGN_IN}/second-step/passkey")
    assert client.post(f"{SIGN_IN}/second-step", {"credential": answer}).status_code == 400


@pytest.mark.parametrize(
    ("base", "why"),
    [
        ("https://marina.example", ""),
        ("https://marina.example:8443", ""),
        ("http://localhost:8000", ""),
        ("http://127.0.0.1:8000", "address"),
        ("https://[2001:db8::1]", "address"),
        ("http://marina.example", "https"),
    ],
)
def test_where_there_can_be_no_passkeys_the_reason_is_said(team: Team, base: str, why: str) -> None:
    client = by_password(team.owner_email)
    with override_settings(ENV=replace(settings.ENV, base_url=base)):
        assert why in why_no_passkeys()
        assert bool(why) == bool(why_no_passkeys())
        begun = client.post("/app/account/passkeys/begin")
        assert begun.status_code == (409 if why else 200)
        assert ("Sign in with a passkey" in Client().get(SIGN_IN).content.decode()) is not bool(why)
