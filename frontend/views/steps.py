"""What the editor of steps asks for: the tools that a step may call, and what each takes and gives. Saves nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from textwrap import shorten
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from frontend.access import tenant_page
from frontend.arguments import argument_fields
from servers.execution.contract import Offered
from servers.services.previews import find_callable
from servers.services.tools import is_published, list_tools
from tenants.access import Caller
from tenants.roles import Action

MOST_NAMES: Final = 100
MOST_PARTS: Final = 40
_BREAKS: Final = frozenset(".[]{}$ \t\r\n")
"""What a reference cannot have in the name of a member."""


@require_safe
@tenant_page(Action.TOOLS_CHANGE)
def tool_arguments(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Of each tool that is named: its arguments as fields, and the parts of its result. Others are left out."""
    names = [name for name in request.GET.getlist("tool")[:MOST_NAMES] if "\0" not in name]
    found = find_callable(names, caller=caller)
    return JsonResponse({"tools": {name: _described(offered) for name, offered in found.items()}})


def callable_tools(caller: Caller, but: str = "") -> list[tuple[str, str]]:
    """The name and title of each tool that a step may call; not of the one that it would be a step of."""
    tools = list_tools(caller=caller)
    return [
        (tool.name, tool.current.title if tool.enabled else f"{tool.current.title} (turned off)")
        for tool in tools
        if tool.current is not None and is_published(tool.current) and tool.name != but
    ]


def _described(offered: Offered) -> dict[str, Any]:
    return {
        "title": offered.title,
        "description": shorten(offered.description, 300, placeholder=" …"),
        "arguments": [asdict(field) for field in argument_fields(offered.input_schema)],
        "open": offered.input_schema.get("additionalProperties", True) is not False,
        "gives": list(islice(_parts(offered.output_schema), MOST_PARTS)),
    }


def _parts(schema: Mapping[str, Any] | None, below: str = "", depth: int = 2) -> Iterator[str]:
    """The members of an object, as references write the way to them, and those of objects in it, or in a list in it."""
    members = (schema or {}).get("properties")
    if depth == 0 or not isinstance(members, Mapping):
        return
    for name, rule in members.items():
        if not name or not _BREAKS.isdisjoint(name) or not isinstance(rule, Mapping):
            continue
        yield f"{below}.{name}"
        yield from _parts(rule, f"{below}.{name}", depth - 1)
        if isinstance(rule.get("items"), Mapping):
            yield from _parts(rule["items"], f"{below}.{name}[0]", depth - 1)
