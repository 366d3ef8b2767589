"""``manage.py export`` and ``import``: what they print, write and exit with, as a build sees it."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.form import SCHEMA
from servers.services.configuration.importing import apply_configuration
from servers.services.sources import list_sources
from tenants.audit.records import decode
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of, make_database, make_team
from tests.farside import far_side
from tests.servers.changing import Changing

DOCUMENTED = Path(__file__).resolve().parents[2] / "docs/configuration.schema.json"
GUIDE = DOCUMENTED.with_name("configuration-as-files.md")
FILE = "marina: 1\nsources:\n  kit:\n    kind: toolkit\n"
HTTP = "marina: 1\nsources:\n  api:\n    kind: http\n    settings: {auth: bearer, token: {kept: true}, base_url: 'https://a.example'}\n"


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def run(command: str, *words: object, **options: Any) -> tuple[int, str]:
    """The exit code and what was printed."""
    out = io.StringIO()
    try:
        call_command(command, *map(str, words), stdout=out, **options)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def actors(team: Team, kind: str) -> list[str]:
    with tenant_scope(team.tenant_id):
        return [decode(bytes(row.body))["actor"] for row in AuditRecord.objects.filter(kind=kind)]


def test_a_build_sees_by_the_exit_code_whether_there_is_anything_to_do(team: Team, tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(FILE)
    code, told = run("import", "--tenant", team.slug, file, "--plan")
    assert code == 2
    assert told.startswith("+ source kit\n")
    assert told.endswith("1 to create, 0 to change, 0 to delete.\n")
    assert not list_sources(caller=team.owner)
    code, told = run("import", "--tenant", team.slug, file, "--yes")
    assert (code, told.splitlines()[-1]) == (0, "Applied: 1 created, 0 changed, 0 deleted.")
    assert run("import", "--tenant", team.slug, file, "--plan") == (
        0,
        "Nothing to do: the team is as the file says.\n",
    )
    assert actors(team, "configuration.applied") == ["operator"]


def test_faults_end_it_with_their_lines(team: Team, tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(FILE + "tools:\n  a: {source: kit, kind: sql, definition: {}}\n  b: {}\n")
    with pytest.raises(CommandError) as caught:
        run("import", "--tenant", team.slug, file, "--plan")
    assert caught.value.returncode == 1
    assert "\n  tools.b.source: Line 7: is required, but missing." in str(caught.value)
    for words, says in (
        (["--tenant", "no-such-team", file], "There is no team 'no-such-team'"),
        (["--tenant", team.slug, tmp_path / "absent"], "cannot be read: No such file"),
        (["--tenant", team.slug, file, "--as", "nobody@example.com"], "There is no account"),
        (["--tenant", team.slug, file, "--as", make_team().owner_email], "not a member of it"),
    ):
        with pytest.raises(CommandError, match=says):
            run("import", *words)


def test_without_a_terminal_it_asks_for_yes(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(FILE)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="say --yes"):
        run("import", "--tenant", team.slug, file)
    assert not list_sources(caller=team.owner)


def test_a_named_member_acts_with_their_own_rights(team: Team, tmp_path: Path) -> None:
    file = tmp_path / "team.yaml"
    file.write_text(FILE)
    viewer, editor = email_of(team.member(Role.VIEWER)), email_of(team.member(Role.EDITOR))
    with pytest.raises(CommandError, match="Your role viewer does not allow this"):
        run("import", "--tenant", team.slug, file, "--yes", "--as", viewer)
    run("import", "--tenant", team.slug, file, "--yes", "--as", editor.upper())
    assert actors(team, "source.created") == [f"user:{editor}"]


def test_secrets_come_of_a_file_of_their_own(team: Team, tmp_path: Path) -> None:
    file, secrets = tmp_path / "team.yaml", tmp_path / "secrets.yaml"
    file.write_text(HTTP)
    secrets.write_text("api:\n  token: sekrit-1\n")
    with pytest.raises(CommandError, match="Give it with the file"):
        run("import", "--tenant", team.slug, file, "--yes")
    _, told = run("import", "--tenant", team.slug, file, "--yes", "--secrets", secrets)
    assert "+ settings.token: (as given)" in told
    assert "sekrit" not in told
    assert run("import", "--tenant", team.slug, file, "--plan", "--secrets", secrets)[0] == 0
    secrets.write_text("api: {token: sekrit-2, token: x}\n")
    with pytest.raises(CommandError, match="--secrets: line 1 is not YAML") as caught:
        run("import", "--tenant", team.slug, file, "--plan", "--secrets", secrets)
    assert "sekrit" not in str(caught.value)


def test_an_export_is_the_file_and_nothing_else(team: Team, tmp_path: Path) -> None:
    _, told = run("export", "--tenant", team.slug)
    assert told == export_configuration(caller=team.owner)
    output = tmp_path / "out.yaml"
    assert run("export", "--tenant", team.slug, "-o", output) == (0, "")
    assert output.read_text() == told
    assert run("import", "--tenant", team.slug, output, "--plan", "--prune")[0] == 0
    with pytest.raises(CommandError, match="There is no team"):
        run("export", "--tenant", "no-such-team")


def test_the_schema_is_the_one_of_the_documentation() -> None:
    assert json.loads(run("export", "--schema")[1]) == SCHEMA
    assert DOCUMENTED.read_text() == run("export", "--schema")[1]


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_the_commands_of_the_guide_do_what_it_says(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = GUIDE.read_text(encoding="utf-8")
    commands = [
        shlex.split(line, comments=True)
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
    ]
    file, secrets = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    [listed] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    dsn = make_database("CREATE TABLE flight (code text)")
    sealed = re.sub(r"(dsn: ).*", lambda found: f"{found[1]}{dsn}", secrets)
    apply_configuration(file, secrets={"flights": {"dsn": dsn}}, caller=team.owner)

    def do(*expected: str) -> tuple[int, str]:
        """The next command, which is to be this one, in the team of this test."""
        python, script, *words = commands.pop(0)
        assert (python, script, words) == ("python", "manage.py", [*expected])
        return run(*[team.slug if word == "demo" else str(Path(word).expanduser()) for word in words])

    assert do("export", "--tenant", "demo", "-o", "demo.yaml") == (0, "")
    assert Path("demo.yaml").read_text() == export_configuration(caller=team.owner)
    Path("demo.yaml").write_text(file.replace("text: Good morning.", "text: Good evening."))
    assert do("import", "--tenant", "demo", "demo.yaml", "--plan")[0] == 2
    code, told = do("import", "--tenant", "demo", "demo.yaml")
    assert (code, told.splitlines()[-1]) == (0, "Applied: 0 created, 1 changed, 0 deleted.")
    Path("demo.yaml").write_text(file.replace("row_limit: 200", "row_limit: 100"))
    Path("secrets.yaml").write_text(sealed)
    code, told = do("import", "--tenant", "demo", "demo.yaml", "--secrets", "secrets.yaml", "--yes")
    assert (code, told.splitlines()[-1]) == (0, "Applied: 0 created, 2 changed, 0 deleted.")
    with far_side() as side:
        clients = tmp_path / ".cursor" / "mcp.json"
        clients.parent.mkdir()
        clients.write_text(
            listed.replace("https://mcp.example.com/mcp", Changing(side).url).replace("…", "t0ken")
        )
        code, told = do("import", "--tenant", "demo", "~/.cursor/mcp.json", "--plan")
        assert {asked.headers["authorization"] for asked in side.asked} == {"Bearer t0ken"}
    assert code == 2
    assert "+ source issues\n" in told
    assert (
        "files (line 3) is left out: it starts a command, and the operator allows none like it here." in told
    )
    assert "t0ken" not in told
    assert not commands
