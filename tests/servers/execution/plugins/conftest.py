"""Plugins that are really installed, as far as Python can tell: a folder on the path, with its dist-info."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from servers.execution.contract import Source
from servers.execution.engine import Engine

ROOT = Path(__file__).resolve().parents[4]

Install = Callable[..., None]
"""``install(code, name=…, target=…, package=…)``: the code becomes a module with an entry point."""


def write_dist_info(folder: Path, *, package: str, entries: Mapping[str, str]) -> None:
    """What an installer leaves beside a package for ``importlib.metadata``."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[marina.plugins]", *lines, ""]))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    before = set(sys.modules)

    def install(
        code: str, *, name: str = "sample", target: str = "plugin", package: str = "sample-package"
    ) -> None:
        module = f"sample_{uuid4().hex}"
        folder = tmp_path / module
        folder.mkdir()
        (folder / f"{module}.py").write_text(textwrap.dedent(code))
        write_dist_info(folder, package=package, entries={name: f"{module}:{target}"})
        monkeypatch.syspath_prepend(folder)

    yield install
    for module in set(sys.modules) - before:
        if module.startswith("sample_"):
            del sys.modules[module]


@pytest.fixture
def make_engine() -> Callable[[], Engine]:
    """Engines with the kinds that are installed at that moment."""
    return Engine


def source_of(kind: str, **settings: Any) -> Source:
    return Source(uuid4(), 1, "mine", kind, 1, settings)
