"""Paths by which others were led out of a folder. ``LINKS`` are of files that the tests put there.

``{outside}``, ``{other}`` and ``{own}`` stand for folders of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

UPWARDS: Final[Sequence[str]] = [
    "..",
    "../",
    "../8/secret.txt",
    "../../outside/secret.txt",
    "docs/..",
    "docs/../../8/secret.txt",
    "docs/deep/../../../8/secret.txt",
    "./../8/secret.txt",
    "docs/./../../8/secret.txt",
    "docs//..//..//8/secret.txt",
    "../../../../../../../../etc/passwd",
    "notes.txt/../../8/secret.txt",
    "nothing/../../8/secret.txt",
    "../7/notes.txt",
]
ABSOLUTE: Final[Sequence[str]] = [
    "/etc/passwd",
    "//etc/passwd",
    "///etc/passwd",
    "/proc/self/environ",
    "/proc/self/root/etc/passwd",
    "/dev/zero",
    "/notes.txt",
    "{outside}/secret.txt",
    "{other}/secret.txt",
    "{own}/notes.txt",
]
DISGUISED: Final[Sequence[str]] = [
    "%2e%2e/8/secret.txt",
    "%2e%2e%2f8%2fsecret.txt",
    "..%2f8%2fsecret.txt",
    "%252e%252e%252f8/secret.txt",
    "..%c0%af8/secret.txt",
    "..%00/8/secret.txt",
    "..;/8/secret.txt",
    ".../8/secret.txt",
    "....//8/secret.txt",
    "\uff0e\uff0e/8/secret.txt",
    "‥/8/secret.txt",
    "..\u22158\u2215secret.txt",
    "..\uff0f8\uff0fsecret.txt",
    "\u202e../8/secret.txt",
    "\u200b../8/secret.txt",
    "~/secret.txt",
    "~root/secret.txt",
    "$HOME/secret.txt",
    "${{HOME}}/secret.txt",
    "file:///etc/passwd",
    "file:notes.txt",
]
BACKSLASHES: Final[Sequence[str]] = [
    "..\\8\\secret.txt",
    "..\\..\\outside\\secret.txt",
    "docs\\guide.md",
    "C:\\Windows\\win.ini",
    "\\\\server\\share\\secret.txt",
    "\\\\?\\C:\\secret.txt",
    "..\\/8/secret.txt",
]
CONTROLS: Final[Sequence[str]] = [
    "notes.txt\x00",
    "notes.txt\x00.png",
    "\x00",
    "notes\n.txt",
    "notes.txt\r\n",
    "\x1b[2Jnotes.txt",
    "notes\x7f.txt",
    "notes\x85.txt",
    "\ud800notes.txt",
    "notes.txt\udcff",
]
LONG: Final[Sequence[str]] = ["a" * 1_025, "a/" * 65 + "b", "a" * 256, "ü" * 128, "x/" * 500 + "../" * 8]
LINKS: Final[Sequence[str]] = [
    "to-file",
    "to-folder/secret.txt",
    "to-folder",
    "to-folder/inner/more.txt",
    "to-own",
    "to-itself",
    "to-proc/environ",
    "to-root/etc/passwd",
    "docs/up/8/secret.txt",
    "hard.txt",
    "pipe",
    "socket",
    "chain/secret.txt",
    "chain",
]
CASES: Final[Sequence[str]] = [*UPWARDS, *ABSOLUTE, *DISGUISED, *BACKSLASHES, *CONTROLS, *LONG, *LINKS]
