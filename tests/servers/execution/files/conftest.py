"""A folder that an operator allows, two teams' folders in it, and sources of files to use them with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema_rs
import pytest

from core.errors import MarinaError
from core.outbound import AddressRule, parse_networks
from servers.execution.contract import Operation, Outcome, Source
from servers.execution.engine import Engine

TENANT = 7
OTHER = 8


@dataclass(frozen=True)
class Shelves:
    """What the tests' operator allows. ``own`` is the folder of ``TENANT``, ``outside`` none that anybody may reach."""

    allowed: Path
    own: Path
    other: Path
    outside: Path

    def checksum_of_the_rest(self) -> str:
        """Of every name, kind, right and content that does not belong to ``TENANT``."""
        found = hashlib.sha256()
        for folder in (self.outside, self.other):
            for path in sorted([folder, *folder.rglob("*")]):
                status = path.lstat()
                found.update(f"{path}\0{status.st_mode}\0{status.st_mtime_ns}\0{status.st_nlink}\0".encode())
                if path.is_file() and not path.is_symlink():
                    found.update(path.read_bytes())
        return found.hexdigest()


@pytest.fixture
def shelves(tmp_path: Path) -> Shelves:
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    own, other = allowed / str(TENANT), allowed / str(OTHER)
    for folder in (own / "docs" / "deep", own / ".hidden", other, outside / "inner"):
        folder.mkdir(parents=True)
    (own / "notes.txt").write_text("first line\nsecond line\nthird line\n")
    (own / "docs" / "guide.md").write_text("# Guide\n\nAsk the harbour master.\n")
    (own / "docs" / "deep" / "depth.csv").write_text("metre,colour\n1,green\n200,black\n")
    (own / ".hidden" / "inside.txt").write_text("not listed\n")
    (own / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + bytes(range(256)))
    (other / "secret.txt").write_text("the other team's secret\n")
    (outside / "secret.txt").write_text("outside secret\n")
    (outside / "inner" / "more.txt").write_text("outside secret too\n")
    return Shelves(allowed, own, other, outside)


@pytest.fixture
async def files(shelves: Shelves) -> AsyncIterator[Engine]:
    loopback = AddressRule(parse_networks(["127.0.0.0/8"]))
    engine = Engine(allow_address=loopback.allows, files_roots=(shelves.allowed,))
    yield engine
    await engine.close()


def source_of(tenant_id: int = TENANT, **settings: Any) -> Source:
    place = {} if "bucket" in settings else {"root": "."}
    return Source(uuid4(), tenant_id, "shelf", "files", 1, {**place, **settings})


class Caller:
    """Calls the tools of one source, and holds each result against the tool's own schema."""

    def __init__(self, engine: Engine, source: Source) -> None:
        self.engine = engine
        self.source = source
        offered = engine.backend("files").offered(source.settings)
        self.tools = {tool.name: tool for tool in offered.tools}
        self._schemas = {
            name: jsonschema_rs.validator_for(dict(tool.output_schema or {}))
            for name, tool in self.tools.items()
        }

    async def outcome(self, tool: str, *, timeout: float = 20, **arguments: Any) -> Outcome:
        return await self.engine.execute(self.source, Operation(tool, {}), arguments, timeout=timeout)

    async def __call__(self, tool: str, **arguments: Any) -> Any:
        outcome = await self.outcome(tool, **arguments)
        if tool in self._schemas:
            self._schemas[tool].validate(outcome.structured)
        return outcome.structured

    async def refused(self, tool: str, **arguments: Any) -> MarinaError:
        """The error of a call that must fail."""
        with pytest.raises(MarinaError) as caught:
            await self.outcome(tool, **arguments)
        return caught.value


@pytest.fixture
def call(files: Engine) -> Caller:
    """The tools of a source that may be read only: all of ``TENANT``'s folder."""
    return Caller(files, source_of())


@pytest.fixture
def writing(files: Engine) -> Caller:
    """The tools of a source that may be written."""
    return Caller(files, source_of(allow_writes=True))


@pytest.fixture
def caller_of(files: Engine) -> Callable[..., Caller]:
    """The tools of a source with these settings."""

    def make(tenant_id: int = TENANT, **settings: Any) -> Caller:
        return Caller(files, source_of(tenant_id, **settings))

    return make


def odd_name(folder: Path, name: bytes, content: bytes = b"odd\n") -> None:
    """A file whose name is these bytes, whatever they are."""
    path = os.path.join(os.fsencode(folder), name)  # noqa: PTH118 - pathlib knows no names of bytes
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)
