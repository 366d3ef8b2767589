"""Signs requests to S3-compatible storage (AWS Signature Version 4). Sends nothing, and keeps no credential."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from servers.execution.backends.files.settings import Bucket

_SAFE = "-._~"


def url_of(bucket: Bucket, key: str = "", query: Mapping[str, str] | None = None) -> str:
    """The URL of an object, or of the bucket itself, with every character encoded as the signature has it."""
    path = f"{bucket.endpoint}/{bucket.name}"
    if key:
        path += f"/{quote(key, safe=f'/{_SAFE}')}"
    if not query:
        return path
    pairs = (f"{quote(name, safe=_SAFE)}={quote(value, safe=_SAFE)}" for name, value in sorted(query.items()))
    return f"{path}?{'&'.join(pairs)}"


def sign(
    bucket: Bucket, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None
) -> dict[str, str]:
    """The headers to send with a request: those given, and where the bucket has a key those that sign it."""
    if not bucket.access_key:
        return dict(headers)
    # Loaded when it is first wanted: most processes never sign, and it takes a while and 20 MB.
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest(method=method, url=url, headers=dict(headers), data=content or b"")
    signer = S3SigV4Auth(Credentials(bucket.access_key, bucket.secret_key), "s3", bucket.region)
    signer.add_auth(request)
    return {name: str(value) for name, value in request.headers.items() if name.lower() != "host"}
