"""Commands as a team's data sources: chosen of the operator's list, called, looked at, and nobody else's."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from core.hostedcommands import parse_commands, read_commands
from core.loop import run_async
from servers.models import HOSTED_RESTS, DataSource
from servers.services import hosted_runs
from servers.services.configuration.importing import apply_configuration
from servers.services.hosted_runs import due_for_check
from servers.services.runtime import get_runtime
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.hosted.commands import entry_of
from tests.rest import Rest

SECRET = "a-key-of-theirs"


def connect(team: Team, name: str = "ships", **more: Any) -> str:
    given = {"command": "odd", "args": ["telling"], "env": {"KEY": SECRET}, **more}
    body = {"name": name, "kind": "mcp", "settings": given}
    made = Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)
    assert made.status == 201, made.body
    assert SECRET not in json.dumps(made.body)
    return str(made.body["id"])


def call(team: Team, tool: str, **arguments: Any) -> Any:
    rest = Rest.admin(team)
    tools = {each["name"]: each["id"] for each in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    return rest.post(f"/tenants/{team.slug}/tools/{tools[tool]}/call", {"arguments": arguments}).body


def hosted(team: Team, source: str) -> Any:
    async def settle() -> None:
        await get_runtime().hosted_notes.settle()

    run_async(settle())
    answer = Rest.admin(team).get(f"/tenants/{team.slug}/data-sources/{source}/hosted")
    assert answer.status == 200, answer.body
    return answer.body


def test_a_command_is_a_source_whose_state_and_lines_are_shown(team: Team) -> None:
    source = connect(team)
    assert hosted(team, source)["runs"] == []
    assert call(team, "run", code="print(7)")["text"] == "7\n"
    (run,) = hosted(team, source)["runs"]
    assert (run["state"], run["restarts"], run["next_try"]) == ("running", 0, None)
    assert call(team, "run", code="os._exit(4)")["outcome"] == "error"
    (run,) = hosted(team, source)["runs"]
    assert (run["state"], run["restarts"]) == ("waiting", 1)
    assert "ended with status 4" in run["reason"]
    assert run["next_try"] > run["at"]
    call(team, "run", code="print('on the page <b>', file=sys.stderr, flush=True); time.sleep(1.2)")
    lines = [line["text"] for line in hosted(team, source)["lines"]]
    assert {"the key is [masked]", "on the page <b>"} <= set(lines)


def test_what_a_command_may_reach_is_shown_and_a_refusal_is_a_line(team: Team) -> None:
    source = connect(team, command="abroad", args=[], prefix="abroad_")
    shown = hosted(team, source)
    assert (shown["network"], shown["hosts"]) == ("hosts", ["api.example.com", "*.example.org:8443"])
    other = hosted(team, connect(team, "near"))
    assert (other["network"], other["hosts"]) == ("none", [])
    code = (
        "import http.client\n"
        "c = http.client.HTTPConnection('127.0.0.1', 3128, timeout=20)\n"
        "c.request('GET', f\"http://{os.environ['KEY']}.example/\")\n"
        "print(c.getresponse().status)\n"
        "time.sleep(1.2)\n"
    )
    assert call(team, "abroad_run", code=code)["text"] == "403\n"
    lines = [line["text"] for line in hosted(team, source)["lines"]]
    # A line of ours may hold what the command knows: it is masked as its own are.
    assert "Marina: refused [masked].example:80, which is not in network of abroad" in lines


def test_an_outsider_gets_404_and_no_line(team: Team) -> None:
    source = connect(team)
    other = make_team()
    assert Rest.admin(other).get(f"/tenants/{other.slug}/data-sources/{source}/hosted").status == 404
    assert Rest.admin(other).get(f"/tenants/{team.slug}/data-sources/{source}/hosted").status == 401
    assert Rest.admin(team).get(f"/tenants/{team.slug}/data-sources/{uuid4()}/hosted").status == 404


def test_a_team_cannot_choose_what_the_operator_does_not_allow(team: Team) -> None:
    for given, path in (
        ({"command": "/bin/sh"}, "settings.command"),
        ({"command": "yard", "args": ["-c", "x"]}, "settings.args"),
    ):
        body = {"name": "ships", "kind": "mcp", "settings": given}
        refused = Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)
        assert (refused.status, refused.body["errors"][0]["path"]) == (400, path)
        assert "The operator" in refused.body["errors"][0]["message"]


def test_a_list_of_servers_brings_its_commands(team: Team) -> None:
    run = entry_of("odd")["run"]
    listed = {
        "mcpServers": {"ships": {"command": run[0], "args": [*run[1:], "talkative"], "env": {"KEY": SECRET}}}
    }
    plan = apply_configuration(json.dumps(listed), caller=team.owner)
    assert plan.notes == ()
    with tenant_scope(team.owner.tenant_id):
        (row,) = DataSource.objects.all()
    assert (row.settings["command"], row.settings["args"]) == ("odd", ["talkative"])
    assert call(team, "run", code="print(os.environ['KEY'] == 'a-key-of-theirs')")["text"] == "True\n"


def test_a_command_that_is_well_rests_from_scheduled_checks(team: Team) -> None:
    source = connect(team)
    assert (
        Rest.admin(team).post(f"/tenants/{team.slug}/data-sources/{source}/test").body["state"] == "healthy"
    )
    with tenant_scope(team.owner.tenant_id):
        row = DataSource.objects.get(pk=source)
        assert due_for_check([row]) == []
        assert row.health_checked_at is not None
        assert row.health_next_at == row.health_checked_at + HOSTED_RESTS
        row.health_checked_at = timezone.now() - HOSTED_RESTS - timedelta(seconds=1)
        assert due_for_check([row]) == [row]
        row.health_checked_at, row.health = timezone.now(), "unhealthy"
        assert due_for_check([row]) == [row]


def test_ready_says_whether_commands_can_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # Put back with the time: what is said here of the sandbox is no other test's.
    monkeypatch.setattr(hosted_runs._Tried, "why", hosted_runs._Tried.why)
    monkeypatch.setattr(hosted_runs._Tried, "at", -1e9)
    part = Client().get("/ready").json()["parts"]["commands"]
    assert part == {"state": "healthy", "allowed": len(settings.ENV.hosted_commands)}

    # Of some, hosts are listed.
    for whole, says in (
        (False, "Commands of data sources are not run: it is not there."),
        (True, "Commands with listed hosts are not run: it is not there."),
    ):

        async def fail(*, door: bool, whole: bool = whole) -> str:
            return "" if whole and not door else "it is not there"

        monkeypatch.setattr(hosted_runs._Tried, "at", -1e9)
        monkeypatch.setattr(hosted_runs, "try_sandbox", fail)
        part = Client().get("/ready").json()["parts"]["commands"]
        assert (part["state"], part["reason"]) == ("unhealthy", says)
    monkeypatch.setattr(hosted_runs._Tried, "at", -1e9)


GOOD: dict[str, Any] = {"run": ["/opt/x"]}


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ([], "must be an object"),
        ({"No!": GOOD}, "no name"),
        ({"x": []}, "must be an object with run"),
        ({"x": {}}, "x.run begins with the absolute path"),
        ({"x": {"run": ["npx"]}}, "x.run begins with the absolute path"),
        ({"x": {"run": ["/opt/../bin/sh"]}}, "x.run begins with the absolute path"),
        ({"x": {"run": ["/opt/x", 7]}}, "quotation marks"),
        ({"x": {**GOOD, "shell": True}}, "there is no 'shell'"),
        ({"x": {**GOOD, "arguments": "no"}}, "x.arguments must be true or false"),
        ({"x": {**GOOD, "network": "no"}}, "x.network must be true, false, or a list of hosts"),
        ({"x": {**GOOD, "network": []}}, "x.network must be true, false, or a list of hosts"),
        (
            {"x": {**GOOD, "network": ["https://a.example"]}},
            "x.network: 'https://a.example' is no host: leave out",
        ),
        ({"x": {**GOOD, "network": ["*"]}}, "x.network: '*' is no host"),
        ({"x": {**GOOD, "network": [f"{n}.example" for n in range(101)]}}, "x.network: at most 100 hosts"),
        ({"x": {**GOOD, "memory": 0}}, "x.memory must be a whole number from 16"),
        ({"x": {**GOOD, "folders": ["/"]}}, "x.folders holds '/'"),
        ({"x": {**GOOD, "folders": ["/srv/marina/keys"]}}, "MARINA_HOME"),
        ({"x": {**GOOD, "folders": ["/srv"]}}, "MARINA_HOME"),
        ({"x": {**GOOD, "note": "n" * 201}}, "x.note"),
    ],
)
def test_a_mistake_in_the_operators_file_is_named(listed: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_commands(listed, private=[Path("/srv/marina")])


@pytest.mark.parametrize("place", ["/usr", "/usr/local/share/marina", "/etc/ssl/private", "/lib/marina"])
def test_nothing_private_lies_where_every_command_looks(place: str) -> None:
    with pytest.raises(ValueError, match=f"{Path(place).resolve()} lies within it"):
        parse_commands({"x": GOOD}, private=[Path("/srv/marina"), Path(place).resolve()])
    assert parse_commands({}, private=[Path(place)]) == ()


def test_a_private_place_is_where_its_link_leads(tmp_path: Path) -> None:
    link = tmp_path / "home"
    link.symlink_to("/usr/share")
    with pytest.raises(ValueError, match="lies within it"):
        parse_commands({"x": GOOD}, private=[link])


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "commands.yaml"
    file.write_text("x: &a {run: [/opt/x]}")
    with pytest.raises(ValueError, match="line 1"):
        read_commands(file)
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="UTF-8"):
        read_commands(file)
