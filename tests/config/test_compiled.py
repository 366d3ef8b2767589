"""What web processes and tests run compiled: that they do, from fresh libraries only, and that the modules may be."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from config.compiled import (
    CODE,
    FOLDER,
    MANIFEST,
    MODULES,
    ROOT,
    digests_of,
    is_fresh,
    library_of,
    source_of,
    use_compiled,
    uses_compiled,
)
from config.env import get_env
from config.local import compiling
from config.local.compiling import CannotCompile
from tests.plugins.live_marina import LiveMarina

_IMPORT_ALL = """
import sys
from importlib import import_module
import django
from config.compiled import MODULES, use_compiled
assert use_compiled()
django.setup()
for module in MODULES:
    print(import_module(module).__file__)
"""

_IMPORT_LATE = """
import core.errors
import servers.endpoint.wire
from config.compiled import use_compiled
use_compiled()
"""


_IMPORT_BROKEN = """
from pathlib import Path
from config.compiled import use_compiled
print(use_compiled(Path({folder!r})))
import servers.endpoint.wire
print(servers.endpoint.wire.__file__)
"""


def test_web_process_runs_the_libraries(tmp_path: Path) -> None:
    with LiveMarina(tmp_path / "web.log", environment={"MARINA_COMPILED": "yes"}).running() as there:
        assert CODE in _loaded_by(there)


def test_web_process_runs_the_sources_where_that_is_wanted(tmp_path: Path) -> None:
    with LiveMarina(tmp_path / "web.log", environment={"MARINA_COMPILED": "no"}).running() as there:
        assert CODE not in _loaded_by(there)


def test_each_module_comes_from_its_library() -> None:
    done = _python(_IMPORT_ALL)
    files = done.stdout.split()
    assert len(files) == len(MODULES), done.stderr
    assert all(Path(file).is_relative_to(FOLDER) for file in files)


def test_libraries_come_too_late_once_a_module_is_imported() -> None:
    done = _python(_IMPORT_LATE)
    assert "servers.endpoint.wire is imported already" in done.stderr


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The libraries, elsewhere."""
    return Path(shutil.copytree(FOLDER, tmp_path / "compiled"))


def test_libraries_of_other_sources_are_not_used(copied: Path, tmp_path: Path) -> None:
    assert is_fresh(copied)
    made = json.loads((copied / MANIFEST).read_bytes())
    sources, path = made["sources"], str(source_of("tenants.audit.chain"))
    for digests in ({**sources, path: "0" * 64}, {**sources, "servers/gone.py": sources[path]}, {}):
        (copied / MANIFEST).write_text(json.dumps({**made, "sources": digests}))
        assert not is_fresh(copied)
    for broken in ("{", "{}", "[]", '{"sources": [], "libraries": 1}'):
        (copied / MANIFEST).write_text(broken)
        assert not is_fresh(copied)
    assert not is_fresh(tmp_path / "nothing")
    assert not use_compiled(tmp_path / "nothing")


def test_libraries_that_are_not_whole_are_not_used(copied: Path) -> None:
    code = copied / library_of(CODE)
    whole = code.read_bytes()
    code.write_bytes(whole[:500_000])
    assert not is_fresh(copied)
    code.unlink()
    assert not is_fresh(copied)
    code.write_bytes(whole)
    assert is_fresh(copied)
    (copied / library_of("tenants.access")).unlink()
    assert not is_fresh(copied)


def test_libraries_that_cannot_be_loaded_leave_the_sources(copied: Path) -> None:
    code, manifest = copied / library_of(CODE), copied / MANIFEST
    code.write_bytes(b"made for another machine")
    made = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**made, "libraries": digests_of(made["libraries"], copied)}))
    done = _python(_IMPORT_BROKEN.format(folder=str(copied)))
    assert done.stdout.split() == ["False", str(ROOT / "servers/endpoint/wire.py")], done.stderr
    assert "the sources are run" in done.stderr


def test_libraries_know_what_the_modules_import() -> None:
    made = json.loads((FOLDER / MANIFEST).read_bytes())["sources"]
    # A constant of another module is part of the machine code.
    assert {"platform/core/errors.py", "servers/services/surfaces.py", "requirements.lock"} <= set(made)


def test_these_tests_run_on_the_libraries() -> None:
    assert uses_compiled() == get_env().compiled


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_waits_is_compiled(module: str) -> None:
    tree = ast.parse((ROOT / source_of(module)).read_bytes())
    waiting = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]
    handling = [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try | ast.TryStar | ast.With)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Yield | ast.YieldFrom)
    ]
    assert not waiting, "a compiled coroutine mistakes other tasks' exceptions for its own"
    assert not handling, "so does a compiled generator that is left within try"


@pytest.mark.parametrize("module", MODULES)
def test_no_class_has_a_value_that_compiling_loses(module: str) -> None:
    tree = ast.parse((ROOT / source_of(module)).read_bytes())
    for made in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        of_fields = any("dataclass" in ast.unparse(each) for each in made.decorator_list) or any(
            ast.unparse(base) == "NamedTuple" for base in made.bases
        )
        plain = [node for node in made.body if isinstance(node, ast.Assign)]
        marked = [node for node in made.body if isinstance(node, ast.AnnAssign) and node.value is not None]
        assert [each for each in map(ast.unparse, plain) if not each.startswith("__slots__ ")] == []
        if not of_fields:
            assert [
                ast.unparse(each) for each in marked if "ClassVar" not in ast.unparse(each.annotation)
            ] == []


def test_without_a_compiler_the_sources_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "FOLDER", tmp_path / "libraries")
    monkeypatch.setattr(compiling, "is_fresh", lambda: False)
    monkeypatch.setenv("CC", "no-such-compiler -pthread")
    assert compiling.main([]) == 0
    said = capsys.readouterr().err
    assert "There is no no-such-compiler" in said
    assert "apt-get install gcc python3-dev" in said
    assert "not compiled" in said
    assert not (tmp_path / "libraries").exists()


@pytest.mark.timeout(300)
def test_half_a_library_is_made_anew_and_tried(copied: Path) -> None:
    code = copied / library_of(CODE)
    code.write_bytes(code.read_bytes()[:100_000])
    compiling.compile_modules(copied)
    assert is_fresh(copied)
    assert code.stat().st_size > 100_000
    assert list(copied.parent.iterdir()) == [copied]


def test_a_library_that_ends_its_process_is_not_put_in_place(copied: Path) -> None:
    code, manifest = copied / library_of(CODE), copied / MANIFEST
    code.write_bytes(code.read_bytes()[:100_000])
    made = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**made, "libraries": digests_of(made["libraries"], copied)}))
    with pytest.raises(CannotCompile):
        compiling._try(copied)


def test_a_place_that_cannot_be_written_leaves_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(compiling, "FOLDER", tmp_path / "file" / "libraries")
    monkeypatch.setattr(compiling, "is_fresh", lambda: False)
    assert compiling.main([]) == 0
    assert "not compiled" in capsys.readouterr().err


def test_one_make_waits_for_another_and_finds_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    begun = threading.Event()

    def compile_slowly(folder: Path) -> None:
        begun.set()
        time.sleep(0.2)
        made.append("made")

    monkeypatch.setattr(compiling, "FOLDER", tmp_path / "libraries")
    monkeypatch.setattr(compiling, "is_fresh", lambda: bool(made))
    monkeypatch.setattr(compiling, "compile_modules", compile_slowly)
    first = threading.Thread(target=compiling.main, args=([],))
    first.start()
    assert begun.wait(60)
    compiling.main([])
    first.join()
    assert made == ["made"]


def _loaded_by(there: LiveMarina) -> str:
    return Path(f"/proc/{there.pid}/maps").read_text()


def _python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
