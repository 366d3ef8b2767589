"""A kind of data source for tests of the decision path: its operations end in every way that one can."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from core.errors import SourceError
from servers.execution.contract import (
    Ask,
    Completion,
    Context,
    InputRequired,
    Operation,
    Outcome,
    Source,
)
from servers.execution.schemas import compile_schema
from servers.services.surfaces import Surface, SurfacePrompt, SurfaceResource, SurfaceTool
from tests.plainkind import PlainKind

KIND = "ledger"
URI = "ledger://books/2026"
TEMPLATE = "ledger://books/{year}{?page,size}"
READ_ONLY: Mapping[str, Any] = {"readOnlyHint": True}


class Ledger(PlainKind):
    """Implements the backends' contract. ``during`` runs while an operation does; ``ran`` counts them."""

    kind = KIND
    title = "Ledger"

    def __init__(self) -> None:
        self.ran = 0
        self.during: Callable[[], None] = lambda: None
        self.entered = threading.Event()
        self.completed: list[tuple[str, str]] = []

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        self.ran += 1
        match operation.kind:
            case "wait":
                self.entered.set()
                await asyncio.get_running_loop().create_future()
            case "ask":
                raise InputRequired({"sure": Ask("elicitation/create", {"message": "Sure?"})})
            case "break":
                raise SourceError("The ledger is closed. Open it.", code="source_unreachable")
            case "fail":
                content = [{"type": "text", "text": "There is no such account."}]
                return Outcome(None, "There is no such account.", content=content, failed=True)
            case "misfit":
                return Outcome({"total": "hunter2"}, "")
            case "list":
                return Outcome([1, 2], "")
            case "blocks":
                return Outcome(None, "", content=[{"type": "text", "text": "x" * arguments["size"]}])
            case "resource":
                return Outcome(None, "", size=2, content=[{"uri": arguments["uri"], "text": str(arguments)}])
            case "prompt":
                said = {"type": "text", "text": f"Audit {arguments['year']}."}
                return Outcome(None, "Audits a year.", content=[{"role": "user", "content": said}])
        self.during()
        return Outcome({"total": 5}, "5", size=1)

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
        context: Context,
    ) -> Completion:
        self.completed.append((argument, value))
        return Completion([f"{value}{number}" for number in range(150)])


def make_surface(tenant_id: int, slug: str, source: Source | None = None) -> Surface:
    """A server with a tool for each way to end, a resource, a template that fits nothing, and a prompt."""
    source = source or Source(uuid4(), tenant_id, "books", KIND, 1, {})
    total = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
    numbers = {"type": "array", "items": {"type": "integer"}}
    tools = [
        _tool("pay", source, {}, output=total),
        _tool("look", source, READ_ONLY, output=total),
        _tool("claim", source, {"readOnlyHint": "yes"}),
        _tool("ask", source, {}),
        _tool("blocks", source, READ_ONLY),
        _tool("break", source, {}),
        _tool("fail", source, READ_ONLY, output=total),
        _tool("list", source, READ_ONLY, output=numbers),
        _tool("misfit", source, READ_ONLY, output=total),
        _tool("wait", source, {}),
    ]
    prompt = SurfacePrompt(
        name="audit",
        title="Audit",
        description="",
        arguments=[{"name": "year", "required": True}, {"name": "depth"}],
        icons=(),
        operation=Operation("prompt", {}),
        source=source,
    )
    return Surface(
        tenant_id=tenant_id,
        tenant_slug=slug,
        slug="default",
        title="Default",
        instructions="",
        public=False,
        version=1,
        tools=tuple(tools),
        by_name={tool.name: tool for tool in tools},
        resources=(_resource(URI, source),),
        templates=(_resource(TEMPLATE, source, template=True),),
        prompts=(prompt,),
    )


def _tool(
    name: str, source: Source, hints: Mapping[str, Any], output: Mapping[str, Any] | None = None
) -> SurfaceTool:
    schema = {"type": "object", "properties": {"amount": {"type": "integer"}}}
    return SurfaceTool(
        name=name,
        title=name,
        description="",
        input_schema=schema,
        output_schema=output,
        annotations=hints,
        version=3,
        operation=Operation(name, {}),
        source=source,
        validator=compile_schema(schema),
        output_validator=None if output is None else compile_schema(output),
    )


def _resource(uri: str, source: Source, *, template: bool = False) -> SurfaceResource:
    icons: Sequence[Mapping[str, Any]] = ()
    return SurfaceResource(
        uri=uri,
        name="books",
        title="Books",
        description="",
        mime_type="text/plain",
        annotations={},
        icons=icons,
        size=None,
        template=template,
        operation=Operation("resource", {}),
        source=source,
    )
