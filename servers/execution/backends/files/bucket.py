"""A bucket of S3-compatible storage as a place of files: keys below a prefix; slashes in them stand for folders.

Requests go through the one door of outbound HTTP and nowhere else; what is parsed, hashed or signed at length is so in
a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, TypeVar

from core.errors import SourceError
from core.objectstorage import sign, url_of
from core.outbound_http import Answer, OutboundClient, OutboundRefused
from servers.execution.backends.files.answers import BadAnswer, Page, moment_of, read_code, read_page
from servers.execution.backends.files.faults import refused_by, unanswered, unreadable
from servers.execution.backends.files.paths import is_sayable, mime_type_of, shown_name
from servers.execution.backends.files.settings import Bucket
from servers.execution.backends.files.storage import (
    MAX_SEEN,
    EntryType,
    FileEntry,
    Listing,
    Piece,
    Reader,
    Storage,
    Walk,
    missing,
    too_large,
)
from servers.execution.folders.threads import Stop, Threads

T = TypeVar("T")

REQUEST_SECONDS: Final = 20.0
PIECE_BYTES: Final = 256 * 1024
_PLAIN: Final = {"Accept-Encoding": "identity"}
"""Sizes and ranges are those of what is stored."""
PAGE_KEYS: Final = 1_000
_PAGE_BYTES: Final = 4 * 1024 * 1024
_ERROR_BYTES: Final = 64 * 1024


class S3Bucket(Storage):
    """See ``storage.Storage``. One object a call."""

    def __init__(
        self, bucket: Bucket, client: OutboundClient, tenant_id: int, threads: Threads, stop: Stop
    ) -> None:
        self._bucket = bucket
        self._client = client
        self._tenant_id = tenant_id
        self._threads = threads
        self._stop = stop

    async def list(self, walk: Walk) -> Listing:
        collected = _Collected(walk, self._bucket.prefix)
        following = ""
        while True:
            page = await self._page(collected.start, recursive=walk.recursive, following=following)
            following = page.following
            await self._in_thread(partial(collected.add, page))
            if not following or collected.full:
                break
            if collected.seen >= MAX_SEEN or self._stop.late():
                break
        if walk.directory and not collected.seen:
            raise missing(walk.directory, folder=True)
        entries = sorted(collected.entries, key=lambda entry: entry.path)
        return Listing(entries, truncated=collected.full or bool(following))

    async def read(self, path: str, *, offset: int, most: int, whole: int) -> Piece:
        head = await self._head(path)
        if head is None:
            raise await self._refusal(path, 404)
        size, modified = _length(head), _modified(head)
        if size <= whole:
            data = (await self._get(path, {}, whole)).body
            digest = await self._in_thread(lambda: hashlib.sha256(data).hexdigest())
            return Piece(data[offset : offset + most], offset, len(data), modified, digest)
        if offset >= size:
            return Piece(b"", offset, size, modified, None)
        end = min(offset + most, size)
        answer = await self._get(path, {"Range": f"bytes={offset}-{end - 1}"}, most)
        if answer.status != 206:
            raise too_large(path, size, whole)  # it sends the whole file where a part was asked for
        return Piece(answer.body, offset, size, modified, None)

    async def scan(self, paths: Sequence[str], reader: Reader, *, most: int) -> None:
        for path in paths:
            if not reader.begin(path):
                return
            fault = None
            try:
                await self._scan(path, reader, most)
            except SourceError as caught:
                fault = caught
            await self._in_thread(partial(reader.end, fault))

    async def write(self, path: str, content: bytes, *, create_dirs: bool) -> bool:
        # There are no folders that could be missing: a key is a name with slashes in it.
        del create_dirs
        new = await self._head(path) is None
        await self._put(self._key(path), content, mime_type_of(path, binary=b"\x00" in content), path)
        return new

    async def make_directory(self, path: str) -> bool:
        page = await self._page(f"{self._key(path)}/", recursive=True, following="", keys=1)
        if page.objects:
            return False
        await self._put(f"{self._key(path)}/", b"", "application/x-directory", path)
        return True

    async def check(self) -> None:
        """Ask for one key. Raises ``SourceError``."""
        await self._page(self._bucket.prefix, recursive=True, following="", keys=1)

    async def _scan(self, path: str, reader: Reader, most: int) -> None:
        url = url_of(self._bucket, self._key(path))
        headers = await self._signed("GET", url, _PLAIN, None)
        waiting = bytearray()
        try:
            async with self._client.stream(
                "GET", url, headers=headers, seconds=REQUEST_SECONDS, most_bytes=most
            ) as answer:
                if answer.status != 200:
                    raise refused_by(self._bucket, answer.status, "", path)
                async for piece in answer.pieces:
                    waiting += piece
                    if len(waiting) >= PIECE_BYTES:
                        given = bytes(waiting)
                        waiting.clear()
                        if not await self._in_thread(partial(reader.take, given)):
                            return
        except OutboundRefused as refusal:
            if refusal.reason == "too_large":
                raise too_large(path, most + 1, most) from None
            raise unanswered(self._bucket, refusal) from None
        if waiting:
            await self._in_thread(partial(reader.take, bytes(waiting)))

    def _key(self, path: str) -> str:
        return f"{self._bucket.prefix}{path}"

    async def _page(self, prefix: str, *, recursive: bool, following: str, keys: int | None = None) -> Page:
        query = {
            "list-type": "2",
            "encoding-type": "url",
            "max-keys": str(keys or PAGE_KEYS),
            "prefix": prefix,
        }
        if not recursive:
            query["delimiter"] = "/"
        if following:
            query["continuation-token"] = following
        answer = await self._ask("GET", url_of(self._bucket, "", query), most=_PAGE_BYTES)
        if answer.status != 200:
            raise refused_by(self._bucket, answer.status, read_code(answer.body), "")
        try:
            return await self._in_thread(lambda: read_page(answer.body))
        except BadAnswer:
            raise unreadable(self._bucket) from None

    async def _head(self, path: str) -> Mapping[str, str] | None:
        answer = await self._ask("HEAD", url_of(self._bucket, self._key(path)), most=_ERROR_BYTES)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise await self._refusal(path, answer.status)
        return answer.headers

    async def _refusal(self, path: str, status: int) -> SourceError:
        """Why a HEAD was refused: its answer has no body, and so no code. That of a GET has."""
        url = url_of(self._bucket, self._key(path))
        try:
            answer = await self._ask("GET", url, headers={**_PLAIN, "Range": "bytes=0-0"}, most=_ERROR_BYTES)
        except _Oversized:
            return refused_by(self._bucket, status, "", path)
        return refused_by(self._bucket, status, read_code(answer.body), path)

    async def _get(self, path: str, headers: Mapping[str, str], most: int) -> Answer:
        url = url_of(self._bucket, self._key(path))
        try:
            answer = await self._ask("GET", url, headers={**_PLAIN, **headers}, most=max(most, _ERROR_BYTES))
        except _Oversized:
            raise too_large(path, most + 1, most) from None
        if answer.status not in (200, 206):
            raise refused_by(self._bucket, answer.status, read_code(answer.body), path)
        if answer.status == 200 and len(answer.body) > most and headers == {}:
            raise too_large(path, len(answer.body), most)
        return answer

    async def _put(self, key: str, content: bytes, type_: str, path: str) -> None:
        url = url_of(self._bucket, key)
        answer = await self._ask(
            "PUT", url, headers={"Content-Type": type_}, content=content, most=_ERROR_BYTES
        )
        if answer.status not in (200, 201, 204):
            raise refused_by(self._bucket, answer.status, read_code(answer.body), path)

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        most: int,
    ) -> Answer:
        self._stop.check()
        signed = await self._signed(method, url, headers or {}, content)
        try:
            return await self._client.send(
                method, url, headers=signed, content=content, seconds=REQUEST_SECONDS, most_bytes=most
            )
        except OutboundRefused as refusal:
            if refusal.reason == "too_large":
                raise _Oversized(unanswered(self._bucket, refusal).message, code="result_too_large") from None
            raise unanswered(self._bucket, refusal) from None

    async def _signed(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> dict[str, str]:
        # In a thread: the content is hashed, and what signs is loaded when it is first wanted.
        return await self._in_thread(
            lambda: sign(self._bucket, method, url, headers=headers, content=content)
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._threads.run(self._tenant_id, self._stop, work)


class _Oversized(SourceError):
    """The answer is larger than was asked for."""


class _Collected:
    """The entries of a listing, out of its pages: what stands for folders is told from keys."""

    def __init__(self, walk: Walk, prefix: str) -> None:
        self._walk = walk
        self._prefix = len(prefix)
        self.start = f"{prefix}{walk.directory}/" if walk.directory else prefix
        self._folders: set[str] = set()
        self.entries: list[FileEntry] = []
        self.seen = 0
        self.full = False

    def add(self, page: Page) -> None:
        """Take one page."""
        for key in page.folders:
            self.seen += 1
            if key.startswith(self.start):
                self._add_folders(key[len(self.start) :].rstrip("/"))
        for found in page.objects:
            self.seen += 1
            if not found.key.startswith(self.start):
                continue  # nothing of the kind was asked for
            below = found.key[len(self.start) :]
            folder, slash, name = below.rpartition("/")
            if slash:
                self._add_folders(folder)
            if name:
                self._add(found.key, name, folder, "file", found.size, found.modified)

    def _add_folders(self, below: str) -> None:
        parts = below.split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder and folder not in self._folders:
                self._folders.add(folder)
                above = "/".join(parts[: depth - 1])
                self._add(f"{self.start}{folder}", parts[depth - 1], above, "directory", None, None)

    def _add(
        self, key: str, name: str, above: str, type_: EntryType, size: int | None, modified: str | None
    ) -> None:
        parts = [*(above.split("/") if above else ()), name]
        if not self._walk.hidden and any(part.startswith(".") for part in parts):
            return
        path = key[self._prefix :]
        if not all(is_sayable(part) for part in parts):
            path, name, type_, size = shown_name(path), shown_name(name), "other", None
        entry = FileEntry(path, name, type_, size, modified)
        if not self._walk.wanted(entry):
            return
        if len(self.entries) >= self._walk.most:
            self.full = True
            return
        self.entries.append(entry)


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _modified(headers: Mapping[str, str]) -> str | None:
    try:
        return moment_of(parsedate_to_datetime(headers.get("last-modified", "")).isoformat())
    except ValueError:
        return None
