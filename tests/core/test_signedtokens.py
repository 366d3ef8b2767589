"""Only a token that is sound in every step is taken, and each refusal names its step."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import get_default_algorithms

from core.signedtokens import (
    ID_TYPES,
    MAX_TOKEN,
    PublicKey,
    TokenRefused,
    find_key,
    read_keys,
    read_token,
    require_audience,
    require_header,
    require_signature,
    require_times,
)
from tests.plugins.issuer import SigningKey, encode_token, make_key

NOW = 1_800_000_000.0


def keys_of(*keys: SigningKey | dict[str, Any]) -> tuple[PublicKey, ...]:
    listed = [key.jwk if isinstance(key, SigningKey) else key for key in keys]
    return read_keys(json.dumps({"keys": listed}).encode())


def signed(key: SigningKey, claims: Any = None, **header: Any) -> str:
    said = {"alg": key.algorithm, "kid": key.key_id, **header}
    algorithm = get_default_algorithms()[key.algorithm]
    return encode_token(
        {name: value for name, value in said.items() if value is not None},
        {} if claims is None else claims,
        lambda text: algorithm.sign(text, key.private),
    )


def refusal(token: str, *keys: SigningKey) -> str:
    """The step at which the token falls; empty: it passes up to its signature."""
    try:
        read = read_token(token)
        require_header(read)
        key = find_key(keys_of(*keys), read)
        if key is None:
            return "key"
        require_signature(read, key)
    except TokenRefused as refused:
        return refused.step
    return ""


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS512", "PS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_each_algorithm_is_taken_by_its_own_key_alone(algorithm: str) -> None:
    key = make_key(algorithm)
    token = signed(key, typ="at+jwt")
    assert refusal(token, key) == ""
    assert refusal(token, SigningKey(key.key_id, algorithm, make_key(algorithm).private)) == "signature"
    assert refusal(f"{token[:-6]}AAAAAA", key) == "signature"


def test_token_without_signature_is_refused() -> None:
    token = encode_token({"alg": "none"}, {}, lambda text: b"x")
    assert refusal(token) == "header" or refusal(token, make_key()) == "header"
    assert refusal(f"{token.rpartition('.')[0]}.", make_key()) == "form"


def test_public_key_is_no_shared_secret() -> None:
    key = make_key("RS256")
    pem = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    token = encode_token(
        {"alg": "HS256", "kid": key.key_id}, {}, lambda text: hmac.digest(pem, text, hashlib.sha256)
    )
    assert refusal(token, key) == "header"


def test_key_is_used_for_its_own_algorithm_alone() -> None:
    key = make_key("RS256")
    other = signed(SigningKey(key.key_id, "PS256", key.private))
    assert refusal(other, key) == "key"
    for_any = {name: value for name, value in key.jwk.items() if name != "alg"}
    assert find_key(keys_of(for_any), read_token(other)) is not None
    assert find_key(keys_of({**for_any, "kty": "EC"}, make_key()), read_token(other)) is None


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False},
        {"typ": "dpop+jwt"},
        {"typ": "logout+jwt"},
        {"typ": 5},
        {"kid": 5},
        {"alg": ["ES256"]},
        {"alg": "es256"},
        {"alg": "ES256K"},
        {"alg": None},
    ],
)
def test_header_that_asks_for_more_is_refused(header: dict[str, Any]) -> None:
    key = make_key()
    assert refusal(signed(key, **header), key) == "header"


def test_key_that_a_token_brings_along_counts_for_nothing() -> None:
    known, own = make_key(), make_key()
    token = signed(own, kid=known.key_id, jwk=own.jwk, jku="https://localhost/keys")
    assert refusal(token, known) == "signature"


def test_access_tokens_and_id_tokens_are_told_apart_where_they_say_what_they_are() -> None:
    key = make_key()
    for typ in ("at+jwt", "application/at+jwt", "AT+JWT", "JWT", None):
        assert refusal(signed(key, typ=typ), key) == ""
    with pytest.raises(TokenRefused, match=r"calls it at\+jwt"):
        require_header(read_token(signed(key, typ="at+jwt")), ID_TYPES)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "..",
        "e30.e30.",
        "e30.e30.AA==",
        "e30.e31.AA",  # not the one way to write it
        "e30.W10.AA",  # a list
        "e30.bnVsbA.AA",
        "e30.e30.\u0661\u0661",
        "e30 .e30.AA",
        "e30.eyJhIjoxLCJhIjoyfQ.AA",  # a key twice
        "e30." + "A" * MAX_TOKEN + ".AA",
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refusal(token, make_key()) == "form"


def test_unnamed_key_is_taken_where_there_is_one_that_fits() -> None:
    key, other, rsa_key = make_key(), make_key(), make_key("RS256")
    token = signed(key, kid=None)
    assert refusal(token, key, rsa_key) == ""
    assert refusal(token, key, other) == "key"


def test_keys_that_are_not_for_signatures_are_passed_over() -> None:
    key = make_key()
    for change in (
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"d": "AA"},
        {"kty": "oct", "k": "AA"},
        {"crv": "P-384"},
        {"crv": ["P-256"]},
        {"x": 5},
        {"x": None},
        {"x": "A" * 43},
        {"kid": 7},
    ):
        with pytest.raises(ValueError, match="no key"):
            keys_of({**key.jwk, **change})
    assert len(keys_of({**key.jwk, "use": "enc"}, key)) == 1


def test_keys_out_of_bounds_are_passed_over() -> None:
    for bits in (1024, 8200):
        private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        weak = SigningKey("a", "RS256", private).jwk
        if bits > 8192:
            weak["n"] = "_" * 1500
        with pytest.raises(ValueError, match="no key"):
            keys_of(weak)
    strong = make_key("RS256").jwk
    with pytest.raises(ValueError, match="no key"):
        keys_of({**strong, "e": "_" * 300})
    with pytest.raises(ValueError, match="no key"):
        keys_of(SigningKey("a", "ES256", ec.generate_private_key(ec.SECP256K1())).jwk)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[1,null]}', b'{"keys":[],"keys":[]}'],
)
def test_what_is_no_set_of_keys_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        read_keys(body)


def test_set_with_very_many_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        keys_of(*[make_key().jwk] * 65)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": NOW + 1}, True),
        ({"exp": NOW - 59}, True),
        ({"exp": NOW - 60}, False),
        ({"exp": NOW + 1.5, "nbf": NOW + 59, "iat": NOW + 59}, True),
        ({"exp": NOW + 90, "nbf": NOW + 61}, False),
        ({"exp": NOW + 90, "iat": NOW + 61}, False),
        ({}, False),
        ({"exp": None}, False),
        ({"exp": True}, False),
        ({"exp": str(NOW + 5)}, False),
        ({"exp": 1e300}, False),
        ({"exp": -1}, False),
        ({"exp": NOW + 5, "nbf": "soon"}, False),
    ],
)
def test_token_is_taken_within_its_time(claims: dict[str, Any], good: bool) -> None:
    if good:
        require_times(claims, NOW)
        return
    with pytest.raises(TokenRefused) as refused:
        require_times(claims, NOW)
    assert refused.value.step == "times"


@pytest.mark.parametrize("said", ["here", ["here"]])
def test_audience_is_the_one_letter_for_letter(said: Any) -> None:
    assert require_audience({"aud": said}, "here") == "here"
    assert require_audience({"aud": said}, lambda found: found == "here") == "here"


@pytest.mark.parametrize(
    "said",
    [None, [], "", "here/", "HERE", "her", ["there"], ["here", "there"], ["here", "here"], 5, [5], {"a": 1}],
)
def test_any_other_audience_is_refused(said: Any) -> None:
    for audience in ("here", lambda found: found == "here"):
        with pytest.raises(TokenRefused) as refused:
            require_audience({"aud": said}, audience)
        assert refused.value.step == "audience"


def test_refusal_repeats_nothing_unprintable() -> None:
    with pytest.raises(TokenRefused) as refused:
        require_audience({"aud": "a\x1b[31m\u202e" + "b" * 500}, "here")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300
