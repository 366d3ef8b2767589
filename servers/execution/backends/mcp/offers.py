"""Makes of what an upstream MCP server lists what a source brings: checked, marked, and with a reason for what is not.

Nothing here is believed: hints stay hints, descriptions are text that was looked through, and a name has to be one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import orjson

from core.errors import InvalidInput
from marina.uritemplates import BadTemplate, compile_template
from servers.execution.backends.mcp.calls import PROMPT, RESOURCE, TOOL
from servers.execution.backends.mcp.catalog import Catalog
from servers.execution.backends.mcp.faults import named
from servers.execution.backends.mcp.marks import has_hidden, mark_hidden, mark_schema
from servers.execution.backends.mcp.overrides import (
    MAX_DESCRIPTION,
    MAX_TITLE,
    NAME,
    original,
    overridden,
)
from servers.execution.backends.mcp.picks import Picks
from servers.execution.backends.mcp.schemas import schema_fault
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.contract import (
    LeftOut,
    Offered,
    OfferedPrompt,
    OfferedResource,
    Offering,
    Operation,
)
from servers.execution.hints import HINTS, is_repeatable
from servers.execution.lookalikes import look

MAX_URI: Final = 1_024
MAX_ARGUMENTS: Final = 50
MAX_ICONS: Final = 8
MAX_ICON: Final = 16_384
"""Characters of an icon's address; one that is a picture itself is as long as the picture."""
MAX_MIRRORED: Final = 32
MAX_LEFT_OUT: Final = 100
"""Reasons kept of what is not taken."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_MEDIA_TYPE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
_ICON: Final = re.compile(r"https://[!-~]+|data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=]+")
T = TypeVar("T")

_EMPTY_INPUT: Final[Mapping[str, Any]] = {"type": "object"}


@dataclass(slots=True)
class _Sorting:
    """Gathers what is taken, and the reasons for what is not."""

    taken: set[str] = field(default_factory=set)
    left_out: list[LeftOut] = field(default_factory=list)
    tasks: bool = False
    """Whether the server makes tasks of calls, as of 2025-11-25."""

    def leave(self, what: str, name: Any, reason: str) -> None:
        shown = mark_hidden(str(name), lines=False)[:200] if name else "(no name)"
        self.left_out.append(LeftOut(what, shown, reason))


def offer_catalog(catalog: Catalog, settings: McpSettings) -> Offering:
    """What the source brings. Raises ``InvalidInput`` where that is nothing at all."""
    for known, offering in catalog.judged:
        if known == settings:
            return offering
    offering = _judged(catalog, settings)
    catalog.judged.append((settings, offering))
    return offering


def _judged(catalog: Catalog, settings: McpSettings) -> Offering:
    sorting = _Sorting(tasks=catalog.server.makes_tasks)
    tools = _sorted_out(catalog.tools, "tool", "name", settings.tools, _tool, sorting, settings)
    tools = _collisions(tools, settings, sorting)
    if catalog.server.takes_tasks:
        tools = [_with_tasks(tool) for tool in tools]
    resources = [
        *_sorted_out(catalog.resources, "resource", "uri", settings.resources, _resource, sorting, settings),
        *_sorted_out(
            catalog.templates, "resource", "uriTemplate", settings.resources, _template, sorting, settings
        ),
    ]
    prompts = _sorted_out(catalog.prompts, "prompt", "name", settings.prompts, _prompt, sorting, settings)
    if not tools and not resources and not prompts:
        reasons = [f"{each.name}: {each.reason}" for each in sorting.left_out]
        message = "The MCP server offers nothing that can be taken" + (
            f": {reasons[0]}" if reasons else ": it lists no tools, no resources and no prompts."
        )
        raise InvalidInput(message, errors=[{"path": "url", "message": message}])
    return Offering(tools=tools, resources=resources, prompts=prompts, left_out=sorting.left_out)


def _with_tasks(tool: Offered) -> Offered:
    """A tool whose calls may be answered with a task."""
    operation = tool.operation
    return replace(tool, operation=Operation(operation.kind, {**operation.definition, "tasks": True}))


def describe_server(catalog: Catalog, settings: McpSettings) -> dict[str, Any]:
    """What is kept, and shown, of the server as it was when this was taken over: what it said itself is compared."""
    offering = offer_catalog(catalog, settings)
    plain = offer_catalog(catalog, settings.plain) if settings.overrides else offering
    info = catalog.server.info
    return {
        "name": mark_hidden(str(info.get("name") or ""), lines=False)[:MAX_TITLE],
        "version": mark_hidden(str(info.get("version") or ""), lines=False)[:MAX_TITLE],
        "protocol": catalog.server.version,
        "fingerprint": fingerprint(plain),
        "fingerprints": fingerprints(plain),
        "left_out": _left_out(offering.left_out),
        **({"originals": _originals(plain, settings)} if settings.overrides else {}),
    }


def _left_out(left_out: Sequence[LeftOut]) -> list[dict[str, str]]:
    """As it is kept: the first of them, and of each kind how many more there are."""
    kept = [{"what": each.what, "name": each.name, "reason": each.reason} for each in left_out[:MAX_LEFT_OUT]]
    more = Counter(each.what for each in left_out[MAX_LEFT_OUT:])
    for what, count in more.items():
        kept.append({"what": what, "name": "…", "reason": f"{count} more, each for a reason of its own."})
    return kept


def _originals(plain: Offering, settings: McpSettings) -> dict[str, Any]:
    """What the server says of the tools that are overridden, by its own names."""
    named = {each.operation.definition["name"]: each for each in plain.tools}
    return {name: original(named[name]) for name in settings.overrides if name in named}


def fingerprint(offering: Offering) -> str:
    """SHA-256 of all that a model would be told, in hexadecimal digits: it changes when anything of that does."""
    told = {what: [told for _, told in sorted(each.items())] for what, each in _told(offering).items()}
    return _digest(told)


def fingerprints(offering: Offering) -> dict[str, dict[str, str]]:
    """The same of each tool, resource and prompt for itself, by its name or URI: half of a digest, to keep it short."""
    return {
        what: {name: _digest(told)[:32] for name, told in each.items()}
        for what, each in _told(offering).items()
    }


def _told(offering: Offering) -> dict[str, dict[str, list[Any]]]:
    return {
        "tools": {
            each.name: [
                each.name,
                each.title,
                each.description,
                each.input_schema,
                each.output_schema,
                each.annotations,
            ]
            for each in offering.tools
        },
        "resources": {
            each.uri: [each.uri, each.name, each.title, each.description, each.mime_type]
            for each in offering.resources
        },
        "prompts": {
            each.name: [each.name, each.title, each.description, each.arguments] for each in offering.prompts
        },
    }


def _digest(told: Any) -> str:
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _sorted_out(
    listed: Iterable[Any],
    what: str,
    key: str,
    picks: Picks,
    make: Callable[[Mapping[str, Any], McpSettings, _Sorting], T | str],
    sorting: _Sorting,
    settings: McpSettings,
) -> list[T]:
    taken: list[T] = []
    for each in listed:
        name = each.get(key) if isinstance(each, Mapping) else None
        if not isinstance(name, str) or not name:
            sorting.leave(what, None, f"It has no {key}.")
        elif not picks.take(name):
            continue
        elif f"{what} {name}" in sorting.taken:
            sorting.leave(what, name, "It is listed twice: the first one is taken.")
        else:
            made = make(each, settings, sorting)
            if isinstance(made, str):
                sorting.leave(what, name, made)
            else:
                sorting.taken.add(f"{what} {name}")
                taken.append(made)
    return taken


def _tool(listed: Mapping[str, Any], settings: McpSettings, sorting: _Sorting) -> Offered | str:
    override = settings.overrides.get(listed["name"])
    made = _as_listed(listed, settings, sorting, None if override is None else override.name)
    if override is not None and isinstance(made, Offered):
        made = overridden(made, override)
    return made


def _collisions(tools: list[Offered], settings: McpSettings, sorting: _Sorting) -> list[Offered]:
    """The tools without those whose override gives them a name that another one has, or that reads like another's."""
    if not any(each.name for each in settings.overrides.values()):
        return tools
    renamed = {name for name, each in settings.overrides.items() if each.name}
    own = {look(each.name): each.name for each in tools if each.operation.definition["name"] not in renamed}
    kept = []
    for each in tools:
        listed = each.operation.definition["name"]
        if listed in renamed:
            other = own.get(look(each.name))
            if other is not None:
                same = (
                    f"has already: {other}" if other == each.name else f"has one that reads like it: {other}"
                )
                sorting.leave("tool", listed, f"Its override calls it {each.name}, and another tool {same}.")
                continue
            own[look(each.name)] = each.name
        kept.append(each)
    return kept


def _as_listed(
    listed: Mapping[str, Any], settings: McpSettings, sorting: _Sorting, name: str | None = None
) -> Offered | str:
    """A tool as its server describes it; ``name`` is one that it is to have here."""
    name = name or settings.prefix + listed["name"]
    if not NAME.fullmatch(name) and listed["name"] not in settings.badly_named:
        return _bad_name(name)
    given = listed.get("execution")
    task = sorting.tasks and isinstance(given, Mapping) and given.get("taskSupport") == "required"
    schema = listed.get("inputSchema", _EMPTY_INPUT)
    fault = schema_fault(schema, of_object=True)
    if fault:
        return f"Its input schema {fault}."
    mirrored = _mirrored(schema)
    if isinstance(mirrored, str):
        return mirrored
    output = listed.get("outputSchema")
    if output is not None and (fault := schema_fault(output, of_object=False)):
        sorting.leave("output schema", listed["name"], f"The output schema of this tool {fault}.")
        output = None
    annotations = listed.get("annotations")
    annotations = annotations if isinstance(annotations, Mapping) else {}
    hints = {hint: annotations[hint] for hint in HINTS if isinstance(annotations.get(hint), bool)}
    return Offered(
        name=name,
        title=_title(listed.get("title") or annotations.get("title")),
        description=_described(listed.get("description"), settings),
        input_schema=mark_schema(schema),
        output_schema=None if output is None else mark_schema(output),
        annotations=hints,
        operation=Operation(
            TOOL,
            {
                "name": listed["name"],
                "repeatable": is_repeatable(hints),
                **({"mirrored": mirrored} if mirrored else {}),
                **({"task": True} if task else {}),
            },
        ),
        icons=_icons(listed.get("icons")),
    )


def _resource(listed: Mapping[str, Any], settings: McpSettings, sorting: _Sorting) -> OfferedResource | str:
    return _of_uri(listed, listed["uri"], settings, template=False)


def _template(listed: Mapping[str, Any], settings: McpSettings, sorting: _Sorting) -> OfferedResource | str:
    uri = listed["uriTemplate"]
    try:
        compile_template(uri)
    except BadTemplate as fault:
        return f"It is no URI template that Marina can match. {fault}"
    return _of_uri(listed, uri, settings, template=True)


def _of_uri(
    listed: Mapping[str, Any], uri: str, settings: McpSettings, *, template: bool
) -> OfferedResource | str:
    if len(uri) > MAX_URI or has_hidden(uri) or any(each.isspace() for each in uri):
        return f"Its URI holds a space or a hidden character, or is longer than {MAX_URI} characters."
    size, mime_type = listed.get("size"), listed.get("mimeType")
    name = listed.get("name")
    shown = mark_hidden(name, lines=False).strip()[:MAX_TITLE] if isinstance(name, str) else ""
    return OfferedResource(
        uri=uri,
        name=shown or uri[:MAX_TITLE],
        title=_title(listed.get("title")),
        description=_described(listed.get("description"), settings),
        mime_type=mime_type if isinstance(mime_type, str) and _MEDIA_TYPE.fullmatch(mime_type) else "",
        operation=Operation(RESOURCE, {"uri": uri}),
        template=template,
        annotations=_resource_annotations(listed.get("annotations")),
        icons=_icons(listed.get("icons")),
        size=size if type(size) is int and 0 <= size < 2**53 else None,
    )


def _prompt(listed: Mapping[str, Any], settings: McpSettings, sorting: _Sorting) -> OfferedPrompt | str:
    name = settings.prefix + listed["name"]
    if not NAME.fullmatch(name):
        return _bad_name(name)
    given = listed.get("arguments") or []
    if not isinstance(given, list) or len(given) > MAX_ARGUMENTS:
        return f"Its arguments are no list of at most {MAX_ARGUMENTS}."
    arguments: list[dict[str, Any]] = []
    for each in given:
        key = each.get("name") if isinstance(each, Mapping) else None
        if not isinstance(key, str) or not 0 < len(key) <= MAX_TITLE or has_hidden(key):
            return "One of its arguments has no name, or one with a hidden character."
        argument: dict[str, Any] = {"name": key, "required": each.get("required") is True}
        for part in ("title", "description"):
            if isinstance(each.get(part), str):
                argument[part] = mark_hidden(each[part])[:1_000]
        arguments.append(argument)
    return OfferedPrompt(
        name=name,
        title=_title(listed.get("title")),
        description=_described(listed.get("description"), settings),
        arguments=arguments,
        operation=Operation(PROMPT, {"name": listed["name"]}),
        icons=_icons(listed.get("icons")),
    )


def _title(given: Any) -> str:
    return mark_hidden(given, lines=False).strip()[:MAX_TITLE] if isinstance(given, str) else ""


def _described(given: Any, settings: McpSettings) -> str:
    """The description as it was given, and where it is from: a model is to know whose words these are."""
    text = mark_hidden(given).strip() if isinstance(given, str) else ""
    if len(text) > MAX_DESCRIPTION:
        text = f"{text[:MAX_DESCRIPTION]} …"
    whom = named(settings.url)
    return f"{text}\n\n(From {whom[0].lower()}{whom[1:]})".strip()


def _bad_name(name: str) -> str:
    if len(name) > 64:
        return f"Its name has {len(name)} characters, and Marina's have at most 64."
    return "Its name has other characters than letters, digits, dots, hyphens and underscores."


def _icons(given: Any) -> list[dict[str, Any]]:
    """Icons that may be shown: over https, or a picture themselves. Any other address is left out."""
    icons: list[dict[str, Any]] = []
    for each in given[:MAX_ICONS] if isinstance(given, list) else ():
        src = each.get("src") if isinstance(each, Mapping) else None
        if not isinstance(src, str) or len(src) > MAX_ICON or not _ICON.fullmatch(src):
            continue
        icon: dict[str, Any] = {"src": src}
        if isinstance(each.get("mimeType"), str) and _MEDIA_TYPE.fullmatch(each["mimeType"]):
            icon["mimeType"] = each["mimeType"]
        sizes = each.get("sizes")
        if isinstance(sizes, list) and all(isinstance(size, str) and len(size) <= 20 for size in sizes):
            icon["sizes"] = sizes[:10]
        if each.get("theme") in ("light", "dark"):
            icon["theme"] = each["theme"]
        icons.append(icon)
    return icons


def _resource_annotations(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    kept: dict[str, Any] = {}
    audience, priority, modified = given.get("audience"), given.get("priority"), given.get("lastModified")
    if isinstance(audience, list) and all(each in ("user", "assistant") for each in audience):
        kept["audience"] = audience[:2]
    if isinstance(priority, int | float) and not isinstance(priority, bool) and 0 <= priority <= 1:
        kept["priority"] = priority
    if isinstance(modified, str) and len(modified) <= 40 and modified.isascii() and modified.isprintable():
        kept["lastModified"] = modified
    return kept


def _mirrored(schema: Mapping[str, Any]) -> dict[str, Sequence[str]] | str:
    """The headers that repeat arguments, with the way to each (2026-07-28 "x-mcp-header"); or why there is a fault."""
    found: dict[str, Sequence[str]] = {}
    pending: list[tuple[tuple[str, ...], Any]] = [((), schema)]
    while pending:
        way, part = pending.pop()
        if not isinstance(part, Mapping):
            continue
        token = part.get("x-mcp-header")
        if token is not None:
            known = {each.lower() for each in found}
            if not way or not isinstance(token, str) or not _TOKEN.fullmatch(token) or token.lower() in known:
                return "Its schema names a header (x-mcp-header) that is none, or twice."
            if part.get("type") not in ("string", "integer", "boolean"):
                return "Its schema names a header (x-mcp-header) of something that no header carries."
            found[token] = list(way)
            if len(found) > MAX_MIRRORED:
                return f"Its schema names more than {MAX_MIRRORED} headers."
        properties = part.get("properties")
        if isinstance(properties, Mapping):
            pending.extend(((*way, key), below) for key, below in properties.items())
    return found
