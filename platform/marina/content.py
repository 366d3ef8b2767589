"""What functions give back beyond data: MCP's content blocks, prompt messages, resource contents. Plain values."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["user", "assistant"]


def _some(**members: Any) -> dict[str, Any]:
    """The members that were given."""
    return {name: value for name, value in members.items() if value not in (None, "", {}, [])}


@dataclass(frozen=True, slots=True)
class Text:
    """A text block. ``annotations`` are MCP's: ``audience``, ``priority``, ``lastModified``."""

    text: str
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def block(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text, **_some(annotations=dict(self.annotations))}


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, from its bytes."""

    data: bytes = field(repr=False)
    mime_type: str = "image/png"
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def block(self) -> dict[str, Any]:
        return {"type": "image", **_binary(self.data, self.mime_type, self.annotations)}


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound, from its bytes."""

    data: bytes = field(repr=False)
    mime_type: str = "audio/wav"
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def block(self) -> dict[str, Any]:
        return {"type": "audio", **_binary(self.data, self.mime_type, self.annotations)}


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents of a resource: text or bytes. Without a ``uri`` they are of the resource that was read."""

    body: str | bytes = field(repr=False)
    mime_type: str = ""
    uri: str = ""

    def as_dict(self, uri: str, mime_type: str) -> dict[str, Any]:
        kind = {"uri": self.uri or uri, **_some(mimeType=self.mime_type or mime_type)}
        if isinstance(self.body, bytes):
            return {**kind, "blob": base64.b64encode(self.body).decode("ascii")}
        return {**kind, "text": self.body}


@dataclass(frozen=True, slots=True)
class EmbeddedResource:
    """A resource with its contents, inside a result or a prompt."""

    uri: str
    body: str | bytes = field(repr=False)
    mime_type: str = "text/plain"
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def block(self) -> dict[str, Any]:
        contents = Contents(self.body, self.mime_type).as_dict(self.uri, "")
        return {"type": "resource", "resource": contents, **_some(annotations=dict(self.annotations))}


@dataclass(frozen=True, slots=True)
class ResourceLink:
    """A resource that the client may read, named only."""

    uri: str
    name: str
    title: str = ""
    description: str = ""
    mime_type: str = ""
    size: int | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def block(self) -> dict[str, Any]:
        return {
            "type": "resource_link",
            "uri": self.uri,
            "name": self.name,
            **_some(
                title=self.title,
                description=self.description,
                mimeType=self.mime_type,
                size=self.size,
                annotations=dict(self.annotations),
            ),
        }


def _binary(data: bytes, mime_type: str, annotations: Mapping[str, Any]) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode("ascii")
    return {"data": encoded, "mimeType": mime_type, **_some(annotations=dict(annotations))}


Block = Text | Image | Audio | EmbeddedResource | ResourceLink
BLOCKS = (Text, Image, Audio, EmbeddedResource, ResourceLink)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt or of a question to the client's model."""

    content: Block | str
    role: Role = "user"

    def as_dict(self) -> dict[str, Any]:
        return {"role": self.role, "content": as_block(self.content).block()}


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's result whose parts do not follow from one another.

    ``structured`` must fit the ``output_schema`` that the tool was declared with, where there is one.
    """

    content: Sequence[Block | str]
    structured: Any = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Icon:
    """An icon of a tool, a resource or a prompt: ``src`` is an https: or data: URI."""

    src: str
    mime_type: str = ""
    sizes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        return {"src": self.src, **_some(mimeType=self.mime_type, sizes=list(self.sizes))}


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Values that complete an argument, the best first. ``total`` counts those there are, where it is known."""

    values: Sequence[str]
    total: int | None = None
    has_more: bool = False


def as_block(content: Block | str) -> Block:
    """A block; a plain string is text."""
    return Text(content) if isinstance(content, str) else content
