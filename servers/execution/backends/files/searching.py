"""Finds files by name, and lines by what is in them: search_files, search_content. Within bounds of bytes and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.errors import SourceError
from servers.execution.backends.files.lines import LineExpression, LineScanner, compile_expression
from servers.execution.backends.files.opened import (
    Opened,
    flag_argument,
    number_argument,
    outcome,
    path_argument,
)
from servers.execution.backends.files.paths import compile_glob, extension_of
from servers.execution.backends.files.reading import below, shown_entry
from servers.execution.backends.files.storage import FileEntry, Reader, Walk
from servers.execution.contract import Outcome

MAX_RESULTS: Final = 1_000
DEFAULT_RESULTS: Final = 100
MAX_FILES: Final = 5_000
MAX_SEARCHED_BYTES: Final = 64 * 1024 * 1024
MAX_EXCERPT: Final = 400

_PASSED_OVER: Final = {
    "source_missing": "unreadable",
    "source_denied": "unreadable",
    "result_too_large": "too_large",
}
FILES_A_TURN: Final = 100
"""Read in one go, in one thread; in between the caller is told how far the search is."""


async def search_files(opened: Opened, arguments: Mapping[str, Any]) -> Outcome:
    """Files whose names, or paths below the folder, fit a pattern. Raises ``SourceError`` or ``InvalidInput``."""
    directory = path_argument(arguments, "directory", folder=True)
    fits = compile_glob(arguments.get("pattern"))
    listing = await opened.storage.list(
        Walk(
            directory=directory,
            recursive=flag_argument(arguments, "recursive", default=True),
            hidden=False,
            most=_most_results(arguments),
            wanted=lambda entry: entry.type == "file" and fits(entry.name, below(entry.path, directory)),
        )
    )
    files = [shown_entry(entry) for entry in listing.entries]
    return outcome(
        {"directory": directory, "files": files, "count": len(files), "truncated": listing.truncated},
        rows=len(files),
        truncated=listing.truncated,
    )


async def search_content(opened: Opened, arguments: Mapping[str, Any]) -> Outcome:
    """Lines that an expression matches. Raises ``SourceError`` or ``InvalidInput``."""
    directory = path_argument(arguments, "directory", folder=True)
    expression = compile_expression(arguments.get("content_pattern"))
    pattern = arguments.get("file_pattern")
    fits = None if pattern is None else compile_glob(pattern, "file_pattern")
    most = _most_results(arguments)

    def wanted(entry: FileEntry) -> bool:
        return entry.type == "file" and (fits is None or fits(entry.name, below(entry.path, directory)))

    listing = await opened.storage.list(Walk(directory, True, False, MAX_FILES, wanted))
    search = _Search(opened, expression, most)
    for start in range(0, len(listing.entries), FILES_A_TURN):
        if search.over:
            break
        await opened.context.progress(start, len(listing.entries))
        entries = search.worth_reading(listing.entries[start : start + FILES_A_TURN])
        await opened.storage.scan([entry.path for entry in entries], search, most=opened.settings.max_size)
    truncated = listing.truncated or search.over
    return outcome(
        {
            "directory": directory,
            "matches": search.matches,
            "count": len(search.matches),
            "files_searched": search.files,
            "bytes_searched": search.bytes,
            "skipped": search.skipped,
            "truncated": truncated,
        },
        rows=len(search.matches),
        truncated=truncated,
    )


class _Search(Reader):
    """What a search has found so far, and what it passed over. It takes one file after the other."""

    def __init__(self, opened: Opened, expression: LineExpression, most: int) -> None:
        self._settings = opened.settings
        self._stop = opened.stop
        self._expression = expression
        self._most = most
        self._path = ""
        self._scanner = LineScanner(expression, self._matched, self._stop.check)
        self._late = False
        self.matches: list[dict[str, Any]] = []
        self.files = 0
        self.bytes = 0
        self.skipped = {"blocked": 0, "too_large": 0, "binary": 0, "unreadable": 0}

    @property
    def over(self) -> bool:
        """Whether it has all that may be, or has run for as long as it may."""
        return self._late or len(self.matches) >= self._most or self.bytes >= MAX_SEARCHED_BYTES

    def worth_reading(self, entries: Sequence[FileEntry]) -> list[FileEntry]:
        """Those files whose names and sizes let them be read; the others are counted."""
        worth = []
        for entry in entries:
            if extension_of(entry.path) in self._settings.blocked:
                self.skipped["blocked"] += 1
            elif (entry.size or 0) > self._settings.max_size:
                self.skipped["too_large"] += 1
            else:
                worth.append(entry)
        return worth

    def begin(self, path: str) -> bool:
        self._stop.check()
        self._late = self._stop.late()
        self._path = path
        self._scanner = LineScanner(self._expression, self._matched, self._stop.check)
        return not self.over

    def take(self, piece: bytes) -> bool:
        self._late = self._stop.late()
        return not self._late and self._scanner.take(piece)

    def end(self, fault: SourceError | None) -> None:
        if fault is not None:
            if fault.code not in _PASSED_OVER:
                raise fault
            self.skipped[_PASSED_OVER[fault.code]] += 1
        elif self._scanner.binary:
            self.skipped["binary"] += 1
        else:
            if not self.over:
                self._scanner.end()
            self.files += 1
            self.bytes += self._scanner.bytes

    def _matched(self, number: int, line: bytes, place: int) -> bool:
        self.matches.append({"path": self._path, "line": number, "text": _excerpt(line, place)})
        return len(self.matches) < self._most


def _excerpt(line: bytes, place: int) -> str:
    """The line, or of a long one what is around the match."""
    if len(line) <= MAX_EXCERPT:
        return line.decode("utf-8", "replace")
    start = max(0, min(place - MAX_EXCERPT // 4, len(line) - MAX_EXCERPT))
    part = line[start : start + MAX_EXCERPT].decode("utf-8", "ignore")
    return f"{'…' if start else ''}{part}{'…' if start + MAX_EXCERPT < len(line) else ''}"


def _most_results(arguments: Mapping[str, Any]) -> int:
    return number_argument(arguments, "max_results", low=1, high=MAX_RESULTS, default=DEFAULT_RESULTS) or 1
