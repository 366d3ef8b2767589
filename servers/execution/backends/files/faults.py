"""What S3-compatible storage refuses, in Marina's words: its own text may hold anything, and is not passed on."""

from __future__ import annotations

from typing import Final

from core.errors import SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.files.settings import Bucket
from servers.execution.backends.files.storage import denied, missing

_KEYS: Final = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})
_ELSEWHERE: Final = frozenset({301, 302, 307, 308})
_CODES: Final = {
    "unresolved": "source_missing",
    "denied": "source_denied",
    "address": "source_denied",
    "certificate": "source_denied",
    "timeout": "source_timeout",
    "too_large": "result_too_large",
}


def unanswered(bucket: Bucket, refusal: OutboundRefused) -> SourceError:
    """The storage was not asked, or did not answer in full."""
    return SourceError(
        f"The storage at {bucket.endpoint} did not give an answer: {refusal}.",
        code=_CODES.get(refusal.reason, "source_unreachable"),
        retryable=refusal.reason in ("crowded", "unreachable", "timeout", "broken"),
    )


def unreadable(bucket: Bucket) -> SourceError:
    """The storage answered with something else than S3 does."""
    return SourceError(
        f"What {bucket.endpoint} answered is not what S3-compatible storage does. Check the endpoint in the settings.",
        code="source_failed",
    )


def refused_by(bucket: Bucket, status: int, code: str, path: str) -> SourceError:
    """The storage's answer with a status that is no success. ``code`` is S3's, where there was one."""
    if code in _KEYS:
        return SourceError(
            f"The storage does not take the access key or its secret ({code}). Enter both again in the settings; of a "
            "temporary key, neither works without its token, which is not supported.",
            code="source_auth",
        )
    if code == "NoSuchBucket" or (status == 404 and not path):
        return SourceError(
            f"There is no bucket {bucket.name} at {bucket.endpoint}. Check its name in the settings.",
            code="source_missing",
        )
    if status == 404:
        return missing(path)
    if status in (401, 403):
        return denied(path or f"the bucket {bucket.name}", "read or write")
    if status in _ELSEWHERE or code == "AuthorizationHeaderMalformed":
        return SourceError(
            f"The bucket {bucket.name} is in another region than {bucket.region}, or at another endpoint. Correct "
            "them in the settings.",
            code="source_missing",
        )
    named = f" ({code})" if code else ""
    if status == 429 or status >= 500:
        return SourceError(
            f"The storage cannot answer just now: status {status}{named}. Try again later.",
            code="source_unreachable",
            retryable=True,
        )
    return SourceError(f"The storage refused with status {status}{named}.", code="source_failed")
