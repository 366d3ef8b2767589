"""What a path below a root is: checked as text, and put into one form. Touches no file."""

from __future__ import annotations

import unicodedata
from typing import Final, NoReturn

from core.errors import InvalidInput

MAX_PATH: Final = 1_024
MAX_NAME_BYTES: Final = 255
MAX_DEPTH: Final = 64


def clean_path(path: object, argument: str = "path", *, folder: bool = False) -> str:
    """A path below the root in one form: parts with slashes between; of a folder, nothing is the root itself.

    Nothing is decoded: ``%2e`` are three characters of a name. Raises ``InvalidInput``.
    """
    if not isinstance(path, str):
        refuse(argument, "Give a path as text.")
    if len(path) > MAX_PATH:
        refuse(argument, f"The path is longer than {MAX_PATH} characters.")
    if not path.isprintable() and any(unicodedata.category(each) in ("Cc", "Cs") for each in path):
        refuse(argument, "The path holds a control character, such as a line break or NUL.")
    if folder and path in ("", ".", "/"):
        return ""
    if path.startswith("/"):
        refuse(
            argument, "Write the path from the source's root on, without a slash before it: docs/notes.txt."
        )
    if "\\" in path:
        refuse(argument, "Write the path with slashes, not backslashes: docs/notes.txt.")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        refuse(argument, "The path must not hold .. as a part: it cannot lead out of the source's root.")
    if len(parts) > MAX_DEPTH or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        refuse(argument, f"A path has at most {MAX_DEPTH} parts of at most {MAX_NAME_BYTES} bytes each.")
    if not parts and not folder:
        refuse(argument, "Give the path of a file: docs/notes.txt.")
    return "/".join(parts)


def refuse(argument: str, message: str) -> NoReturn:
    """Raise ``InvalidInput`` for one argument."""
    raise InvalidInput(message, errors=[{"path": argument, "message": message}])
