"""S3-compatible storage: addresses and signatures of its requests (AWS Signature Version 4), and files put there.

Everything is sent through the one door of outbound HTTP. What a storage says in its own words is not passed on: it may
hold anything. Keeps no credential.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from core.outbound_http import Answer, OutboundClient, OutboundRefused

REQUEST_SECONDS: Final = 60.0
PART_BYTES: Final = 8 * 1024 * 1024
MAX_PARTS: Final = 9_000
"""The protocol has at most 10,000, and none but the last below 5 MiB."""

TRIES: Final = 3
"""How often one request is sent, where sending it again may help."""

PAUSE_SECONDS: Final = 0.5
_ANSWER_BYTES: Final = 64 * 1024
_SAFE: Final = "-._~"
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_UPLOAD: Final = re.compile(rb"<UploadId>([^<]{1,4096})</UploadId>")
_KEYS: Final = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})


class Place(Protocol):
    """A bucket, and the key that its requests are signed with; without a key they are not signed."""

    @property
    def name(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Target:
    """A ``Place`` that files are put into. ``endpoint`` is scheme, host and port, without a slash at its end."""

    name: str
    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)


class StorageRefused(Exception):
    """A file was not put there. The message says why and what to do, in words that are safe to show.

    ``retryable``: the same may work later.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


def url_of(place: Place, key: str = "", query: Mapping[str, str] | None = None) -> str:
    """The URL of an object, or of the bucket itself, with every character encoded as the signature has it."""
    path = f"{place.endpoint}/{place.name}"
    if key:
        path += f"/{quote(key, safe=f'/{_SAFE}')}"
    if not query:
        return path
    pairs = (f"{quote(name, safe=_SAFE)}={quote(value, safe=_SAFE)}" for name, value in sorted(query.items()))
    return f"{path}?{'&'.join(pairs)}"


def md5_of(content: bytes) -> str:
    """The header ``Content-MD5`` of a request with this content. A bucket with object lock takes no other PUT."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def sign(
    place: Place, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None
) -> dict[str, str]:
    """The headers to send with a request: those given, a PUT's digest, and where there is a key those that sign it."""
    if method == "PUT" and content is not None:
        headers = {**headers, "Content-MD5": md5_of(content)}
    if not place.access_key:
        return dict(headers)
    # Loaded when it is first wanted: most processes never sign, and it takes a while and 20 MB.
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(method=method, url=url, headers=dict(headers), data=content or b"")
    signer = S3SigV4Auth(Credentials(place.access_key, place.secret_key), "s3", place.region)
    signer.add_auth(request)
    return {name: str(value) for name, value in request.headers.items() if name.lower() != "host"}


async def put_file(
    client: OutboundClient, target: Target, key: str, path: Path, media_type: str, beat: Callable[[], None]
) -> None:
    """Put a file there, in parts where it is large. ``beat`` is called between requests, in a thread, and may raise.

    It is there whole or not at all. Raises ``StorageRefused`` and ``OSError``.
    """
    size = (await asyncio.to_thread(path.stat)).st_size
    typed = {"Content-Type": media_type}
    if size <= PART_BYTES:
        content = await asyncio.to_thread(path.read_bytes)
        _expect(target, await _ask(client, target, "PUT", url_of(target, key), typed, content), 200, 201)
        return
    begun = await _ask(client, target, "POST", url_of(target, key, {"uploads": ""}), typed, b"")
    _expect(target, begun, 200)
    found = _UPLOAD.search(begun.body)
    if found is None:
        raise _unlike(target)
    upload = unescape(found[1].decode("utf-8", "replace"))
    try:
        await _put_parts(client, target, key, path, upload, max(PART_BYTES, -(-size // MAX_PARTS)), beat)
    except BaseException:
        await _abort(client, target, key, upload)
        raise


async def _put_parts(
    client: OutboundClient,
    target: Target,
    key: str,
    path: Path,
    upload: str,
    part_bytes: int,
    beat: Callable[[], None],
) -> None:
    marks: list[str] = []
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while content := await asyncio.to_thread(file.read, part_bytes):
            await asyncio.to_thread(beat)
            query = {"partNumber": str(len(marks) + 1), "uploadId": upload}
            answer = await _ask(client, target, "PUT", url_of(target, key, query), {}, content)
            _expect(target, answer, 200)
            mark = answer.headers.get("etag", "")
            if not re.fullmatch(r'"?[0-9A-Za-z-]{1,128}"?', mark):
                raise _unlike(target)
            marks.append(mark)
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{mark}</ETag></Part>"
        for number, mark in enumerate(marks, 1)
    )
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    done = await _ask(
        client,
        target,
        "POST",
        url_of(target, key, {"uploadId": upload}),
        {"Content-Type": "application/xml"},
        document,
    )
    _expect(target, done, 200)
    # The protocol may say 200 first, and in the body that it did not work.
    if b"<CompleteMultipartUploadResult" not in done.body:
        raise _refused(target, 500, _code_of(done.body))


async def _abort(client: OutboundClient, target: Target, key: str, upload: str) -> None:
    """Give the parts up, that nobody pays for them. What fails here is not what is told."""
    try:
        await _ask(client, target, "DELETE", url_of(target, key, {"uploadId": upload}), {}, None, tries=1)
    except StorageRefused:
        return


async def _ask(
    client: OutboundClient,
    target: Target,
    method: str,
    url: str,
    headers: Mapping[str, str],
    content: bytes | None,
    *,
    tries: int = TRIES,
) -> Answer:
    """Send a request; once more where that may help. An answer with any other status is given as it is."""
    for number in range(1, tries + 1):
        # In a thread: the content is hashed. Anew each time: a signature has its minute.
        signed = await asyncio.to_thread(sign, target, method, url, headers=headers, content=content)
        try:
            answer = await client.send(
                method,
                url,
                headers=signed,
                content=content,
                seconds=REQUEST_SECONDS,
                most_bytes=_ANSWER_BYTES,
            )
        except OutboundRefused as refusal:
            if number == tries or refusal.reason not in ("crowded", "unreachable", "timeout", "broken"):
                raise _unanswered(target, refusal) from None
        else:
            if number == tries or not (answer.status == 429 or answer.status >= 500):
                return answer
        await asyncio.sleep(PAUSE_SECONDS * 2 ** (number - 1))
    raise AssertionError("the last try ends it")


def _expect(target: Target, answer: Answer, *statuses: int) -> None:
    if answer.status not in statuses:
        raise _refused(target, answer.status, _code_of(answer.body))


def _code_of(body: bytes) -> str:
    found = _CODE.search(body)
    return found[1].decode() if found else ""


def _unanswered(target: Target, refusal: OutboundRefused) -> StorageRefused:
    return StorageRefused(
        f"The storage at {target.endpoint} did not give an answer: {refusal}.",
        retryable=refusal.reason in ("crowded", "unreachable", "timeout", "broken"),
    )


def _unlike(target: Target) -> StorageRefused:
    return StorageRefused(
        f"What {target.endpoint} answered is not what S3-compatible storage does. Check the endpoint.",
        retryable=False,
    )


def _refused(target: Target, status: int, code: str) -> StorageRefused:
    if code in _KEYS:
        return StorageRefused(
            f"The storage does not take the access key or its secret ({code}). Enter both again.",
            retryable=False,
        )
    if code == "NoSuchBucket" or status == 404:
        return StorageRefused(
            f"There is no bucket {target.name} at {target.endpoint}. Check its name.", retryable=False
        )
    if status in (401, 403):
        return StorageRefused(
            f"The storage does not let this access key write into the bucket {target.name}. Allow it "
            "s3:PutObject and s3:AbortMultipartUpload there.",
            retryable=False,
        )
    if status in (301, 302, 307, 308) or code == "AuthorizationHeaderMalformed":
        return StorageRefused(
            f"The bucket {target.name} is in another region than {target.region}, or at another endpoint.",
            retryable=False,
        )
    named = f" ({code})" if code else ""
    return StorageRefused(
        f"The storage refused with status {status}{named}.", retryable=status == 429 or status >= 500
    )
