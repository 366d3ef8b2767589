"""A real server of S3's protocol on loopback, and a bucket with files in it, for tests of sources that read buckets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import botocore.session
from moto.server import ThreadedMotoServer

KEYS: Final = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}

FILES: Final[dict[str, bytes]] = {
    "team/notes.txt": b"first line\nsecond line\nthird line\n",
    "team/docs/": b"",
    "team/docs/guide.md": b"# Guide\n\nAsk the harbour master.\n",
    "team/docs/deep/depth.csv": b"metre,colour\n1,green\n200,black\n",
    "team/.hidden/inside.txt": b"not listed\n",
    "team/picture.png": b"\x89PNG\r\n\x1a\n\x00\x00" + bytes(range(256)),
    "team/gr\u00fc\u00dfe & <more>+?#%.txt": b"odd\n",
    "team/a//b.txt": b"two slashes\n",
    "team/../escape.txt": b"upwards\n",
    "team2/secret.txt": b"another team's secret\n",
    "secret.txt": b"outside secret\n",
}
"""What is in a bucket, below ``team/`` and beside it."""


@contextmanager
def object_storage() -> Iterator[str]:
    """The address of a server of S3 that runs meanwhile."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def storage_client(storage: str) -> Any:
    """A client of Amazon's, to look from the other side."""
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=storage,
        region_name="us-east-1",
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
    )


def make_bucket(client: Any) -> str:
    """A new bucket with ``FILES``. Returns its name."""
    name = f"bucket-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    for key, content in FILES.items():
        client.put_object(Bucket=name, Key=key, Body=content)
    return name
