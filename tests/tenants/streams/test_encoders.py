"""What leaves, byte for byte: webhooks, syslog and OTLP, read back by other means than ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tenants.audit.chain import GENESIS, link
from tenants.audit.records import Entry, Reason, encode, to_microseconds
from tenants.exports.formats import json_lines
from tenants.exports.reading import Row
from tenants.streams import otlp, syslog, webhook
from tenants.streams.lines import Batch, Line, Receiver
from tenants.streams.sending import read_wait
from tests.plugins.own_cluster import ROOT
from tests.tenants.streams.receivers import unframed, verified

AT = datetime(2026, 11, 22, 1, 2, 3, 4005, tzinfo=UTC)
STREAM = UUID("0f0f0f0f-0000-4000-8000-000000000001")
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()


def entry(**values: Any) -> Entry:
    given = {"kind": "tools/call", "outcome": "ok", "actor": "key:a", "tool": "query", "server": "default"}
    return Entry(**{**given, **values}, at=to_microseconds(AT))


def line(seq: int = 1, **values: Any) -> Line:
    body = encode(entry(**values))
    digest = link(GENESIS, 7, seq, to_microseconds(AT), body)
    return Line(7, seq, AT, GENESIS.hex(), digest.hex(), body)


def receiver(kind: str, settings: dict[str, Any] | None = None, **secrets: Any) -> Receiver:
    return Receiver(kind, "acme", "mcp.example.com", settings or {}, secrets)


def batch(*lines: Line) -> Batch:
    return Batch(STREAM, lines[0].seq, lines[-1].seq, lines)


def test_a_webhook_holds_lines_of_an_export_and_is_signed() -> None:
    sent = batch(line(arguments={"ü": '"\n'}))
    headers, body = webhook.encode(
        receiver("webhook", keys=[{"key": KEY, "until": None}]), sent, 1_700_000_000.9
    )
    (record,) = json.loads(body)["records"]
    assert verified([record]) == 1
    assert list(record)[-1] == "record"
    assert record["at"] == "2026-11-22T01:02:03.004005Z"
    assert headers["webhook-id"] == f"msg_{STREAM.hex}_1_1"
    assert headers["webhook-timestamp"] == "1700000000"
    signed = f"{headers['webhook-id']}.1700000000.".encode() + body
    mac = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"


def test_a_line_is_an_exports_byte_for_byte() -> None:
    one = line(7, arguments={"ü": '"\n'})
    row = Row(7, AT, bytes.fromhex(one.prev), bytes.fromhex(one.hash), one.body)
    assert json_lines([row, row], 7) == (one.as_json() + b"\n") * 2
    assert json_lines([], 7) == b""


def test_the_example_of_standard_webhooks_gives_its_signature() -> None:
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert (
        webhook.sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_while_a_secret_is_rolled_both_sign_and_then_the_new_one_alone() -> None:
    keys = [{"key": KEY, "until": None}, {"key": OLD, "until": 2_000.0}]
    for now, count in ((1_999.0, 2), (2_000.0, 1)):
        headers, body = webhook.encode(receiver("webhook", keys=keys), batch(line()), now)
        signatures = headers["webhook-signature"].split(" ")
        assert len(signatures) == count
        assert signatures[0] == webhook.sign(KEY, headers["webhook-id"], str(int(now)), body)


def test_secrets_do_not_show_in_a_receiver() -> None:
    assert KEY not in repr(receiver("webhook", keys=[{"key": KEY, "until": None}]))


PATTERN = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) \[(\S+?)((?: [a-z_]+=\"(?:[^\"\\\]]|\\[\"\\\]])*\")*)\] (.*)",
    re.DOTALL,
)
"""RFC 5424, section 6, as far as these messages go."""


def read(message: bytes) -> tuple[tuple[bytes, ...], dict[str, str], bytes]:
    found = PATTERN.fullmatch(message)
    assert found is not None, message
    *head, data, text = found.groups()
    parameters = re.findall(rb' ([a-z_]+)="((?:[^"\\\]]|\\["\\\]])*)"', data)
    values = {name.decode(): re.sub(r'\\(["\\\]])', r"\1", value.decode()) for name, value in parameters}
    return tuple(head), values, text


def test_a_syslog_message_is_of_rfc_5424() -> None:
    actor = 'user:"quoted" \\ [bracketed] ü'
    one, two = line(actor=actor), line(2, outcome="error")
    first, second = unframed(syslog.encode(receiver("syslog"), batch(one, two)))
    head, values, text = read(first)
    assert head == (
        b"110",
        b"2026-11-22T01:02:03.004005Z",
        b"mcp.example.com",
        b"marina",
        b"-",
        b"tools/call",
        b"marina@32473",
    )
    assert values["actor"] == actor
    assert (values["tenant"], values["tenant_id"], values["seq"]) == ("acme", "7", "1")
    assert text == b"\xef\xbb\xbf" + one.body
    # The three together are an export's line.
    record = json.loads(text[3:])
    at_us = to_microseconds(datetime.fromisoformat(head[1].decode()))
    assert verified([{**values, "tenant": 7, "seq": 1, "at_us": at_us, "record": record}]) == 1
    assert read(second)[0][0] == b"107"


@pytest.mark.parametrize(
    ("outcome", "severity"),
    [("ok", 6), ("intent", 6), ("cancelled", 5), ("refused", 4), ("invalid", 4), ("error", 3), ("else", 5)],
)
def test_syslog_severity_follows_the_outcome(outcome: str, severity: int) -> None:
    (message,) = unframed(syslog.encode(receiver("syslog"), batch(line(outcome=outcome))))
    assert message.startswith(b"<%d>1 " % (13 * 8 + severity))


def test_syslog_control_characters_stay_out_of_the_head() -> None:
    one = line(actor="a\nb\x00c", kind="ki nd\n" + "x" * 40)
    (message,) = unframed(syslog.encode(receiver("syslog", {"sd_id": "audit@4711"}), batch(one)))
    head, values, _ = read(message)
    assert head[5] == b"ki?nd?" + b"x" * 26
    assert head[6] == b"audit@4711"
    assert values["actor"] == "a b c"


def attributes(log: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in log["attributes"]}


def test_otlp_has_the_record_its_severity_and_its_trace() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    failed = line(
        outcome="error", trace_id=trace, reason=Reason("source_timeout", message="too slow"), duration_us=1500
    )
    request = json.loads(otlp.encode(receiver("otlp"), batch(failed)))
    (resource,) = request["resourceLogs"]
    assert attributes(resource["resource"]) == {
        "service.name": "marina",
        "server.address": "mcp.example.com",
        "marina.tenant": "acme",
    }
    (log,) = resource["scopeLogs"][0]["logRecords"]
    assert log["timeUnixNano"] == "1795309323004005000"
    assert (log["severityNumber"], log["severityText"], log["traceId"]) == (17, "ERROR", trace)
    assert log["body"]["stringValue"].encode() == failed.body
    found = attributes(log)
    assert found["mcp.method.name"] == "tools/call"
    assert found["gen_ai.tool.name"] == "query"
    assert found["error.type"] == "source_timeout"
    assert found["log.record.uid"] == "7-1"
    assert (found["marina.seq"], found["marina.duration_us"]) == ("1", "1500")


@pytest.mark.parametrize("trace", ["", "0" * 32, "not hex"])
def test_otlp_leaves_out_a_trace_that_is_none(trace: str) -> None:
    request = json.loads(otlp.encode(receiver("otlp"), batch(line(trace_id=trace))))
    assert "traceId" not in request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]


def test_otlp_half_of_a_pair_breaks_nothing() -> None:
    assert json.loads(otlp.encode(receiver("otlp"), batch(line(tool="a\ud800"))))


@pytest.mark.parametrize(
    ("answer", "rejected"),
    [
        (b"", 0),
        (b"{}", 0),
        (b'{"partialSuccess":{}}', 0),
        (b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"no"}}', 3),
        (b'{"partialSuccess":{"rejectedLogRecords":3}}', 3),
        (b'{"partialSuccess":{"rejectedLogRecords":"x"}}', 0),
        (b"[]", 0),
        (b"<html>", 0),
    ],
)
def test_otlp_what_was_refused_is_read(answer: bytes, rejected: int) -> None:
    assert otlp.read_rejected(answer) == rejected


@pytest.mark.parametrize("kind", ["webhook", "syslog", "otlp"])
def test_a_test_holds_no_record(kind: str) -> None:
    sent = Batch(STREAM, test=STREAM)
    assert sent.name.startswith("test_")
    if kind == "webhook":
        assert json.loads(webhook.encode(receiver(kind), sent, 0)[1]) == {"test": True, "records": []}
    elif kind == "syslog":
        assert read(unframed(syslog.encode(receiver(kind), sent))[0])[2].endswith(b'{"test":true}')
    else:
        assert b"marina.stream.test" in otlp.encode(receiver(kind), sent)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("120", 120.0),
        ("999999999", 3600.0),
        ("soon", None),
        ("-5", None),
        ("Thu, 01 Jan 1970 00:10:00 GMT", 500.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(text: str, seconds: float | None) -> None:
    assert read_wait(text, 100.0) == seconds


def test_the_guides_receiver_verifies_what_is_sent_and_nothing_else() -> None:
    guide = (ROOT / "docs" / "streams.md").read_text(encoding="utf-8")
    given: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)[0], given)  # our own page
    now = time.time()
    headers, body = webhook.encode(
        receiver("webhook", keys=[{"key": KEY, "until": None}]), batch(line()), now
    )
    given["verify"](KEY, headers, body)
    for secret, changed, content in (
        (OLD, headers, body),
        (KEY, headers, body + b" "),
        (KEY, {**headers, "webhook-id": "msg_x"}, body),
        (KEY, {**headers, "webhook-timestamp": str(int(now) - 301)}, body),
    ):
        with pytest.raises(ValueError, match=r"not signed|too old"):
            given["verify"](secret, changed, content)
