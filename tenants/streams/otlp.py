"""A batch as OpenTelemetry logs: ``ExportLogsServiceRequest`` of OTLP 1.x in its JSON form. Pure: sends nothing.

JSON and not protobuf: every receiver of OTLP over HTTP takes both, and it needs no library. Names of attributes are
those of OpenTelemetry's semantic conventions where there is one, else ``marina.…``. The body is the stored record as
text, so that with ``marina.seq``, ``marina.prev`` and the time the chain can be checked from what arrived.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

import orjson

from core.strictjson import BadJson, read_json
from tenants.audit.records import KIND_CALL, KIND_PROMPT, KIND_READ, to_microseconds
from tenants.streams.lines import NOTICE, Batch, Line, Receiver

PATH: Final = "/v1/logs"
HEADERS: Final = {"content-type": "application/json"}

_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_TARGETS: Final = {
    KIND_CALL: "gen_ai.tool.name",
    KIND_PROMPT: "gen_ai.prompt.name",
    KIND_READ: "mcp.resource.uri",
}
"""Kind → what its target is called in the semantic conventions for MCP."""


def encode(receiver: Receiver, batch: Batch) -> bytes:
    """The request's body."""
    now = time.time_ns()
    logs = [_record(line, now) for line in batch.lines] if batch.test is None else [_test(now)]
    resource = {
        "service.name": "marina",
        "server.address": receiver.origin,
        "marina.tenant": receiver.tenant_slug,
    }
    return orjson.dumps(
        {
            "resourceLogs": [
                {
                    "resource": {"attributes": _attributes(resource)},
                    "scopeLogs": [{"scope": {"name": "marina.log"}, "logRecords": logs}],
                }
            ]
        }
    )


def read_rejected(body: bytes) -> int:
    """How many records of a request that succeeded were nevertheless not taken (``partialSuccess``)."""
    try:
        answer = read_json(body) if body else {}
        partial = answer.get("partialSuccess") if isinstance(answer, dict) else None
        # A 64-bit integer is text in protobuf's JSON; some write a number.
        return int(str(partial.get("rejectedLogRecords") or 0)) if isinstance(partial, dict) else 0
    except (BadJson, ValueError):
        return 0


def _record(line: Line, now: int) -> dict[str, Any]:
    fields = line.fields
    kind, reason = fields["kind"], fields["reason"] or {}
    _, number, text = line.severity
    attributes: dict[str, Any] = {
        "log.record.uid": f"{line.tenant_id}-{line.seq}",
        "marina.tenant_id": line.tenant_id,
        "marina.seq": line.seq,
        "marina.prev": line.prev,
        "marina.hash": line.hash,
        "marina.kind": kind,
        "marina.outcome": fields["outcome"],
        "user.name": fields["actor"],
        "marina.client": fields["client"],
        "marina.server": fields["server"],
        "marina.request_id": fields["request_id"],
        "error.type": reason.get("code"),
        "mcp.method.name": kind if "/" in kind else None,
    }
    if fields["tool"]:
        attributes[_TARGETS.get(kind, "marina.tool")] = fields["tool"]
    if fields["duration_us"]:
        attributes["marina.duration_us"] = fields["duration_us"]
    log = {
        "timeUnixNano": str(to_microseconds(line.at) * 1000),
        "observedTimeUnixNano": str(now),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"marina.{kind.replace('/', '.')}",
        "body": {"stringValue": line.body.decode()},
        "attributes": _attributes(attributes),
    }
    if _TRACE.fullmatch(trace := fields.get("trace_id", "")) and trace.strip("0"):
        log["traceId"] = trace
    return log


def _test(now: int) -> dict[str, Any]:
    _, number, text = NOTICE
    return {
        "timeUnixNano": str(now),
        "observedTimeUnixNano": str(now),
        "severityNumber": number,
        "severityText": text,
        "eventName": "marina.stream.test",
        "body": {"stringValue": '{"test":true}'},
        "attributes": [],
    }


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value not in (None, "")]


def _value(value: str | int) -> dict[str, str]:
    # Strings as orjson takes them: a record may hold half of a pair, escaped.
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": value.encode("utf-8", "replace").decode()}
