"""Reads what S3-compatible storage answers in XML: pages of a listing, and errors. Pure, and trusts nothing in it.

No document type, and so no entity, is taken; depth and size are bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import sleep
from typing import Final
from urllib.parse import unquote
from xml.parsers import expat

MAX_DEPTH: Final = 16
_MAX_TEXT: Final = 8_192
_MAX_CODE: Final = 64
_SLICE: Final = 16 * 1024
_PAUSE_SECONDS: Final = 0.000_1


class BadAnswer(ValueError):
    """The storage's answer is not what S3 says."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object of a listing."""

    key: str
    size: int
    modified: str | None


@dataclass(slots=True)
class Page:
    """One page of a listing. ``following`` asks for the next; there is none where it is empty."""

    objects: list[Found] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    following: str = ""


@dataclass(slots=True)
class _Element:
    name: str
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def get(self, name: str) -> str:
        """The text of the first child of that name."""
        return next((child.text for child in self.children if child.name == name), "")


def read_page(document: bytes) -> Page:
    """A page of ListObjectsV2. Raises ``BadAnswer``."""
    root = _parse(document)
    if root.name != "ListBucketResult":
        raise BadAnswer
    encoded = root.get("EncodingType") == "url"

    def name(text: str) -> str:
        return unquote(text, errors="surrogateescape") if encoded else text

    page = Page()
    for child in root.children:
        if child.name == "Contents":
            page.objects.append(
                Found(name(child.get("Key")), _size(child.get("Size")), moment_of(child.get("LastModified")))
            )
        elif child.name == "CommonPrefixes":
            page.folders.append(name(child.get("Prefix")))
    if root.get("IsTruncated") == "true":
        page.following = root.get("NextContinuationToken")
    return page


def read_code(document: bytes) -> str:
    """The code of an error, such as ``NoSuchKey``; nothing where the answer names none."""
    try:
        root = _parse(document)
    except BadAnswer:
        return ""
    code = root.get("Code") if root.name == "Error" else ""
    return code if code.isascii() and code.isalnum() and len(code) <= _MAX_CODE else ""


def moment_of(text: str) -> str | None:
    """A time of ISO 8601 in the form that results have; ``None`` where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadAnswer
    return int(text)


def _parse(document: bytes) -> _Element:
    top = _Element("")
    open_elements = [top]
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True

    def begin(name: str, attributes: dict[str, str]) -> None:
        del attributes
        if len(open_elements) > MAX_DEPTH:
            raise BadAnswer
        element = _Element(name.rpartition(":")[2])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(name: str) -> None:
        del name
        open_elements.pop()

    def text(data: str) -> None:
        element = open_elements[-1]
        element.text += data
        if len(element.text) > _MAX_TEXT:
            raise BadAnswer

    def refuse(*_: object) -> None:
        raise BadAnswer

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        for start in range(0, len(document), _SLICE):
            parser.Parse(document[start : start + _SLICE], False)
            # Others have their turn: a page of a thousand keys takes ten milliseconds of Python.
            sleep(_PAUSE_SECONDS)
        parser.Parse(b"", True)
    except expat.ExpatError:
        raise BadAnswer from None
    return top.children[0]
