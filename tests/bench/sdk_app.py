"""The baseline: the official Python SDK's low-level server with the same tools, no identity and no log.

``BENCH_TOOLS`` says how many tools, ``BENCH_DSN`` where the table of the SQL tool is. One application answers
2026-07-28 and, in sessions, 2025-11-25; both as JSON.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.bench.offered import ECHO, ROW_SQL, ROW_TOOL, describe_tools

logging.disable(logging.INFO)

_ROW_SQL = ROW_SQL.format(id="%(id)s").encode()
_tools = [types.Tool(**tool) for tool in describe_tools(int(os.environ["BENCH_TOOLS"]))]
_row_tool = types.Tool(
    name=ROW_TOOL,
    input_schema={"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
)
_schemas: Mapping[str, Mapping[str, Any]] = {tool.name: tool.input_schema for tool in [*_tools, _row_tool]}


# One for the process: the low-level server's own lifespan is entered anew for each session.
_pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
    os.environ["BENCH_DSN"],
    min_size=4,
    max_size=10,
    open=False,
    kwargs={"row_factory": dict_row, "autocommit": True},
)


async def _list_tools(
    _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=_tools)


async def _call_tool(
    _: ServerRequestContext[Any], params: types.CallToolRequestParams
) -> types.CallToolResult:
    arguments = params.arguments or {}
    if params.name == ROW_TOOL:
        if _pool.closed:
            await _pool.open()
        async with _pool.connection() as connection:
            rows = await (await connection.execute(_ROW_SQL, arguments)).fetchall()
        structured: dict[str, Any] = {"rows": rows}
    else:
        structured = arguments
    text = json.dumps(structured, ensure_ascii=False)
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=structured
    )


async def _health(_: Request) -> Response:
    return PlainTextResponse(ECHO)


application = Server(
    "baseline",
    version="1",
    on_list_tools=_list_tools,
    on_call_tool=_call_tool,
    get_tool_input_schema=_schemas.get,
).streamable_http_app(json_response=True, custom_starlette_routes=[Route("/health", _health)])
