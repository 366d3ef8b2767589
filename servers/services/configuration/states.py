"""What a team has, in the form of a configuration file. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Offered
from servers.models import DataSource, Prompt, Resource, ServedVersion, Server, Tool
from servers.services.configuration.form import Section
from servers.services.configuration.settings import written_settings
from servers.services.handmade import prompt_definition, resource_definition
from servers.services.kinds import backend_of, find_kind
from servers.services.offerings import tools_of
from servers.services.on_source import came_with_source
from servers.services.prompts import list_prompts
from servers.services.resources import list_resources
from servers.services.served_versions import served_rows
from servers.services.servers import list_servers
from servers.services.sources import execution_source, list_sources
from servers.services.tasks.priorities import word_of
from servers.services.tools import compile_tool, current_of, is_published, list_tools
from tenants.access import Caller

ALL = "all"
"""What a server offers that offers everything."""

_WORDS = ("title", "description")


@dataclass(frozen=True, slots=True)
class State:
    """The rows of a team: sources, published tools and prompts by name, resources by URI, servers by slug.

    ``served`` is what no file has: which versions of tools servers offer otherwise.
    """

    sources: Mapping[str, DataSource]
    tools: Mapping[str, Tool]
    resources: Mapping[str, Resource]
    prompts: Mapping[str, Prompt]
    servers: Mapping[str, Server]
    served: Sequence[ServedVersion] = ()

    def own(self, section: Section) -> dict[str, Any]:
        """The rows of a section that a file has entries for: all but what came with a source."""
        rows: Mapping[str, Any] = getattr(self, section)
        return {name: row for name, row in rows.items() if not is_brought(row)}

    def brought(self, source: DataSource) -> dict[str, dict[str, Any]]:
        """What came with a source, by section and name."""
        found: dict[str, dict[str, Any]] = {}
        for section in ("tools", "resources", "prompts"):
            rows: Mapping[str, Any] = getattr(self, section)
            found[section] = {
                name: row for name, row in rows.items() if row.source_id == source.pk and is_brought(row)
            }
        return found


def load_state(*, caller: Caller) -> State:
    """All that a team has, but for tools that were never published. In the scope that is open."""
    return State(
        sources={row.name: row for row in list_sources(caller=caller)},
        tools={row.name: row for row in list_tools(caller=caller) if is_published(row.current)},
        resources={row.uri: row for row in list_resources(caller=caller)},
        prompts={row.name: row for row in list_prompts(caller=caller)},
        servers={row.slug: row for row in list_servers(caller=caller)},
        served=list(served_rows()),
    )


def is_brought(row: Any) -> bool:
    """Whether it came with its source, and so is no entry of a file."""
    return came_with_source(row) if isinstance(row, Tool) else getattr(row, "brought", False) is True


def describe_state(state: State) -> dict[str, dict[str, dict[str, Any]]]:
    """The sections of a file, each with its entries by name."""
    return {
        "sources": {name: describe_source(row, state) for name, row in _sorted(state.sources)},
        "tools": {name: describe_tool(row) for name, row in _sorted(state.own("tools"))},
        "resources": {name: describe_resource(row) for name, row in _sorted(state.own("resources"))},
        "prompts": {name: describe_prompt(row) for name, row in _sorted(state.own("prompts"))},
        "servers": {name: describe_server(row) for name, row in _sorted(state.servers)},
    }


def describe_source(row: DataSource, state: State) -> dict[str, Any]:
    """A source, with what of it is not as it came."""
    described: dict[str, Any] = {"kind": row.kind}
    if row.tool_prefix:
        described["prefix"] = row.tool_prefix
    described["settings"] = written_settings(row)
    rows, offered = state.brought(row), offered_tools(row)
    changed: dict[str, dict[str, Any]] = {
        "tools": {name: changed_tool(tool, offered) for name, tool in _sorted(rows["tools"])},
        "resources": {name: _switched(each) for name, each in _sorted(rows["resources"])},
        "prompts": {name: _switched(each) for name, each in _sorted(rows["prompts"])},
    }
    brought = {
        section: kept
        for section, entries in changed.items()
        if (kept := {name: each for name, each in entries.items() if each})
    }
    if brought:
        described["brought"] = brought
    return described


def describe_tool(tool: Tool) -> dict[str, Any]:
    """A tool of the team's own, as its current version has it."""
    version = current_of(tool)
    # Where a definition has words of its own, having none is worth saying.
    words = {word: getattr(version, word) for word in _WORDS}
    said = {word: text for word, text in words.items() if text or version.definition.get(word)}
    kind = {"source": tool.source.name, "kind": version.kind}
    return {
        **kind,
        **said,
        **_switched(tool),
        **_sharing(tool),
        **_running(tool),
        "definition": version.definition,
    }


def describe_resource(row: Resource) -> dict[str, Any]:
    """A resource or template of the team's own."""
    return _described(row, resource_definition(row), "uri")


def describe_prompt(row: Prompt) -> dict[str, Any]:
    """A prompt of the team's own."""
    return _described(row, prompt_definition(row), "name")


def describe_server(row: Server) -> dict[str, Any]:
    """A server, with what it offers."""
    described: dict[str, Any] = {"title": row.title, "access": row.access}
    if row.instructions:
        described["instructions"] = row.instructions
    described["sources"] = ALL if row.offers_all else sorted(source.name for source in row.sources.all())
    return described


def offered_tools(row: DataSource) -> Mapping[str, Offered] | None:
    """The tools that a source brings now, by the names that they have here; ``None`` where that cannot be known."""
    if find_kind(row.kind) is None:
        return None
    try:
        offering = backend_of(row.kind).offered(execution_source(row).settings)
        return {each.name: each for each in tools_of(row, offering)}
    except (InvalidInput, SourceError):
        # Made of a document, which is not stored; or the settings do not open any more.
        return None


def changed_tool(tool: Tool, offered: Mapping[str, Offered] | None) -> dict[str, Any]:
    """What of a tool that came with its source is not as it came."""
    version = current_of(tool)
    changed = {**_switched(tool), **_sharing(tool), **_running(tool)}
    came = None if offered is None else offered.get(tool.name)
    if came is not None:
        changed |= {
            word: getattr(version, word) for word in _WORDS if getattr(version, word) != getattr(came, word)
        }
    elif offered is None and version.number > 1:
        # By hand or by a refresh: what it is now is said, whichever it was.
        changed |= {word: getattr(version, word) for word in _WORDS}
        if _by_hand(tool):
            changed["definition"] = version.definition
    return changed


def _by_hand(tool: Tool) -> bool:
    """Whether the definition is one that a person could have saved, and not a document's."""
    version = current_of(tool)
    try:
        made = compile_tool(tool.source.kind, version.kind, version.definition, tool.name)
    except InvalidInput:
        return False
    return (dict(made.input_schema), made.output_schema) == (version.input_schema, version.output_schema)


def _described(row: Resource | Prompt, definition: Mapping[str, Any], key: str) -> dict[str, Any]:
    said = {
        name: value
        for name, value in definition.items()
        if name != key and not (name in _WORDS and value == "") and value not in ([], {})
    }
    return {"source": row.source.name, **said, **_switched(row)}


def _switched(row: Tool | Resource | Prompt) -> dict[str, Any]:
    return {} if row.enabled else {"enabled": False}


def _sharing(tool: Tool) -> dict[str, Any]:
    """How a tool's calls share results, where that is not as of a new tool."""
    kept = {"cache_seconds": tool.cache_seconds} if tool.cache_seconds else {}
    return kept if tool.collapses else {**kept, "collapses": False}


def _running(tool: Tool) -> dict[str, Any]:
    """Where a tool's calls run, where that is not as of a new tool."""
    set_by_hand: dict[str, Any] = {} if tool.runs == Tool.Runs.AUTOMATIC else {"runs": str(tool.runs)}
    if tool.deadline is not None:
        set_by_hand["deadline"] = tool.deadline
    return {**set_by_hand, "priority": word_of(tool.priority)} if tool.priority else set_by_hand


def _sorted(rows: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(rows.items())
