"""A small OpenID provider over TLS on loopback: metadata, keys that rotate, tokens of any kind, introspection, faults.

Real as far as Marina can tell; what a test wants otherwise, it says. ``routes`` takes more endpoints.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm, get_default_algorithms

from core import introspection, jwks
from core.jwks import issuers
from tests.oauth.documents import HOST, certify, trusting

CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
JWKS = "/keys"
INTROSPECTION = "/introspect"
OIDC = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Asked:
    """A request that the issuer got."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    authorization: str


@dataclass(frozen=True)
class Answer:
    """What the issuer answers. ``body`` is bytes, or anything that JSON can say."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SigningKey:
    """A key of the issuer's, private."""

    key_id: str
    algorithm: str
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        """Its public half, as it is published."""
        public = self.private.public_key()
        return {
            **_algorithm(self.algorithm).to_jwk(public, as_dict=True),
            "kid": self.key_id,
            "use": "sig",
            "alg": self.algorithm,
        }


def make_key(algorithm: str = "ES256") -> SigningKey:
    """A new key for an algorithm."""
    if algorithm in CURVES:
        private: Any = ec.generate_private_key(CURVES[algorithm])
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return SigningKey(secrets.token_hex(6), algorithm, private)


def encode_token(header: Mapping[str, Any], claims: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token of exactly these parts, however wrong they are. ``claims`` may be bytes."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{_text(json.dumps(header).encode())}.{_text(payload)}"
    return f"{signed}.{_text(sign(signed.encode()))}"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone, or trusts somebody else."""


class LoopbackIssuer:
    """An issuer of its own at ``identifier``. ``asked`` are the paths that it was asked for.

    Several with one ``folder`` have one certificate.
    """

    def __init__(self, folder: Path, path: str = "", algorithm: str = "ES256") -> None:
        self.authority = folder / "authority.pem"
        if not self.authority.exists():
            certify(folder)
        self.path = path
        self.keys = [make_key(algorithm)]
        self.asked: list[str] = []
        self.faults: dict[str, Callable[[], Answer]] = {}
        """Path → what is answered there instead."""
        self.metadata_changes: dict[str, Any] = {}
        self.client_id, self.client_secret = "marina", secrets.token_urlsafe(16)
        self.opaque: dict[str, dict[str, Any]] = {}
        """Opaque tokens that are live, and what introspection says of each."""
        self.routes: dict[tuple[str, str], Callable[[Asked], Answer]] = {
            ("GET", f"{path}{OIDC}"): lambda asked: Answer(self.metadata()),
            ("GET", f"{path}{JWKS}"): lambda asked: Answer({"keys": [key.jwk for key in self.keys]}),
            ("POST", f"{path}{INTROSPECTION}"): self._introspect,
        }
        self._over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"https://{HOST}:{self._server.server_address[1]}"

    @property
    def identifier(self) -> str:
        """What it is called in tokens."""
        return f"{self.origin}{self.path}"

    def metadata(self) -> dict[str, Any]:
        """What it says of itself."""
        return {
            "issuer": self.identifier,
            "authorization_endpoint": f"{self.identifier}/authorize",
            "token_endpoint": f"{self.identifier}/token",
            "jwks_uri": f"{self.identifier}{JWKS}",
            "introspection_endpoint": f"{self.identifier}{INTROSPECTION}",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [key.algorithm for key in self.keys],
            **self.metadata_changes,
        }

    def rotate(self, algorithm: str = "ES256", *, keep: bool = False) -> SigningKey:
        """Sign with a new key from now on; the old ones are published no more, unless kept."""
        key = make_key(algorithm)
        self.keys = [key, *(self.keys if keep else [])]
        return key

    def claims(self, audience: Any, **changes: Any) -> dict[str, Any]:
        """Sound claims for ``audience``; a change to ``None`` leaves one out."""
        now = int(time.time())
        given = {
            "iss": self.identifier,
            "sub": "ada",
            "aud": audience,
            "iat": now,
            "exp": now + 300,
            **changes,
        }
        return {name: value for name, value in given.items() if value is not None}

    def sign(
        self, claims: Any, *, key: SigningKey | None = None, header: Mapping[str, Any] | None = None
    ) -> str:
        """A token with these claims, signed with the newest key; a header's change to ``None`` leaves one out."""
        key = key or self.keys[0]
        said = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.key_id, **(header or {})}
        algorithm = _algorithm(key.algorithm)
        return encode_token(
            {name: value for name, value in said.items() if value is not None},
            claims,
            lambda signed: algorithm.sign(signed, key.private),
        )

    def token(self, audience: Any, **changes: Any) -> str:
        """A sound token for ``audience``, with claims changed."""
        return self.sign(self.claims(audience, **changes))

    def opaque_token(self, audience: Any, **changes: Any) -> str:
        """A token that only introspection can tell anything of."""
        token = secrets.token_urlsafe(24)
        self.opaque[token] = self.claims(audience, **changes)
        return token

    def be_slow(self, path: str) -> None:
        """Answer at ``path`` when the test is over."""

        def wait() -> Answer:
            self._over.wait(30)
            return Answer(status=503)

        self.faults[path] = wait

    def be_away(self, path: str) -> None:
        """Answer at ``path`` with 503."""
        self.faults[path] = lambda: Answer(status=503)

    def be_huge(self, path: str) -> None:
        """Answer at ``path`` with far too much."""
        self.faults[path] = lambda: Answer({"keys": [self.keys[0].jwk], "padding": "x" * 1_000_000})

    def redirect(self, path: str, to: str) -> None:
        """Send whoever asks at ``path`` elsewhere."""
        self.faults[path] = lambda: Answer(status=302, headers={"Location": to})

    def recover(self) -> None:
        """No faults any more."""
        self.faults.clear()

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _introspect(self, asked: Asked) -> Answer:
        """RFC 7662, for the one client that it knows."""
        pair = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        if asked.authorization != f"Basic {pair}":
            return Answer({"error": "invalid_client"}, 401, {"WWW-Authenticate": "Basic"})
        claims = self.opaque.get(asked.form.get("token", ""))
        return Answer({"active": False} if claims is None else {"active": True, **claims})

    def _answer(self, asked: Asked) -> Answer:
        fault = self.faults.get(asked.path)
        if fault is not None:
            return fault()
        route = self.routes.get((asked.method, asked.path))
        return Answer(status=404) if route is None else route(asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                issuer.asked.append(parts.path)
                answer = issuer._answer(
                    Asked(
                        self.command,
                        parts.path,
                        single(parts.query),
                        single(form),
                        self.headers.get("Authorization", ""),
                    )
                )
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                try:
                    self.send_response(answer.status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    # Whoever asked has had enough.
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def running_issuer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str = "", algorithm: str = "ES256"
) -> AbstractContextManager[LoopbackIssuer]:
    """An issuer that is ``trusted``. More may join it in its folder."""
    return trusted(LoopbackIssuer(folder, path, algorithm), monkeypatch)


AnIssuer = TypeVar("AnIssuer", bound=LoopbackIssuer)


@contextmanager
def trusted(issuer: AnIssuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnIssuer]:
    """The issuer, whose certificate Marina trusts, and whose address it connects to. It ends with the block."""
    # It answers from this process: what a stalled machine takes for it says nothing of an issuer.
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 30.0)
    monkeypatch.setattr(jwks, "WAIT_SECONDS", 40.0)
    monkeypatch.setattr(introspection, "ASK_SECONDS", 30.0)
    issuers.cache_clear()
    try:
        with trusting(issuer.authority, monkeypatch):
            yield issuer
    finally:
        issuer.stop()
        issuers.cache_clear()


def _algorithm(name: str) -> Algorithm:
    return get_default_algorithms()[name]


def single(query: str) -> dict[str, str]:
    """The parameters of a query or a form, of each the first."""
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}


def _text(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
