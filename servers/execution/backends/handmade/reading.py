"""Reads parts of what people define: every fault is kept with its path, so that all are told at once."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from core.faults import Faults
from servers.execution.backends.handmade.slots import BadSlot, check_slots

MAX_BYTES: Final = 96 * 1024
"""Of one text, or of one binary content: what is larger is a file."""
MAX_CHOICES: Final = 200
MAX_CHOICE: Final = 200
MIME_TYPE: Final = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,99}/[a-z0-9][a-z0-9!#$&^_.+-]{0,99}(; ?charset=[A-Za-z0-9-]{1,20})?"
)


class Reader(Faults):
    """Reads members of an object that people wrote, and notes what is wrong with them."""

    def check_members(self, given: Mapping[str, Any], known: Collection[str], path: str = "") -> None:
        """Add each member that there is none of."""
        for name in given:
            if name not in known:
                self.add(f"{path}{name}", "there is no such member.")

    def text(
        self, given: Mapping[str, Any], name: str, *, longest: int, path: str = "", needed: bool = False
    ) -> str:
        """A member that is text. One that is missing or null is empty."""
        value = given.get(name)
        if value is None:
            value = ""
        if not isinstance(value, str):
            self.add(f"{path}{name}", "must be text.")
            return ""
        if len(value) > longest:
            self.add(f"{path}{name}", f"has {len(value)} characters; at most {longest} are allowed.")
        elif needed and not value.strip():
            self.add(f"{path}{name}", "must not be empty.")
        return value

    def mime_type(self, given: Mapping[str, Any], otherwise: str, path: str = "") -> str:
        """The member ``mime_type``, in lower case."""
        value = self.text(given, "mime_type", longest=200, path=path).strip()
        if not value:
            return otherwise
        kind, sign, rest = value.partition(";")
        value = kind.lower() + sign + rest
        if not MIME_TYPE.fullmatch(value):
            self.add(f"{path}mime_type", "is not a media type, such as text/markdown.")
        return value

    def content(
        self, given: Mapping[str, Any], slots: Collection[str] | None, path: str = ""
    ) -> dict[str, str]:
        """Either ``text``, with known slots where there may be any, or ``blob`` in base64."""
        text, blob = given.get("text"), given.get("blob")
        if (text is None) == (blob is None):
            self.add(f"{path}text", "give either text, or blob with the content in base64.")
            return {}
        if text is not None:
            if not isinstance(text, str):
                self.add(f"{path}text", "must be text.")
                return {}
            if len(text.encode("utf-8", "replace")) > MAX_BYTES:
                self.add(
                    f"{path}text", f"has more than {MAX_BYTES:,} bytes. Put it into a data source for files."
                )
            self.slots(text, slots, f"{path}text")
            return {"text": text}
        return self._blob(blob, f"{path}blob")

    def slots(self, text: str, known: Collection[str] | None, path: str) -> None:
        """Check the slots of a text; with ``None`` it has none, whatever it looks like."""
        if known is None:
            return
        try:
            check_slots(text, known)
        except BadSlot as fault:
            self.add(path, str(fault))

    def choices(self, given: Any, path: str) -> list[str]:
        """Texts to choose from."""
        if given is None:
            return []
        if not isinstance(given, list) or len(given) > MAX_CHOICES:
            self.add(path, f"must be a list of at most {MAX_CHOICES} texts.")
            return []
        if any(not isinstance(each, str) or not 0 < len(each) <= MAX_CHOICE for each in given):
            self.add(path, f"must hold texts of 1 to {MAX_CHOICE} characters.")
            return []
        return list(dict.fromkeys(given))

    def _blob(self, blob: Any, path: str) -> dict[str, str]:
        if not isinstance(blob, str):
            self.add(path, "must be text, in base64.")
            return {}
        try:
            size = len(base64.b64decode(blob, validate=True))
        except (binascii.Error, ValueError):
            self.add(path, "is not base64 (RFC 4648, with padding, without line breaks).")
            return {}
        if size > MAX_BYTES:
            self.add(
                path,
                f"has {size:,} bytes; at most {MAX_BYTES:,} are taken. Put it into a data source for files.",
            )
        return {"blob": blob}


def size_of(content: Mapping[str, str]) -> int:
    """Bytes of a checked content."""
    if "text" in content:
        return len(content["text"].encode("utf-8", "replace"))
    return len(base64.b64decode(content.get("blob", "")))
