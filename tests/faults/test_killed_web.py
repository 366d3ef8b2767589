"""``kill -9`` of the web process under load: whatever was answered is in the log, and the log is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tenants.audit.chain import EMPTY, Broken, Link, verify
from tenants.audit.records import decode, to_microseconds
from tenants.models import AuditHead, AuditRecord
from tenants.scoping import tenant_scope
from tests.factories import Team, make_database, make_team
from tests.faults.web import KillableWeb
from tests.plugins.live_marina import ROOT

ROUNDS = int(os.environ.get("FAULT_ROUNDS") or 20)
CONNECTIONS = 8
ANSWERS_A_ROUND = 40
TOOL = "say_number"


@pytest.fixture
def team() -> Team:
    """A team with one tool that gives back its argument, over a real database."""
    made = make_team()
    create_source("numbers", "postgres", {"dsn": make_database("SELECT 1")}, caller=made.owner)
    definition = {
        "sql": "SELECT :number::bigint AS number",
        "parameters": {"number": {"type": "integer", "description": "Any", "required": True}},
    }
    create_tool(TOOL, "numbers", "sql", definition, caller=made.owner)
    return made


@pytest.fixture
def caller(web: KillableWeb, team: Team) -> Iterator[subprocess.Popen[str]]:
    """The load, in a process of its own: it goes on while Marina is being killed and started."""
    # Started by subprocess, not start_process: its job comes on standard input.
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.caller"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        job = {
            "url": f"{web.base_url}/mcp/{team.slug}",
            "key": team.key(),
            "tool": TOOL,
            "connections": CONNECTIONS,
        }
        process.stdin.write(json.dumps(job))
        process.stdin.close()
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def read_answers(caller: subprocess.Popen[str], count: int | None) -> dict[int, str]:
    """The next answered calls (all that are left without ``count``): number → request id."""
    assert caller.stdout is not None
    answers: dict[int, str] = {}
    while count is None or len(answers) < count:
        line = caller.stdout.readline()
        if not line:
            assert count is None, "the caller ended"
            break
        number, _, request_id = line.strip().partition(" ")
        assert number != "wrong", line
        answers[int(number)] = request_id
    return answers


@pytest.mark.timeout(300)
def test_every_answered_call_is_in_the_log_after_many_kills(
    web: KillableWeb, team: Team, caller: subprocess.Popen[str]
) -> None:
    answered = read_answers(caller, ANSWERS_A_ROUND)
    for number in range(ROUNDS):
        web.kill()
        web.start()
        # Another moment each time: sooner and later after the start, in and between commits.
        answered |= read_answers(caller, ANSWERS_A_ROUND + 7 * (number % 5))
    caller.send_signal(signal.SIGTERM)
    answered |= read_answers(caller, None)
    # Calls in flight when the caller ended are still being written: let them be, before the log is read.
    web.close()

    with tenant_scope(team.tenant_id):
        records = list(AuditRecord.objects.order_by("seq"))
        head = AuditHead.objects.get()
    recorded: dict[int, str] = {}
    times: Counter[int] = Counter()
    for record in records:
        if record.kind == "tools/call":
            number = decode(bytes(record.body))["arguments"]["number"]
            recorded[number] = record.request_id
            times[number] += 1
    assert len(answered) >= ANSWERS_A_ROUND * (ROUNDS + 1)
    assert [number for number in answered if number not in recorded] == []
    assert {number: recorded[number] for number in answered} == answered
    assert [number for number, count in times.items() if count > 1] == []
    end = verify(
        team.tenant_id,
        (Link(row.seq, to_microseconds(row.at), bytes(row.body), bytes(row.hash)) for row in records),
        start=EMPTY,
    )
    assert not isinstance(end, Broken), end.problem
    assert (end.seq, end.hash) == (head.seq, bytes(head.hash))
