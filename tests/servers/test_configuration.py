"""A team's configuration as a file: written, planned, applied, and the same again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from core.errors import Conflict, Forbidden, InvalidInput
from core.sealing import sealer
from core.strictyaml import read_yaml
from core.yamltext import write_yaml
from servers.services.configuration.changes import Plan
from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.importing import apply_configuration, plan_configuration
from servers.services.configuration.rendering import render_plan
from servers.services.sources import create_source, list_sources
from servers.services.surfaces import load_surface
from servers.services.tools import change_tool, create_tool, list_tools
from tenants.access import caller_for_key
from tenants.audit.records import decode
from tenants.models import AuditRecord, Tenant
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, make_database, make_team
from tests.farside import FarSide, far_side
from tests.servers.configuring import edited, faults, fields
from tests.wholeteam import make_airports, make_whole_team, publish_document, secrets_of

PAGE = Path(__file__).resolve().parents[2] / "docs/configuration-as-files.md"


@pytest.fixture(scope="module")
def dsn(database: None) -> str:
    return make_airports()


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        yield side


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def changes(plan: Plan) -> list[str]:
    return [f"{each.action} {each.what} {each.name}" for each in plan.changes]


def kinds_of_records(team: Team) -> list[str]:
    with tenant_scope(team.tenant_id):
        return list(AuditRecord.objects.order_by("seq").values_list("kind", flat=True))


def test_a_whole_team_comes_back_from_its_file_elsewhere(dsn: str, api: FarSide) -> None:
    team = make_whole_team(dsn, api)
    text = export_configuration(caller=team.owner)
    assert export_configuration(caller=team.owner) == text
    assert not plan_configuration(text, prune=True, caller=team.owner).changes
    other = make_team()
    plan = plan_configuration(text, secrets=secrets_of(dsn), caller=other.owner)
    assert plan.count("create") == 11 + 5 + 3 + 1 + 2
    assert {change.name for change in plan.changes if change.action == "change"} == {"default"}
    assert export_configuration(caller=other.owner) != text
    done = apply_configuration(
        text, secrets=secrets_of(dsn), fingerprint=plan.fingerprint, caller=other.owner
    )
    assert done.changes == plan.changes
    assert export_configuration(caller=other.owner) == text
    assert not plan_configuration(text, prune=True, secrets=secrets_of(dsn), caller=other.owner).changes
    for server in ("default", "public-one", "all"):
        assert surface(other, server) == surface(team, server)
    with tenant_scope(team.tenant_id):
        ids = {str(row.pk) for row in list_sources(caller=team.owner)} | {team.slug}
    assert not [each for each in ids if each in text]


def surface(team: Team, server: str) -> Any:
    """All that a server offers and how it is run, but for ids and numbers of versions."""
    found = load_surface(team.tenant_id, server, sealer())
    assert found is not None

    def told(each: Any) -> dict[str, Any]:
        values = {name: getattr(each, name) for name in each.__slots__}
        source, shared = values["source"], values.pop("shared", None)
        return {
            **{name: value for name, value in values.items() if name not in ("version", "validator")},
            "output_validator": None,
            "source": (source.name, source.kind, source.settings),
            "shared": shared and (shared.seconds, shared.collapses, shared.by_caller),
        }

    offered = [*found.tools, *found.resources, *found.templates, *found.prompts]
    return (found.title, found.instructions, found.public, [told(each) for each in offered])


def test_no_secret_is_in_a_file_nor_in_a_plan(dsn: str, api: FarSide) -> None:
    team, other = make_whole_team(dsn, api), make_team()
    text = export_configuration(caller=team.owner)
    plan = plan_configuration(text, secrets=secrets_of(dsn), caller=other.owner)
    password = dsn.split(":")[2].partition("@")[0]
    for secret in (password, "sekrit-token-1", "sekrit-token-2"):
        assert secret not in text
        assert secret not in render_plan(plan)
    assert yaml.safe_load(text)["sources"]["airports"]["settings"]["dsn"] == {"kept": True}


def test_whatever_a_team_has_it_becomes_what_the_file_says(dsn: str, api: FarSide) -> None:
    whole = read_yaml(export_configuration(caller=make_whole_team(dsn, api).owner)).value
    walker = make_team()
    for seed in range(6):
        text = write_yaml(part_of(whole, Random(seed)))
        given = {
            name: each for name, each in secrets_of(dsn).items() if name in read_yaml(text).value["sources"]
        }
        fresh = make_team()
        for caller in (fresh.owner, walker.owner):
            apply_configuration(text, prune=True, secrets=given, caller=caller)
            assert not plan_configuration(text, prune=True, caller=caller).changes
        assert export_configuration(caller=walker.owner) == export_configuration(caller=fresh.owner)
        assert surface(walker, "default") == surface(fresh, "default")


def part_of(whole: Any, chance: Random) -> Any:
    """A file of some of what this one has, nothing of it standing on what is not in it, and some of it changed."""
    part = deepcopy(whole)
    for name in list(part["sources"]):
        if chance.random() < 0.3:
            del part["sources"][name]
    for section in ("tools", "resources", "prompts"):
        for name, entry in list(part[section].items()):
            if entry["source"] not in part["sources"] or chance.random() < 0.2:
                del part[section][name]
            elif chance.random() < 0.4:
                entry["description"] = f"Changed by {chance.random()}"
    for caller, called in (("a_report", "z_airport"), ("b_report", "a_report")):
        if called not in part["tools"]:
            part["tools"].pop(caller, None)
    for entry in part["servers"].values():
        if entry["sources"] != "all":
            entry["sources"] = [name for name in entry["sources"] if name in part["sources"]]
    return part


def test_a_change_is_told_field_by_field_and_only_what_differs_is_made_anew(dsn: str, api: FarSide) -> None:
    team = make_whole_team(dsn, api)

    def change(value: Any) -> None:
        value["tools"]["z_airport"]["definition"]["sql"] = "SELECT iata\nFROM airport\nWHERE iata = :code\n"
        value["tools"]["get_order"]["enabled"] = False
        value["sources"]["toolkit"]["brought"]["tools"] = {"parse_csv": {"title": "CSV"}}
        value["servers"]["all"]["sources"] = ["flows"]
        value["resources"]["notes://welcome"] |= {"text": "Bye.", "title": None}
        del value["resources"]["notes://welcome"]["title"]
        value["prompts"]["greet"]["messages"][0]["text"] = "Hail {{who}}."

    text = edited(team, change)
    plan = plan_configuration(text, caller=team.owner)
    told = fields(plan)
    assert told["get_order:enabled"] == (None, False)
    assert told["toolkit:brought.tools.calculate.enabled"] == (False, None)
    assert told["toolkit:brought.tools.parse_csv.title"] == (None, "CSV")
    assert told["all:sources"] == ("all", ["flows"])
    assert told["notes://welcome:title"] == ("Hi", None)
    assert {change.name for change in plan.changes} == {
        "z_airport", "get_order", "toolkit", "all", "notes://welcome", "greet",
    }  # fmt: skip
    lines = render_plan(plan).splitlines()
    assert "~ tool z_airport" in lines
    assert "        -SELECT name" in lines
    assert "        +SELECT iata" in lines
    assert lines[-1] == "0 to create, 6 to change, 0 to delete."
    apply_configuration(text, fingerprint=plan.fingerprint, caller=team.owner)
    assert not plan_configuration(text, caller=team.owner).changes
    versions = {tool.name: tool.current.number for tool in list_tools(caller=team.owner) if tool.current}
    assert (versions["z_airport"], versions["get_order"], versions["a_report"]) == (2, 1, 1)


def test_a_plan_leaves_no_trace(team: Team) -> None:
    before, version = kinds_of_records(team), team_version(team)
    plan = plan_configuration(TOOLKIT, caller=team.owner)
    assert changes(plan) == ["create source kit"]
    assert "Brings 8 tools: aggregate_data" in plan.changes[0].notes[0]
    assert kinds_of_records(team) == before
    assert team_version(team) == version
    assert not list_sources(caller=team.owner)


def team_version(team: Team) -> int:
    return Tenant.objects.get(pk=team.tenant_id).surface_version


TOOLKIT = "marina: 1\nsources:\n  kit:\n    kind: toolkit\n"


def test_every_change_is_recorded_and_the_whole_after_them(team: Team) -> None:
    before = kinds_of_records(team)
    apply_configuration(TOOLKIT, caller=team.owner)
    assert kinds_of_records(team)[len(before) :] == ["source.created", "configuration.applied"]
    with tenant_scope(team.tenant_id):
        row = AuditRecord.objects.order_by("-seq")[0]
    body = decode(bytes(row.body))
    assert body["actor"] == team.owner.actor
    after = body["arguments"]["after"]
    assert {key: after[key] for key in ("created", "changed", "deleted", "prune")} == {
        "created": 1, "changed": 0, "deleted": 0, "prune": False,
    }  # fmt: skip
    assert len(after["file_sha256"]) == 64
    apply_configuration(TOOLKIT, caller=team.owner)
    assert kinds_of_records(team)[-1] == "configuration.applied"
    assert len(kinds_of_records(team)) == len(before) + 2


def test_faults_are_told_with_their_lines_and_nothing_is_changed(dsn: str, team: Team) -> None:
    text = f"""\
marina: 1
sources:
  base:
    kind: postgres
    settings:
      dsn: {dsn}
      tables: [public.airport, nowhere]
  kit:
    kind: toolkit
  flows:
    kind: flows
tools:
  on_base:
    source: base
    kind: sql
    definition: {{sql: SELECT 1}}
  bad:
    source: flows
    kind: pipeline
    definition:
      steps:
      - tool: calculate
      - tool: absent
  on_bad:
    source: flows
    kind: pipeline
    definition:
      steps: [{{tool: bad}}]
  lost:
    source: nowhere
    kind: sql
    definition: {{}}
resources:
  not a uri:
    source: kit
servers:
  Big:
    title: Big
    sources: [kit]
  fine:
    title: "  "
    sources: [kit, none]
"""
    found = faults(text, team.owner)
    assert {path: message.partition(":")[0] for path, message in found.items()} == {
        "sources.base.settings.tables.1": "Line 7",
        "tools.bad.definition.steps[0].args.expression": "Line 22",
        "tools.bad.definition.steps[1].tool": "Line 23",
        "tools.lost.source": "Line 30",
        "resources.not a uri": "Line 34",
        "servers.Big.slug": "Line 37",
        "servers.fine.sources.1": "Line 42",
    }
    assert not list_sources(caller=team.owner)
    assert "configuration.applied" not in kinds_of_records(team)


SHAPES = {
    "": "Line 1: this is no configuration",
    "[]": "Line 1: this is no configuration",
    "a: 1": "Line 1: this is no configuration",
    '{"marina": 1, "servers": {"a": {"title": "\\ud83d\\ude00", "x": 1}}}': "Line 1: is not known here",
    "marina: 2": "Line 1: this Marina reads version 1.",
    "marina: true": "Line 1: this Marina reads version 1.",
    "marina: 1\nmarina: 1": "Line 2: marina stands here twice",
    "marina: 1\nsources: &a {}\ntools: *a": "Line 2: &a: anchors and aliases are not read",
    "marina: 1\nsources: !!python/name:os.system {}": "Line 2: tag:yaml.org,2002:python/name:os.system",
    "marina: 1\nmembers: {}": "Line 2: is not known here",
    "marina: 1\nsources: []": "Line 2: must be of type object, not array",
    "marina: 1\nsources:\n  a:\n    settings: {}": "Line 3: is required, but missing",
    "marina: 1\nsources:\n  a:\n    kind: postgres\n    settings:": "Line 5: must be of type object, not null",
    "marina: 1\nservers:\n  a: {title: A, sources: everything}": "Line 3: ",
    "marina: 1\nservers:\n  a: {title: A, access: open}": 'Line 3: must be one of: "private", "public"',
    "marina: 1\nsources:\n  a: {kind: oracle}": "Line 3: is not known. Choose one of:",
    "marina: 1\nsources:\n  a:\n    kind: toolkit\n    prefix: a__\n    settings: {x: 1}": "Line 6: ",
    "marina: 1\nsources:\n  a:\n    kind: toolkit\n    prefix: a/": "Line 5: must be 1 to 64 letters",
    "marina: 1\nsources:\n  a:\n    kind: toolkit\n    brought: {tools: {b: {}}}": "Line 5: the data source brings no",
    "marina: 1\nsources:\n  a/b: {kind: toolkit}": "Line 3: must be 1 to 64 letters",
}


@pytest.mark.parametrize("text", SHAPES)
def test_what_is_not_in_the_form_of_a_file_is_refused_with_its_line(team: Team, text: str) -> None:
    found = faults(text, team.owner)
    assert any(SHAPES[text] in message for message in found.values()), found


def test_a_file_that_is_too_large_is_refused(team: Team) -> None:
    with pytest.raises(InvalidInput, match="at most 8388608 are read"):
        plan_configuration(b"marina: 1 #" + b"x" * (8 * 1024 * 1024), caller=team.owner)


def test_a_section_that_is_not_in_the_file_is_left_alone_and_nothing_goes_without_prune(
    dsn: str, api: FarSide
) -> None:
    team = make_whole_team(dsn, api)
    assert not plan_configuration("marina: 1", prune=True, caller=team.owner).changes
    assert not plan_configuration("marina: 1\ntools: {}\nservers: {}", caller=team.owner).changes
    plan = plan_configuration("marina: 1\ntools: {}\nservers: {}", prune=True, caller=team.owner)
    assert plan.count("delete") == len(plan.changes) == 5 + 2
    found = faults("marina: 1\nsources: {}", team.owner, prune=True)
    assert "is offered by the servers default, public-one" in found["sources.airports"]
    everything = "marina: 1\nsources:\ntools:\nresources:\nprompts:\nservers:\n  default: {title: Empty}\n"
    apply_configuration(everything, prune=True, caller=team.owner)
    assert not list_sources(caller=team.owner)
    assert not list_tools(caller=team.owner)
    assert export_configuration(caller=team.owner).endswith(
        "sources: {}\ntools: {}\nresources: {}\nprompts: {}\n"
        "servers:\n  default:\n    title: Empty\n    access: private\n    sources: all\n"
    )


def test_what_cannot_be_changed_is_said(dsn: str, api: FarSide) -> None:
    team = make_whole_team(dsn, api)

    def move(value: Any) -> None:
        value["sources"]["toolkit"]["kind"] = "code"
        value["sources"]["Zweite"]["prefix"] = "other_"
        value["tools"]["z_airport"]["source"] = "Zweite"
        value["resources"]["notes://dot"]["source"] = "shelf"

    found = faults(edited(team, move), team.owner)
    assert set(found) == {
        "sources.toolkit.kind", "sources.Zweite.prefix", "tools.z_airport.source",
        "resources.notes://dot.source",
    }  # fmt: skip
    assert "it is airports in the team, which cannot be changed" in found["tools.z_airport.source"]


def test_rights_hold_and_a_narrowed_key_has_no_whole(team: Team) -> None:
    public = "marina: 1\nservers:\n  open: {title: Open, access: public}\n"
    editor, viewer = team.member(Role.EDITOR), team.member(Role.VIEWER)
    with pytest.raises(Forbidden, match="Your role editor"):
        plan_configuration(public, caller=editor)
    with pytest.raises(Forbidden, match="Your role editor"):
        apply_configuration(public, caller=editor)
    assert changes(plan_configuration(public, caller=team.owner)) == ["create server open"]
    with pytest.raises(Forbidden):
        plan_configuration(TOOLKIT, caller=viewer)
    assert export_configuration(caller=viewer).startswith("# The configuration of a team")
    with pytest.raises(Forbidden):
        export_configuration(caller=team.member(Role.AUDITOR))
    narrow = caller_for_key(team.key("tools:read", "server:default"))
    for attempt in (export_configuration, partial(plan_configuration, "")):
        with pytest.raises(Forbidden, match="of the whole team"):
            attempt(caller=narrow)


def test_a_plan_that_moved_on_is_not_applied(team: Team) -> None:
    plan = plan_configuration(TOOLKIT, caller=team.owner)
    create_source("kit", "code", {}, caller=team.owner)
    with pytest.raises(InvalidInput):
        apply_configuration(TOOLKIT, fingerprint=plan.fingerprint, caller=team.owner)
    other = "marina: 1\nsources:\n  kat:\n    kind: toolkit\n"
    with pytest.raises(Conflict, match="another one by now"):
        apply_configuration(other, fingerprint=plan.fingerprint, caller=team.owner)
    assert [row.name for row in list_sources(caller=team.owner)] == ["kit"]


def test_a_document_is_fetched_only_where_it_matters(api: FarSide, team: Team) -> None:
    publish_document(api)
    text = f"marina: 1\nsources:\n  shop:\n    kind: http\n    settings:\n      openapi: {api.origin}/openapi.json\n"
    apply_configuration(text, caller=team.owner)
    assert not plan_configuration(text, caller=team.owner).changes
    asked = len(api.asked)
    assert not plan_configuration(export_configuration(caller=team.owner), caller=team.owner).changes
    assert len(api.asked) == asked
    plan = plan_configuration(f"{text}      allow_writes: true\n", caller=team.owner)
    assert plan.changes[0].notes == [
        "Brings 3 tools: login_token_post, update_item_items__item_id__put, upload_files_post."
    ]


def test_one_name_for_own_and_brought_is_a_fault_with_a_place(team: Team) -> None:
    create_source("kit", "toolkit", {}, caller=team.owner)
    create_source("snippets", "code", {}, caller=team.owner)
    create_tool("mine", "snippets", "python", {"code": "1"}, caller=team.owner)

    def take(value: Any) -> None:
        value["tools"]["calculate"] = value["tools"].pop("mine")

    found = faults(edited(team, take), team.owner)
    assert "A tool called calculate exists already" in found["tools.calculate"]


def test_the_examples_of_the_documentation_apply(team: Team) -> None:
    file, secrets = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    dsn = make_database("CREATE TABLE flight (code text)")
    given = read_yaml(secrets).value
    assert given.keys() == {"flights"}
    assert given["flights"].keys() == {"dsn"}
    value = read_yaml(file).value
    pilots = value["servers"].pop("pilots")
    apply_configuration(write_yaml(value), secrets={"flights": {"dsn": dsn}}, caller=team.owner)
    value["servers"]["pilots"] = pilots
    value["tools"]["find_flight"]["definition"]["sql"] += "LIMIT 5\n"
    plan = plan_configuration(write_yaml(value), caller=team.owner)
    assert f"```\n{render_plan(plan)}\n```" in PAGE.read_text()
    apply_configuration(file, prune=True, caller=team.owner)
    assert not plan_configuration(file, prune=True, caller=team.owner).changes


def test_drafts_stay_out_of_files_and_are_not_pruned(team: Team) -> None:
    create_source("snippets", "code", {}, caller=team.owner)
    made = create_tool("mine", "snippets", "python", {"code": "1"}, caller=team.owner)
    create_tool("draft", "snippets", "python", {"code": "2"}, caller=team.owner, draft=True)
    change_tool(made.pk, definition={"code": "3"}, draft=True, caller=team.owner)
    text = export_configuration(caller=team.owner)
    tools = read_yaml(text).value["tools"]
    assert {name: entry["definition"]["code"] for name, entry in tools.items()} == {"mine": "1"}
    assert not plan_configuration(text, prune=True, caller=team.owner).changes
