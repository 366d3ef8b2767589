"""A stored data source, and what stands on it: tools, resources and prompts, in the tenant's scope. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from core.errors import NotFound
from servers.execution.contract import Offered, Operation
from servers.models import DataSource, Prompt, Resource, Tool
from servers.services.differences import Difference, Words, diff_tools, diff_words
from servers.services.kinds import find_kind
from servers.services.served_versions import ending_words, served_rows

_GOING: Final = ("removed", "renamed")
"""What is kept of neither: a tool of another name is another tool."""
_PROMPT_FIELDS: Final = ("title", "description", "kind", "definition", "arguments", "icons")
_RESOURCE_FIELDS: Final = (
    "name",
    "title",
    "description",
    "kind",
    "definition",
    "template",
    "mime_type",
    "size",
    "annotations",
    "icons",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What came with a source, as it is stored at one moment; ``served`` are sentences on what ends with each tool."""

    tools: list[Offered]
    words: dict[str, Words]
    served: Mapping[str, list[str]]

    def compared_with(self, tools: Iterable[Offered], words: Mapping[str, Words]) -> list[Difference]:
        """How this would differ from it, with what of a tool that goes would end."""
        return [
            *(
                replace(each, ends=self.served.get(each.tool, ())) if each.kind in _GOING else each
                for each in diff_tools(self.tools, tools)
            ),
            *diff_words(self.words, words),
        ]


def find_source(source_id: UUID, *, lock: bool = False) -> DataSource:
    """A source of the team. Raises ``NotFound``."""
    rows = DataSource.objects.all()
    source = (rows.select_for_update() if lock else rows).filter(pk=source_id).first()
    if source is None:
        raise NotFound("There is no such data source in this team.", code="source_not_found")
    return source


def standing_on(source: DataSource) -> Standing:
    """What came with a source, and which versions of it servers offer otherwise."""
    served: dict[str, list[str]] = {}
    for row in served_rows().filter(tool__source=source, tool__brought=True):
        served.setdefault(row.tool.name, []).append(ending_words(row))
    return Standing(brought_tools(source), brought_words(source), served)


def came_with_source(tool: Tool) -> bool:
    """Whether a tool came with its source: what was stored before sources marked theirs is told by what it does."""
    if tool.brought:
        return True
    kind = find_kind(tool.source.kind)
    return kind is not None and tool.current is not None and tool.current.kind not in kind.tool_kinds


def own_tools(source: DataSource) -> list[str]:
    """Names of the tools on this source that the team made itself; of a kind that is gone, none are known."""
    if find_kind(source.kind) is None:
        return []
    tools = source.tools.filter(brought=False).select_related("current")
    return [tool.name for tool in tools if tool.current is not None and not came_with_source(tool)]


def brought_tools(source: DataSource) -> list[Offered]:
    """The tools that came with a source, as they are stored."""
    return [
        Offered(
            name=tool.name,
            title=tool.current.title,
            description=tool.current.description,
            input_schema=tool.current.input_schema,
            output_schema=tool.current.output_schema,
            annotations=tool.current.annotations,
            operation=Operation(tool.current.kind, tool.current.definition),
        )
        for tool in Tool.objects.filter(source=source, brought=True).select_related("current")
        if tool.current is not None
    ]


def brought_words(source: DataSource) -> dict[str, Words]:
    """The resources and prompts that came with a source, as they are stored."""
    resources = Resource.objects.filter(source=source, brought=True)
    prompts = Prompt.objects.filter(source=source, brought=True)
    return {
        "resource": {row.uri: {each: getattr(row, each) for each in _RESOURCE_FIELDS} for row in resources},
        "prompt": {row.name: {each: getattr(row, each) for each in _PROMPT_FIELDS} for row in prompts},
    }


def own_words(source: DataSource) -> list[str]:
    """The resources and prompts on this source that the team made itself, at most twenty of each."""
    uris = Resource.objects.filter(source=source, brought=False).values_list("uri", flat=True)
    names = Prompt.objects.filter(source=source, brought=False).values_list("name", flat=True)
    return [*uris[:20], *names[:20]]


def names_on(source: DataSource) -> dict[str, list[str]]:
    """The names and URIs of all that stands on a source, the team's own with them."""
    return {
        "tools": list(Tool.objects.filter(source=source).values_list("name", flat=True)),
        "resources": list(Resource.objects.filter(source=source).values_list("uri", flat=True)),
        "prompts": list(Prompt.objects.filter(source=source).values_list("name", flat=True)),
    }
