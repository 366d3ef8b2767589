"""The kind of data source that is files: opens each call's source, and hands the operation to its module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from core.outbound import AllowAddress
from servers.execution.addresses import allow_public
from servers.execution.backends.files.bucket import S3Bucket
from servers.execution.backends.files.clients import Clients
from servers.execution.backends.files.health import check_files
from servers.execution.backends.files.local import LocalFolder
from servers.execution.backends.files.opened import Opened
from servers.execution.backends.files.operations import RESOURCE, offer
from servers.execution.backends.files.reading import complete_path, list_directory, read_file, read_resource
from servers.execution.backends.files.searching import search_content, search_files
from servers.execution.backends.files.settings import (
    SETTINGS_SCHEMA,
    FilesSettings,
    clean_settings,
    read_settings,
    uri_start,
)
from servers.execution.backends.files.writing import create_directory, write_file
from servers.execution.contract import (
    Backend,
    Completion,
    Context,
    Health,
    Offering,
    Operation,
    Outcome,
    Sharing,
    Source,
)
from servers.execution.folders import beneath
from servers.execution.folders.places import place_of
from servers.execution.folders.threads import Stop, Threads

_Run = Callable[[Opened, Mapping[str, Any]], Awaitable[Outcome]]

_QUICK: Final[Mapping[str, _Run]] = {
    "read_file": read_file,
    "write_file": write_file,
    "create_directory": create_directory,
    RESOURCE: read_resource,
}
_LONG: Final[Mapping[str, _Run]] = {
    "list_directory": list_directory,
    "search_files": search_files,
    "search_content": search_content,
}
"""What may look at many files: it has threads of its own, so that reading one file does not wait for it."""

_SHARE: Final = 0.6
"""Of its time limit, what a search takes before it gives what it has found: the answer is still to be made."""
_CHECK_SECONDS: Final = 10.0


class FilesBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop.

    ``roots`` are the folders of this machine that the operator allows; without any, there are buckets only.
    """

    kind: str = "files"
    title: str = "Files"
    summary: str = (
        "A folder of this machine, or a bucket of S3-compatible storage: listed, read and searched."
    )
    settings_schema: Mapping[str, Any] = SETTINGS_SCHEMA
    secret_settings: frozenset[str] = frozenset({"secret_key"})

    def __init__(
        self,
        *,
        allow_address: AllowAddress = allow_public,
        roots: Sequence[Path] = (),
        supported: bool | None = None,
    ) -> None:
        self._roots = tuple(roots)
        self._supported = beneath.is_supported() if supported is None else supported
        self._quick = Threads("marina-files")
        self._long = Threads("marina-files-search")
        self._clients = Clients(allow=allow_address)

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return clean_settings(settings, self._roots, supported=self._supported)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        read = read_settings(settings)
        return offer(read, uri_start(read, self._roots))

    def sharing(self, operation: Operation) -> Sharing:
        return Sharing(by_caller=False)

    async def check(self, source: Source) -> Health:
        async def look() -> None:
            settings = read_settings(source.settings)
            stop = Stop(_CHECK_SECONDS)
            if settings.bucket is None:
                await self._folder(source, settings, self._quick, stop).check(writing=settings.allow_writes)
                return
            async with self._clients.lease(source) as client:
                await S3Bucket(settings.bucket, client, source.tenant_id, self._quick, stop).check()

        return await check_files(look)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        long = _LONG.get(operation.kind)
        run = long or _QUICK.get(operation.kind)
        if run is None:
            raise self.no_such_operation(operation)
        threads = self._long if long else self._quick
        async with self._open(source, threads, timeout, context) as opened:
            return await run(opened, arguments)

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
        context: Context,
    ) -> Completion:
        if argument != "path":
            return Completion(())
        async with self._open(source, self._long, timeout, context) as opened:
            return await complete_path(opened, value)

    async def close(self) -> None:
        self._quick.close()
        self._long.close()
        await self._clients.close()

    @asynccontextmanager
    async def _open(
        self, source: Source, threads: Threads, timeout: float, context: Context
    ) -> AsyncIterator[Opened]:
        settings = read_settings(source.settings)
        uri = uri_start(settings, self._roots)
        stop = Stop(timeout * _SHARE)
        if settings.bucket is None:
            yield Opened(self._folder(source, settings, threads, stop), settings, uri, stop, context)
            return
        async with self._clients.lease(source) as client:
            bucket = S3Bucket(settings.bucket, client, source.tenant_id, threads, stop)
            yield Opened(bucket, settings, uri, stop, context)

    def _folder(self, source: Source, settings: FilesSettings, threads: Threads, stop: Stop) -> LocalFolder:
        place = place_of(settings.root, self._roots, source.tenant_id, supported=self._supported)
        place = replace(place, make=settings.allow_writes)
        return LocalFolder(place, source.tenant_id, threads, stop)
