"""Measures each stage of one call in this process and prints JSON. Run by ``tests.bench.stages`` only.

``python -m tests.bench.measure_stages BATCHES`` in Marina's environment; the output's last line is JSON.
A stage is the product's own functions with the arguments that they have in the whole call. They take turns in short
batches, so that a slow moment of the machine meets all of them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from time import thread_time_ns
from typing import Any, Final, TypeVar

import django
import uvloop

from config.compiled import use_compiled
from config.env import get_env

if get_env().compiled:
    use_compiled()
django.setup()

from config.asgi import YOUNG_OBJECTS
from core.eager import Started
from core.strictjson import read_json
from servers.endpoint.app import send_reply
from servers.endpoint.context import CallContext, check_meta
from servers.endpoint.eras import check_envelope, check_modern_request, legacy_version
from servers.endpoint.exchange import Exchange
from servers.endpoint.handlers.answers import client_in
from servers.endpoint.handlers.results import result_bytes
from servers.endpoint.headers import check_content, fold, refuse_doubled, request_id_of
from servers.endpoint.incoming import Incoming
from servers.endpoint.routes import find_place
from servers.endpoint.watch import Watch
from servers.endpoint.wire import Reply, result_parts
from servers.services.callresults import CallResult
from servers.services.calls import CALL_SECONDS, call_tool
from servers.services.decisions import decide
from servers.services.glimpses import glimpse_of
from servers.services.recording import CallRecord
from servers.services.redaction import mask_secrets
from servers.services.schemas import check_arguments, check_result
from tenants.audit.batches import chain_batch, pack_batch
from tenants.audit.chain import EMPTY, GENESIS, link
from tenants.audit.records import KIND_CALL, Entry, encode
from tenants.audit.statements import cells_of
from tenants.audit.waiting import Waiting
from tests.bench.offered import ECHO, TEXT
from tests.bench.one_call import TENANT_ID, OneCall, WholeCall, make_call
from tests.bench.stages import PATH, TOGETHER, WHOLE, StageCost
from tests.bench.works import WORKS

WAITING: Final = "task and wake-up"
"""A task of its own that waits once, as each call does for its record."""

PACKING: Final = "packing the batch"
"""What it costs each record of a batch."""

_WARM_BATCHES: Final = 20
_MAX_BODY_BYTES: Final = 1 << 20

T = TypeVar("T")
Step = Callable[[], object]
Run = Callable[[], Awaitable[None]]


async def main(count: int) -> None:
    """Build the call, check its answer, measure ``count`` batches of everything."""
    call = await make_call(WORKS[0])
    await call.verify(WORKS[0])
    steps = make_steps(call)
    gc.collect()
    # As the web process does at its start.
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    nothing: list[float] = []
    together: dict[str, Callable[[], Run]] = {
        WAITING: _make_waiting,
        PATH: lambda: partial(_call_tool, call),
        WHOLE: lambda: call.serve,
    }
    spent: dict[str, list[float]] = {name: [] for name in [*steps, *together]}
    for _ in range(count + _WARM_BATCHES):
        nothing.append(_time(_do_nothing))
        for name, step in steps.items():
            spent[name].append(_time(step) / (TOGETHER if name == PACKING else 1))
        for name, make in together.items():
            spent[name].append(await _time_together(make()))
    loop_us = min(nothing)
    costs = [
        _summarise(name, [each - (loop_us if name in steps else 0) for each in batches[_WARM_BATCHES:]])
        for name, batches in spent.items()
    ]
    print(json.dumps([asdict(cost) for cost in costs]))


def make_steps(call: OneCall) -> dict[str, Step]:
    """The stages in the order in which a call passes them, each ready to run any number of times."""
    scope = call.scope()
    parts = call.app.parts()
    exchange = Exchange(parts, _send_nothing)
    whole = WholeCall(call.body)
    headers, _ = fold(call.raw_headers)
    exchange.scope, exchange.headers, exchange.request_id = scope, headers, request_id_of(headers)
    exchange.tenant_slug, exchange.server_slug, _ = find_place(scope)
    _finish(exchange.admit())
    message = check_envelope(read_json(call.body))
    version = check_modern_request(headers, message)
    name, arguments = message["params"]["name"], message["params"]["arguments"]

    def check_headers() -> None:
        folded, doubled = fold(call.raw_headers)
        request_id_of(folded)
        refuse_doubled(doubled)
        call.app.gate.check(folded)
        find_place(scope)
        check_content(folded, max_body_bytes=_MAX_BODY_BYTES)

    def check_message() -> None:
        legacy_version(headers, check_envelope(message))
        check_modern_request(headers, message)
        check_meta(message["params"], modern=True)

    def begin() -> Incoming:
        return exchange._incoming(message, version, modern=True, seconds=CALL_SECONDS)

    def make_request() -> None:
        Exchange(parts, _send_nothing)
        Watch(call.receive, exchange).end()
        CallContext(begin(), name, arguments)

    incoming = begin()
    tool = decide(call.caller, call.surface, name)
    assert tool.source is not None
    assert tool.validator is not None
    assert tool.output_validator is not None
    source, operation = tool.source, tool.operation
    validator, output_validator = tool.validator, tool.output_validator
    context = CallContext(incoming, name, arguments)

    def execute() -> Any:
        return _finish(
            call.runtime.engine.execute(source, operation, arguments, timeout=CALL_SECONDS, context=context)
        )

    outcome = execute()
    record = CallRecord(
        call.runtime,
        KIND_CALL,
        name,
        arguments,
        caller=call.caller,
        server=call.surface.slug,
        client=client_in(incoming),
        request_id=exchange.request_id,
    )
    record.version = tool.version

    detail = call.surface.detail

    def make_entry() -> tuple[Entry, bytes]:
        record.keep(detail, arguments)
        entry = record._entry("ok")
        entry.size = outcome.size
        entry.preview = glimpse_of(outcome, detail.preview)
        return entry, encode(entry)

    def make_record() -> None:
        entry, body = make_entry()
        cells_of(TENANT_ID, entry, body)
        link(GENESIS, TENANT_ID, 1, entry.at, body)

    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    batch = [Waiting(TENANT_ID, *make_entry(), future, 0.0) for _ in range(TOGETHER)]
    chain_batch(batch, {TENANT_ID: EMPTY})

    result = CallResult(
        tool=name,
        tool_version=tool.version,
        outcome="ok",
        structured=outcome.structured,
        text=outcome.text,
        rows=outcome.rows,
        size=outcome.size,
        truncated=outcome.truncated,
        duration_us=1,
        seq=1,
        content=outcome.content,
    )
    reply = Reply(200, result_parts(incoming.rpc_id, result_bytes(incoming, result)))
    return {
        "headers and gate": check_headers,
        "admission": exchange.admit_held,
        "body and JSON": lambda: read_json(whole.body() or b""),
        "envelope": check_message,
        "request objects": make_request,
        "masking": lambda: mask_secrets(arguments),
        "decision": lambda: decide(call.caller, call.surface, name),
        "argument schema": lambda: check_arguments(validator, arguments),
        "tool (echo)": execute,
        "result schema": lambda: check_result(output_validator, outcome.structured),
        "record": make_record,
        PACKING: lambda: pack_batch(batch),
        "result bytes": lambda: result_parts(incoming.rpc_id, result_bytes(incoming, result)),
        "answer": lambda: _finish(send_reply(_send_nothing, reply, exchange.request_id, whole)),
    }


def _finish(awaitable: Awaitable[T]) -> T:
    """What an awaitable that never waits gives: all of these end in their first step."""
    started = Started(awaitable)
    assert started.done
    return started.result


def _time(step: Step) -> float:
    """Processor time of one run, in µs, over a batch."""
    before = thread_time_ns()
    for _ in range(TOGETHER):
        step()
    return (thread_time_ns() - before) / TOGETHER / 1000


async def _time_together(run: Run) -> float:
    """The same of whole calls that are in flight together, each in a task of its own, as uvicorn runs them."""

    async def one() -> None:
        await run()

    before = thread_time_ns()
    await asyncio.gather(*[asyncio.create_task(one()) for _ in range(TOGETHER)])
    return (thread_time_ns() - before) / TOGETHER / 1000


def _summarise(name: str, batches: list[float]) -> StageCost:
    best, median = max(0.0, min(batches)), max(0.0, statistics.median(batches))
    return StageCost(name, round(best, 3), round(median, 3), len(batches) * TOGETHER)


async def _call_tool(call: OneCall) -> None:
    """From masking to record, as the endpoint calls it."""
    await call_tool(
        caller=call.caller,
        surface=call.surface,
        tool_name=ECHO,
        arguments={"text": TEXT},
        client="marina-bench 1",
        request_id="bench-request",
    )


def _make_waiting() -> Run:
    """A run that waits until the loop's next turn, for a future of its own."""
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[None]] = []

    def answer() -> None:
        for future in waiting:
            future.set_result(None)

    async def wait() -> None:
        if not waiting:
            loop.call_soon(answer)
        future: asyncio.Future[None] = loop.create_future()
        waiting.append(future)
        await future

    return wait


def _do_nothing() -> None:
    """What the loop around every stage costs."""


async def _send_nothing(message: Any) -> None:
    """Nothing is sent by a single stage."""


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
