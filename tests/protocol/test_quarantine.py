"""What is in quarantine, on the wire: refused with the rule and the reason, in the client's era, and recorded."""

from __future__ import annotations

from typing import Any

import pytest

from servers.models import DataSource, Quarantine
from servers.services.changes import publish_change
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.protocol.conftest import HearAll, Records
from tests.protocol.streamclient import open_modern
from tests.protocol.wireclient import Answer, Endpoint

REASON = "It is described otherwise."
ASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tool": ("echo", "tools/call", {"name": "echo", "arguments": {"text": "x"}}),
    "resource": ("talk://plain", "resources/read", {"uri": "talk://plain"}),
    "template": ("talk://item/{id}", "resources/read", {"uri": "talk://item/7"}),
    "prompt": ("plain", "prompts/get", {"name": "plain"}),
}


def _hold(team: Team, what: str, name: str, hear_all: HearAll) -> None:
    with tenant_scope(team.tenant_id):
        source = DataSource.objects.get()
        kept = "resource" if what == "template" else what
        Quarantine.objects.create(
            tenant_id=team.tenant_id, source=source, what=kept, name=name, reason=REASON
        )
        publish_change(team.tenant_id)
    hear_all()


def _modern(talk: Endpoint, method: str, params: Any) -> Answer:
    with open_modern(talk, method, params) as stream:
        return stream.answer()


@pytest.mark.parametrize("what", ASKED)
def test_it_is_refused_in_both_eras_and_recorded_with_its_rule(
    talk: Endpoint, talkers: Team, records: Records, hear_all: HearAll, what: str
) -> None:
    name, method, params = ASKED[what]
    if what == "tool":
        name = talk.legacy("tools/list").result["tools"][0]["name"]
        params = {"name": name, "arguments": {}}
    _hold(talkers, what, name, hear_all)
    for answer in (talk.legacy(method, params), _modern(talk, method, params)):
        assert (answer.status, answer.error["code"]) == (403, 403), answer
        assert answer.error["data"]["code"] == "quarantined"
        assert answer.error["data"]["rule"] == "quarantine"
        assert REASON in answer.error["message"]
        assert "www-authenticate" not in answer.headers
    found = [body for body in records(talkers) if body["kind"] == method]
    assert [(body["outcome"], body["reason"]["rule"]) for body in found] == [("refused", "quarantine")] * 2


def test_it_is_listed_still_as_it_was_taken_over(talk: Endpoint, talkers: Team, hear_all: HearAll) -> None:
    before = talk.legacy("tools/list").result
    _hold(talkers, "tool", before["tools"][0]["name"], hear_all)
    after = talk.legacy("tools/list").result
    assert after["tools"] == before["tools"]
    (told,) = after["_meta"]["marina/notUsable"]["tools"]
    assert told == {"name": before["tools"][0]["name"], "reason": REASON}


def test_what_is_held_is_not_completed_either(talk: Endpoint, talkers: Team, hear_all: HearAll) -> None:
    _hold(talkers, "resource", "talk://item/{id}", hear_all)
    ref = {"type": "ref/resource", "uri": "talk://item/{id}"}
    answer = talk.legacy("completion/complete", {"ref": ref, "argument": {"name": "id", "value": "1"}})
    assert answer.error["data"]["code"] == "quarantined"
