"""Makes a team what a file says, through the services that people use, in the scope that is open.

What is so already is not touched. Faults are gathered: what depends on something faulty is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from core.errors import Conflict, InvalidInput, NotFound, SourceError
from servers.models import Server, Tool
from servers.services.caching import set_caching
from servers.services.configuration.form import Section
from servers.services.configuration.reading import Fault, File
from servers.services.configuration.settings import Wanted
from servers.services.configuration.states import (
    ALL,
    State,
    changed_tool,
    describe_prompt,
    describe_resource,
    describe_server,
    describe_tool,
    load_state,
    offered_tools,
)
from servers.services.handmade import (
    change_prompt,
    change_resource,
    create_prompt,
    create_resource,
    delete_prompt,
    delete_resource,
)
from servers.services.kinds import backend_of, find_kind
from servers.services.prompts import set_prompt_enabled
from servers.services.resources import set_resource_enabled
from servers.services.servers import create_server, delete_server, update_server
from servers.services.sources import create_source, delete_source, update_source
from servers.services.tasks.priorities import NORMAL, word_of
from servers.services.tool_running import set_running
from servers.services.tools import change_tool, compile_tool, create_tool, current_of, delete_tool
from tenants.access import Caller
from tenants.oauth_addresses import DEFAULT_SERVER
from tenants.services.inputs import faults_below

Entry = Mapping[str, Any]

_OWN: Final = ("tools", "resources", "prompts")
_DELETE: Final[Mapping[Section, Callable[..., None]]] = {
    "tools": delete_tool,
    "resources": delete_resource,
    "prompts": delete_prompt,
    "servers": delete_server,
    "sources": delete_source,
}
_SWITCH: Final[Mapping[Section, Callable[..., object]]] = {
    "resources": set_resource_enabled,
    "prompts": set_prompt_enabled,
}
_MOVED: Final = (
    "it is {was} in the team, which cannot be changed. Delete it first, or give this one another name."
)


@dataclass(slots=True)
class Convergence:
    """One run. ``wanted`` are the settings of the sources that are in the file, by name, without the faulty ones."""

    file: File
    wanted: Mapping[str, Wanted]
    prune: bool
    caller: Caller
    faults: list[Fault]
    state: State = field(init=False)
    broken: set[tuple[Section, str]] = field(default_factory=set)

    def run(self) -> None:
        """Everything, in an order in which each finds what it needs and no name is taken by what goes."""
        self.broken |= {("sources", str(fault.steps[1])) for fault in self.faults if len(fault.steps) > 1}
        self.state = load_state(caller=self.caller)
        if self.prune:
            self._let_go()
            for section in (*_OWN, "servers", "sources"):
                self._prune(section)
        for name, entry in self._entries("sources"):
            self._source(name, entry)
        self.state = load_state(caller=self.caller)
        for name, entry in self._entries("sources"):
            self._brought(name, entry.get("brought") or {})
        for name in self._tools_in_order():
            self._tool(name, self.file.entries("tools")[name])
        for name, entry in self._entries("resources"):
            self._resource(name, entry)
        for name, entry in self._entries("prompts"):
            self._prompt(name, entry)
        for name, entry in self._entries("servers"):
            self._server(name, entry)

    def _entries(self, section: Section) -> Iterator[tuple[str, Entry]]:
        """The entries of a section that stand on nothing faulty."""
        # Those that get names as they come before those whose names begin with a prefix because of them.
        entries = sorted(
            self.file.entries(section).items(), key=lambda each: (bool(each[1].get("prefix")), each[0])
        )
        for name, entry in entries:
            stands_on = entry.get("source")
            if (section, name) not in self.broken and ("sources", stands_on) not in self.broken:
                yield name, entry
            else:
                self.broken.add((section, name))

    @contextmanager
    def _at(self, section: Section, name: str, *steps: str) -> Iterator[None]:
        """Gather what is wrong with an entry, and go on behind the block."""
        where = (section, name, *steps)
        try:
            yield
        except InvalidInput as fault:
            errors = fault.errors or [{"path": "", "message": fault.message}]
            self.faults += [Fault(where, each["message"], each["path"]) for each in errors]
        except (Conflict, NotFound, SourceError) as fault:
            self.faults.append(Fault(where, fault.message))
        else:
            return
        self.broken.add((section, name))

    def _let_go(self) -> None:
        """Take sources that go off the servers that are in the file."""
        going = self._going("sources")
        for slug, entry in self.file.entries("servers").items():
            server = self.state.servers.get(slug)
            if server is None or server.offers_all:
                continue
            offered = {source.name for source in server.sources.all()}
            named = entry.get("sources", ALL)
            if offered & going and not (isinstance(named, list) and going & set(named)):
                with self._at("servers", slug):
                    update_server(server.pk, sources=sorted(offered - going), caller=self.caller)

    def _going(self, section: Section) -> set[str]:
        """What of a section the team has and the file has not; nothing where the file does not speak of it."""
        named = self.file.section(section)
        return set() if named is None else set(self.state.own(section)) - set(named)

    def _prune(self, section: Section) -> None:
        rows = self.state.own(section)
        for name in sorted(self._going(section)):
            if (section, name) != ("servers", DEFAULT_SERVER):
                with self._at(section, name):
                    _DELETE[section](rows[name].pk, caller=self.caller)

    def _source(self, name: str, entry: Entry) -> None:
        row, wanted = self.state.sources.get(name), self.wanted[name]
        with self._at("sources", name):
            if row is None:
                settings, prefix = wanted.settings or {}, entry.get("prefix")
                create_source(name, entry["kind"], settings, prefix=prefix, caller=self.caller)
                return
            for member, was in (("kind", row.kind), ("prefix", row.tool_prefix)):
                if entry.get(member, was) != was:
                    message = _MOVED.format(was=was or "empty")
                    self.faults.append(Fault(("sources", name, member), message))
                    return
            if wanted.settings is not None:
                if row.version != wanted.version:
                    raise Conflict("The data source was changed meanwhile. Try again.", code="version_moved")
                update_source(row.pk, settings=wanted.settings, caller=self.caller)

    def _brought(self, name: str, wished: Mapping[str, Mapping[str, Entry]]) -> None:
        """What came with a source: as it came, but for what the file says."""
        row = self.state.sources[name]
        offered = offered_tools(row)
        for section, rows in self.state.brought(row).items():
            named = wished.get(section, {})
            for unknown in sorted(named.keys() - rows.keys()):
                known = ", ".join(sorted(rows)[:20]) or "none"
                message = f"the data source brings no such {section[:-1]}. It brings: {known}."
                self.faults.append(Fault(("sources", name, "brought", section, unknown), message))
            for each, came in rows.items():
                entry = named.get(each, {})
                with self._at("sources", name, "brought", section, each):
                    if section == "tools":
                        if entry != changed_tool(came, offered):
                            self._reword(each, entry, offered and offered.get(each))
                    elif entry.get("enabled", True) != came.enabled:
                        _SWITCH[section](came.pk, not came.enabled, caller=self.caller)

    def _reword(self, name: str, entry: Entry, came: Any) -> None:
        tool = self.state.tools[name]
        title, description = entry.get("title"), entry.get("description")
        change_tool(
            tool.pk,
            definition=entry.get("definition"),
            title=came.title if title is None and came else title,
            description=came.description if description is None and came else description,
            enabled=entry.get("enabled", True),
            caller=self.caller,
        )
        self._place(tool, entry)

    def _place(self, tool: Tool, entry: Entry) -> None:
        """Have a tool's calls run where the entry says, and share results so."""
        seconds, collapses = entry.get("cache_seconds", 0), entry.get("collapses", True)
        if (tool.cache_seconds, tool.collapses) != (seconds, collapses):
            set_caching(tool.pk, seconds=seconds, collapses=collapses, caller=self.caller)
        runs, deadline = entry.get("runs", Tool.Runs.AUTOMATIC), entry.get("deadline")
        priority = entry.get("priority", NORMAL)
        if (tool.runs, tool.deadline, word_of(tool.priority)) != (runs, deadline, priority):
            set_running(tool.pk, runs=runs, deadline=deadline or 0, priority=priority, caller=self.caller)

    def _tools_in_order(self) -> Sequence[str]:
        """The tools of the file, those that others call before them."""
        entries = dict(self._entries("tools"))
        calls = {
            name: [each for each in self._calls(entry) if each in entries] for name, entry in entries.items()
        }
        for name in self._below_broken(calls):
            self.broken.add(("tools", name))
        order: Iterable[str]
        try:
            order = TopologicalSorter(calls).static_order()
            return list(order)
        except CycleError:
            # Whichever comes last is refused, with the way.
            return list(entries)

    def _below_broken(self, calls: Mapping[str, Sequence[str]]) -> Iterator[str]:
        broken = {name for section, name in self.broken if section == "tools"}
        yield from (name for name, called in calls.items() if broken & set(called))

    def _calls(self, entry: Entry) -> Sequence[str]:
        source = self.state.sources.get(entry["source"])
        if source is None or find_kind(source.kind) is None:
            return ()
        backend = backend_of(source.kind)
        if not backend.composes:
            return ()
        try:
            return backend.uses(backend.compile(entry["kind"], entry["definition"]).operation)
        except InvalidInput:
            # Its faults are told when it is made.
            return ()

    def _tool(self, name: str, entry: Entry) -> None:
        if any(("tools", each) in self.broken for each in self._calls(entry)):
            self.broken.add(("tools", name))
            return
        tool = self.state.own("tools").get(name)
        if tool is not None and describe_tool(tool) == entry:
            return
        kind, definition, enabled = entry["kind"], entry["definition"], entry.get("enabled", True)
        title, description = entry.get("title"), entry.get("description")
        with self._at("tools", name):
            if tool is None:
                made = create_tool(
                    name,
                    entry["source"],
                    kind,
                    definition,
                    title or "",
                    description or "",
                    caller=self.caller,
                )
                if not enabled or "" in (title, description):
                    # It is made switched on, and with the definition's words in place of empty ones.
                    change_tool(
                        made.pk, title=title, description=description, enabled=enabled, caller=self.caller
                    )
                self._place(made, entry)
            elif self._stays(
                "tools", name, entry, {"source": tool.source.name, "kind": current_of(tool).kind}
            ):
                with faults_below("definition", but="kind"):
                    said = compile_tool(tool.source.kind, kind, definition, name)
                change_tool(
                    tool.pk,
                    definition=definition,
                    title=said.title if title is None else title,
                    description=said.description if description is None else description,
                    enabled=enabled,
                    caller=self.caller,
                )
                self._place(tool, entry)

    def _stays(self, section: Section, name: str, entry: Entry, fixed: Mapping[str, str]) -> bool:
        """Whether what cannot be changed is as it was."""
        moved = [member for member, was in fixed.items() if entry[member] != was]
        self.faults += [Fault((section, name, member), _MOVED.format(was=fixed[member])) for member in moved]
        return not moved

    def _resource(self, uri: str, entry: Entry) -> None:
        row = self.state.own("resources").get(uri)
        definition = {"uri": uri, **_definition(entry)}
        enabled = entry.get("enabled", True)
        with self._at("resources", uri):
            if row is None:
                made = create_resource(definition, source=entry["source"], caller=self.caller)
                set_resource_enabled(made.pk, enabled, caller=self.caller)
            elif describe_resource(row) != entry and self._stays(
                "resources", uri, entry, {"source": row.source.name}
            ):
                gone = dict.fromkeys(describe_resource(row).keys() - entry.keys() - {"enabled"})
                change_resource(row.pk, {**gone, **definition}, enabled=enabled, caller=self.caller)

    def _prompt(self, name: str, entry: Entry) -> None:
        row = self.state.own("prompts").get(name)
        definition = {"name": name, **_definition(entry)}
        enabled = entry.get("enabled", True)
        with self._at("prompts", name):
            if row is None:
                made = create_prompt(definition, source=entry["source"], caller=self.caller)
                set_prompt_enabled(made.pk, enabled, caller=self.caller)
            elif describe_prompt(row) != entry and self._stays(
                "prompts", name, entry, {"source": row.source.name}
            ):
                gone = dict.fromkeys(describe_prompt(row).keys() - entry.keys() - {"enabled"})
                change_prompt(row.pk, {**gone, **definition}, enabled=enabled, caller=self.caller)

    def _server(self, slug: str, entry: Entry) -> None:
        row = self.state.servers.get(slug)
        named = entry.get("sources", ALL)
        if row is not None and describe_server(row) == entry:
            return
        if isinstance(named, list) and any(("sources", each) in self.broken for each in named):
            return
        access = entry.get("access", Server.Access.PRIVATE.value)
        words = {"title": entry["title"], "access": access, "instructions": entry.get("instructions", "")}
        with self._at("servers", slug):
            sources = None if named == ALL else named
            if row is None:
                create_server(slug, sources=sources, **words, caller=self.caller)
            else:
                offers_all = True if sources is None else None
                update_server(row.pk, sources=sources, offers_all=offers_all, **words, caller=self.caller)


def _definition(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("source", "enabled")}
