"""A web server over TLS on loopback, with a certificate of an authority of its own, that serves what a test says."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from core import outbound_http
from core.outbound import parse_networks

HOST = "localhost"


class Documents:
    """Answers each GET by ``answer``; ``asked`` are the paths it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: handler.send_error(404)
        self.authority = folder / "authority.pem"
        certify(folder)
        documents = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                documents.asked.append(self.path)
                documents.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/client.json", host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"

    def serve(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer so from now on."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Type", content_type)
            for name, value in (headers or {}).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answer = answer

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def running_documents(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Documents]:
    """A server whose certificate Marina trusts, and whose address it connects to."""
    documents = Documents(folder)
    # It answers from this process: what a stalled machine takes for it says nothing of a server.
    monkeypatch.setattr("frontend.oauth.registration.FETCH_SECONDS", 30.0)
    try:
        with trusting(documents.authority, monkeypatch):
            yield documents
    finally:
        documents.stop()


@contextmanager
def trusting(authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Marina trusts what the authority certified, and connects to this machine by its name."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    outbound_http.trusted.cache_clear()
    allowed = (*settings.ENV.outbound_allow, *parse_networks(["::1"]))
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=allowed))
    try:
        yield
    finally:
        outbound_http.trusted.cache_clear()


def certify(folder: Path) -> None:
    """Make ``authority.pem``, and a certificate by it for this machine's own name: ``server.pem``, ``server.key``."""
    now = dt.datetime.now(dt.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests")])

    def build(subject: str, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
        )

    root = build("Tests", authority_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    leaf = build(HOST, key.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(root.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.pem").write_bytes(leaf.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
