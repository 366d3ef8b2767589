"""Judges a signed token (JWT): its form, its header, its signature by one key, what it claims. Pure: fetches nothing.

The signature is PyJWT's work: it is typed, small, and here already beneath the MCP SDK and allauth, while jwcrypto
brings encryption and symmetric keys that a resource server has no use for. All other rules are our own, so that each
refusal is a step with a name: which key may be used with which algorithm, which header is taken, and JSON that means
one thing. Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7519 (JWT), RFC 8725 (best practices), RFC 9068 (access tokens).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms
from jwt.exceptions import PyJWTError

from core.strictjson import BadJson, read_object

MAX_TOKEN: Final = 8 * 1024
"""Characters of a token that is looked at."""

LEEWAY_SECONDS: Final = 60
"""How far the clocks of issuer and Marina may be apart."""

MAX_KEYS: Final = 64
_RSA_BITS: Final = range(2048, 8192 + 1)
_MAX_NUMBER: Final = 1_400
"""Characters of the longest number in a key: 8192 bits."""

_MAX_EXPONENT: Final = 8
"""Characters of an RSA key's public exponent: with a huge one, a signature would take milliseconds to check."""

_LAST_DATE: Final = 253_402_300_799
"""The end of the year 9999: no date can be told beyond."""

_KEYS_OF: Final[dict[str, tuple[str, frozenset[str]]]] = {
    **{f"{kind}{bits}": ("RSA", frozenset({""})) for kind in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", frozenset({"P-256"})),
    "ES384": ("EC", frozenset({"P-384"})),
    "ES512": ("EC", frozenset({"P-521"})),
    "EdDSA": ("OKP", frozenset({"Ed25519", "Ed448"})),
}
"""Algorithm → the type and the curves of its keys. ``none`` and the symmetric ones are not among them, so a public key
is never taken for a shared secret."""

ALGORITHMS: Final = tuple(_KEYS_OF)

_CURVES: Final = frozenset().union(*(curves for _, curves in _KEYS_OF.values()))

_VERIFIERS: Final[dict[str, Algorithm]] = {
    name: algorithm for name, algorithm in get_default_algorithms().items() if name in _KEYS_OF
}
_READERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
_PUBLIC_NUMBERS: Final = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}

ACCESS_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
"""What an access token may say that it is. The last two are RFC 9068's; many issuers say less."""

ID_TYPES: Final = frozenset({"", "jwt"})
"""What an OpenID Connect ID token may say that it is."""

STEPS: Final[dict[str, str]] = {
    "form": "Is it a signed token, with a header and claims in JSON?",
    "header": "Is it signed in a way that is taken?",
    "issuer": "Does it name this issuer?",
    "key": "Does the issuer publish the key that it names?",
    "signature": "Did the issuer sign it?",
    "times": "Is it valid now?",
    "audience": "Was it issued for here?",
}
"""The steps in their order. A refusal names the one that it fell at; all before it were passed."""

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class TokenRefused(Exception):
    """The token is none that is taken. The message ends in no full stop, and holds nothing of the token's secrets.

    ``step`` is one of ``STEPS``.
    """

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token in its parts. Nothing of it is proven before ``require_signature``."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """What it says that it is signed with; after ``require_header`` one of ``ALGORITHMS``."""
        return str(self.header.get("alg", ""))

    @property
    def key_id(self) -> str | None:
        """The id of the key that it says it is signed with."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with. ``algorithm`` is empty where the key is for any that fits it."""

    key_id: str | None
    kind: str
    curve: str
    algorithm: str
    material: Any

    def fits(self, algorithm: str) -> bool:
        """Whether signatures of this algorithm can be this key's."""
        kind, curves = _KEYS_OF[algorithm]
        return self.kind == kind and self.curve in curves and self.algorithm in {"", algorithm}


def looks_signed(token: str) -> bool:
    """Whether the text has the three parts of a signed token."""
    return token.count(".") == 2


def read_token(token: str) -> SignedToken:
    """A token in its parts, unproven. Raises ``TokenRefused``."""
    if len(token) > MAX_TOKEN:
        raise TokenRefused("form", f"It is longer than {MAX_TOKEN} characters")
    parts = token.split(".")
    if len(parts) == 5:
        raise TokenRefused("form", "It is an encrypted token, which only its issuer can read")
    if len(parts) != 3:
        raise TokenRefused("form", "It does not have the three parts of a signed token")
    header, claims, signature = (_decode(part) for part in parts)
    return SignedToken(
        _read_object(header, "header"),
        _read_object(claims, "claims"),
        token.rpartition(".")[0].encode("ascii"),
        signature,
    )


def require_header(token: SignedToken, types: frozenset[str] = ACCESS_TYPES) -> None:
    """Raise ``TokenRefused`` unless the header asks for nothing but what is taken here.

    Keys, and addresses of keys, that a header brings along (``jwk``, ``jku``, ``x5c``, ``x5u``) are never looked at.
    """
    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _KEYS_OF:
        raise TokenRefused(
            "header", f"It is signed with {_shown(algorithm)}; taken are {', '.join(ALGORITHMS)}"
        )
    if "crit" in token.header or "b64" in token.header:
        raise TokenRefused("header", "Its header has an extension that has to be understood (crit)")
    kind = token.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in types:
        raise TokenRefused(
            "header", f"Its header calls it {_shown(kind)}, which is another kind of token than is taken here"
        )
    if "kid" in token.header and token.key_id is None:
        raise TokenRefused("header", "The id of its key is no text")


def require_issuer(token: SignedToken, issuer: str) -> None:
    """Raise ``TokenRefused`` unless it names the issuer, letter for letter."""
    if token.claims.get("iss") != issuer:
        raise TokenRefused("issuer", f"It names the issuer {_shown(token.claims.get('iss'))}, not {issuer}")


def find_key(keys: Sequence[PublicKey], token: SignedToken) -> PublicKey | None:
    """The key that the token's header names. Without a name, the only one that fits (OpenID Connect Core, 10.1)."""
    fitting = [key for key in keys if key.fits(token.algorithm)]
    if token.key_id is not None:
        return next((key for key in fitting if key.key_id == token.key_id), None)
    return fitting[0] if len(fitting) == 1 else None


def require_signature(token: SignedToken, key: PublicKey) -> None:
    """Raise ``TokenRefused`` unless the token is signed with the key. Takes well under a millisecond."""
    try:
        good = _VERIFIERS[token.algorithm].verify(token.signed, key.material, token.signature)
    except (PyJWTError, ValueError, TypeError):
        good = False
    if not good:
        raise TokenRefused("signature", "Its signature is not of the issuer's key")


def require_times(claims: Mapping[str, Any], now: float) -> None:
    """Raise ``TokenRefused`` unless the claims hold at ``now``, in seconds since 1970. An end is required."""
    ends = _date(claims, "exp")
    if ends is None:
        raise TokenRefused("times", "It has no end (exp): it would be valid for ever")
    if now >= ends + LEEWAY_SECONDS:
        raise TokenRefused("times", f"It has expired (exp), {int(now - ends)} seconds ago")
    begins = _date(claims, "nbf")
    if begins is not None and now < begins - LEEWAY_SECONDS:
        raise TokenRefused("times", f"It is not valid yet (nbf), for {int(begins - now)} more seconds")
    issued = _date(claims, "iat")
    if issued is not None and now < issued - LEEWAY_SECONDS:
        raise TokenRefused("times", "It was issued in the future (iat): a clock is wrong")


def require_audience(claims: Mapping[str, Any], audience: str | Callable[[str], bool]) -> str:
    """The audience, where there is one and it is the one that is asked for, letter for letter. Raises ``TokenRefused``.

    ``audience`` may be a question, where several would do. A token for two could be used here by whoever got it as the
    other, so it is refused.
    """
    said = claims.get("aud")
    found = said if isinstance(said, list) else [said]
    if len(found) != 1 or not isinstance(found[0], str):
        listed = ", ".join(_shown(each) for each in found[:4]) if said is not None else ""
        raise TokenRefused(
            "audience",
            f"It is for {len(found)} audiences at once ({listed}); one alone is taken, or the others could use it here"
            if listed and len(found) > 1
            else "It does not say whom it is for (aud)",
        )
    good = found[0] == audience if isinstance(audience, str) else audience(found[0])
    if not good:
        wanted = f", not for {audience}" if isinstance(audience, str) else ", which is not here"
        raise TokenRefused("audience", f"It is for {_shown(found[0])}{wanted}")
    return found[0]


def read_keys(body: bytes) -> tuple[PublicKey, ...]:
    """The keys of a JWK set (RFC 7517) that signatures can be checked with. Raises ``ValueError`` where it is none.

    Passed over: keys of other types and for other uses, private and symmetric ones, and those out of bounds.
    """
    try:
        listed = read_object(body).get("keys")
    except BadJson:
        raise ValueError("it is no JSON object") from None
    if not isinstance(listed, list):
        raise ValueError("it is not a set of keys")  # noqa: TRY004 - foreign text, not an argument of the wrong type
    if len(listed) > MAX_KEYS:
        raise ValueError(f"it has more than {MAX_KEYS} keys")
    keys = tuple(key for key in map(_read_key, listed) if key is not None)
    if not keys:
        raise ValueError("it has no key that signatures can be checked with")
    return keys


def _read_key(jwk: Any) -> PublicKey | None:
    if not isinstance(jwk, dict):
        return None
    kind, curve, key_id = jwk.get("kty"), jwk.get("crv", ""), jwk.get("kid")
    algorithm = jwk.get("alg", "")
    operations = jwk.get("key_ops", ["verify"])
    if (
        not isinstance(kind, str)
        or kind not in _READERS
        or not isinstance(curve, str)
        or curve not in _CURVES
        or not isinstance(algorithm, str)
        or not (key_id is None or isinstance(key_id, str))
        or jwk.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
        # Whoever publishes a private key has told everybody how to sign.
        or "d" in jwk
    ):
        return None
    numbers = {name: jwk.get(name) for name in _PUBLIC_NUMBERS[kind]}
    if not all(isinstance(each, str) and 0 < len(each) <= _MAX_NUMBER for each in numbers.values()):
        return None
    if len(numbers.get("e") or "") > _MAX_EXPONENT:
        return None
    try:
        material = _READERS[kind]({"kty": kind, "crv": curve, **numbers})
    except (PyJWTError, ValueError, TypeError):
        return None
    if kind == "RSA" and material.key_size not in _RSA_BITS:
        return None
    return PublicKey(key_id, kind, "" if kind == "RSA" else curve, algorithm, material)


def _decode(part: str) -> bytes:
    """Base64url without padding, one text a value: what is left over of the last character is zero."""
    if not _SEGMENT.fullmatch(part):
        raise TokenRefused("form", "It is not written in base64url")
    try:
        found = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise TokenRefused("form", "It is not written in base64url") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != part:
        raise TokenRefused("form", "It is not written in base64url")
    return found


def _read_object(text: bytes, which: str) -> Mapping[str, Any]:
    try:
        return read_object(text)
    except BadJson:
        raise TokenRefused("form", f"Its {which} part is no JSON object that means one thing") from None


def _date(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_DATE:
        raise TokenRefused("times", f"Its {name} is no date")
    return value


def _shown(value: object) -> str:
    """A claim as a message may repeat it."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else type(value).__name__
    return "".join(each if each.isprintable() else "?" for each in text[:200]) or "nothing"
