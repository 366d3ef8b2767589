"""A session of a handshake revision goes on at any web process, whichever of them was killed since it began."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests.faults.stack import Stack
from tests.protocol.streamclient import LegacySession, begin
from tests.protocol.wireclient import LEGACY, Endpoint

pytestmark = pytest.mark.timeout(240)

HANDSHAKES = [version for version in LEGACY if version >= "2025-03-26"]


def test_sessions_outlive_each_web_process_and_both(stack: Stack) -> None:
    [team] = stack.make_teams(1)
    ports = [web.port for web in stack.webs]
    door = Endpoint(ports[0], f"/mcp/{team['slug']}", team["key"])
    sessions = [begin(door, version=version) for version in HANDSHAKES]
    assert len({session.id for session in sessions}) == len(HANDSHAKES)
    assert all(answered(session, port) for session in sessions for port in ports)
    for names in (["web-0"], ["web-1"], ["web-0", "web-1"]):
        for name in names:
            stack.kill(name)
        if len(names) == 1:
            other = ports[1 - int(names[0][-1])]
            assert all(answered(session, other) for session in sessions)
        stack.wait_until_ready()
        # By the session's own id, which is what the killed process had given out.
        assert all(answered(session, port) for session in sessions for port in ports)
    assert {session.on(ports[1]).end().status for session in sessions} <= {200, 202, 204}
    assert not any(answered(session, ports[0]) for session in sessions), "an ended one is nobody's"


def answered(session: LegacySession, port: int) -> bool:
    """Whether a call in the session gets its result by way of this web process."""
    try:
        with session.on(port).call("say_number", {"number": port}) as stream:
            if stream.status != 200:
                return False
            message: Any = stream.message() if stream.is_stream else stream.answer().json
    except (OSError, http.client.HTTPException):
        return False
    # Older revisions have the text alone.
    return message is not None and str(port) in message["result"]["content"][0]["text"]
