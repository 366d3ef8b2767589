"""Storage that lies, drips, redirects, bombs or breaks off: each call ends with an error in Marina's own words."""

from __future__ import annotations

import gzip
import hashlib
import hmac
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.errors import SourceError
from tests.farside import Asked, FarSide, Send, far_side, reply
from tests.servers.execution.files.conftest import Caller

pytestmark = pytest.mark.anyio

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
BROKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nbreaks off"
EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as server:
        yield server


@pytest.fixture
def call(far: FarSide, caller_of: Callable[..., Caller]) -> Caller:
    return caller_of(
        bucket="bucket", endpoint=far.origin, access_key="AKIDEXAMPLE", secret_key=SECRET, allow_writes=True
    )


def answering(far: FarSide, answer: bytes, *, size: int = 9) -> None:
    """Answer so wherever bytes or a listing are asked for; a question for the head alone is answered soundly."""

    def route(asked: Asked, send: Send) -> None:
        if asked.method == "HEAD":
            send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        else:
            send(answer)
            if answer == BROKEN:
                raise ConnectionAbortedError

    far.serve("/bucket", route)
    far.serve("/bucket/file.txt", route)


READS: list[tuple[str, dict[str, Any]]] = [
    ("read_file", {"path": "file.txt"}),
    ("read_file", {"path": "file.txt", "offset": 0, "length": 4}),
]
ASKS: list[tuple[str, dict[str, Any]]] = [
    *READS,
    ("list_directory", {}),
    ("search_content", {"content_pattern": "x"}),
]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"<Error><Code>AccessDenied</Code></Error>", status=403), "source_denied"),
        (reply(b"<Error><Code>SignatureDoesNotMatch</Code></Error>", status=403), "source_auth"),
        (reply(b"<Error><Code>InvalidAccessKeyId</Code></Error>", status=403), "source_auth"),
        (reply(b"<Error><Code>NoSuchBucket</Code></Error>", status=404), "source_missing"),
        (reply(b"<Error><Code>SlowDown</Code></Error>", status=503), "source_unreachable"),
        (reply(b"<script>alert(1)</script>" * 100, status=500), "source_unreachable"),
        (reply(b"teapot", status=418), "source_failed"),
        (reply(status=301, headers={"Location": "http://169.254.169.254/"}), "source_missing"),
        (reply(status=307, headers={"Location": "http://127.0.0.1:1/bucket"}), "source_missing"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\nshort", "result_too_large"),
        (BROKEN, "source_unreachable"),
        (b"no HTTP at all\r\n\r\n", "source_unreachable"),
        (b"", "source_unreachable"),
        (
            reply(gzip.compress(b"\0" * 200_000_000, 1), headers={"Content-Encoding": "gzip"}),
            "result_too_large",
        ),
    ],
)
async def test_a_refusal_or_a_lie_is_an_error_in_our_words(
    far: FarSide, call: Caller, answer: bytes, code: str
) -> None:
    answering(far, answer)
    for tool, arguments in ASKS:
        fault = await call.refused(tool, **arguments)
        assert isinstance(fault, SourceError)
        assert fault.code == code, (tool, fault.message)
        for word in (SECRET, "script", "169.254", "AKIDEXAMPLE"):
            assert word not in fault.message
    # What was answered instead was nowhere followed to.
    assert {asked.path for asked in far.asked} <= {"/bucket", "/bucket/file.txt"}


async def test_a_refusal_of_the_head_alone_is_told_with_its_code(far: FarSide, call: Caller) -> None:
    def refuse(asked: Asked, send: Send) -> None:
        told = b"" if asked.method == "HEAD" else b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        send(reply(told, status=403))

    far.serve("/bucket/file.txt", refuse)
    assert (await call.refused("read_file", path="file.txt")).code == "source_auth"


@pytest.mark.parametrize("body", [b"", b"<html>sign in</html>", b"<ListBucketResult>", b"\0" * 100])
async def test_a_listing_that_is_none_is_an_error(far: FarSide, call: Caller, body: bytes) -> None:
    answering(far, reply(body))
    for tool, arguments in ASKS[2:]:
        assert (await call.refused(tool, **arguments)).code == "source_failed"


async def test_a_listing_without_end_stops_at_its_bounds(far: FarSide, call: Caller) -> None:
    page = (
        "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>"
        + "".join(f"<Contents><Key>k{number}</Key><Size>1</Size></Contents>" for number in range(1_000))
        + "</ListBucketResult>"
    )
    answering(far, reply(page.encode()))
    result = await call("search_files", pattern="none*")
    assert (result["count"], result["truncated"]) == (0, True)
    assert len(far.asked) == 50


async def test_keys_of_another_prefix_are_not_taken(far: FarSide, caller_of: Callable[..., Caller]) -> None:
    call = caller_of(bucket="bucket", endpoint=far.origin, prefix="mine")
    page = (
        "<ListBucketResult><Contents><Key>other/secret.txt</Key><Size>1</Size></Contents>"
        "<Contents><Key>mine/own.txt</Key><Size>1</Size></Contents></ListBucketResult>"
    )
    answering(far, reply(page.encode()))
    listed = await call("list_directory")
    assert [entry["path"] for entry in listed["entries"]] == ["own.txt"]
    assert "authorization" not in far.asked[0].headers


async def test_what_drips_is_left_when_the_time_is_over(far: FarSide, call: Caller) -> None:
    def drip(asked: Asked, send: Send) -> None:
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not far.over.wait(0.05):
            send(b"x")

    far.serve("/bucket", drip)
    with pytest.raises(SourceError) as caught:
        await call.outcome("list_directory", timeout=0.5)
    assert caught.value.code == "source_timeout"


async def test_a_part_that_is_not_given_as_a_part_is_not_taken(far: FarSide, call: Caller) -> None:
    answering(far, reply(b"all of it"), size=100_000_000)
    assert (await call.refused("read_file", path="file.txt", offset=3, length=2)).code == "result_too_large"


def signature_of(asked: Asked) -> tuple[str, str]:
    """The signature that came, and the one that belongs to what came (AWS Signature Version 4)."""
    stated = dict(part.split("=", 1) for part in asked.headers["authorization"].partition(" ")[2].split(", "))
    names = stated["SignedHeaders"].split(";")
    canonical = "\n".join(
        [
            asked.method,
            asked.path,
            "&".join(sorted(asked.query.split("&"))) if asked.query else "",
            *(f"{name}:{asked.headers[name]}" for name in names),
            "",
            stated["SignedHeaders"],
            hashlib.sha256(asked.body).hexdigest(),
        ]
    )
    day, region, service, end = stated["Credential"].split("/")[1:]
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            asked.headers["x-amz-date"],
            f"{day}/{region}/{service}/{end}",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{SECRET}".encode()
    for word in (day, region, service, end, to_sign):
        key = hmac.digest(key, word.encode(), "sha256")
    return stated["Signature"], key.hex()


async def test_what_is_sent_is_what_was_signed_and_the_secret_is_not_in_it(
    far: FarSide, call: Caller
) -> None:
    answering(far, reply(EMPTY))
    await call("list_directory")
    await call("write_file", path="file.txt", content="größe " * 100_000)
    await call.refused("read_file", path="a b+&=~é/(x)'!*.txt", offset=0, length=4)
    assert [asked.method for asked in far.asked] == ["GET", "HEAD", "PUT", "HEAD", "GET"]
    for asked in far.asked:
        assert SECRET not in str(asked)
        assert asked.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        came, belongs = signature_of(asked)
        assert came == belongs, asked.target
