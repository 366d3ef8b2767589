"""What forms make of what was typed, without a database."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.http import QueryDict

from core.errors import Conflict, InvalidInput, SourceError
from frontend.arguments import argument_fields
from frontend.forms.building import ServerForm, SourceForm, ToolForm, parameters_of
from frontend.templatetags.marina import changed, duration, failure, who
from servers.execution.backends.postgres.settings import SETTINGS_SCHEMA
from servers.services.kinds import Kind

POSTGRES = Kind("postgres", "PostgreSQL", {"properties": {}}, frozenset())
FIELDS = {"name": "x", "dsn": "y", "row_limit": "1", "statement_timeout": "5"}


def tool_form(**fields: object) -> ToolForm:
    data = QueryDict(mutable=True)
    for name, value in {"name": "t", "source": "db", "sql": "SELECT :a", **fields}.items():
        data.setlist(name, [str(each) for each in value] if isinstance(value, list) else [str(value)])
    form = ToolForm(data, sources=["db"])
    assert form.is_valid(), form.errors
    return form


def parameter(**columns: str) -> dict[str, object]:
    row = {"name": "a", "type": "string", "description": "", "default": "", "need": "required", **columns}
    return {f"parameter-{name}": [value] for name, value in row.items()}


def test_parameters_become_a_definition() -> None:
    form = tool_form(**parameter(type="integer", default="5", need="optional", description="How many"))
    assert form.definition()["parameters"] == {
        "a": {"type": "integer", "description": "How many", "default": 5, "required": False}
    }


def test_an_optional_parameter_without_default_is_said_to_be_optional() -> None:
    assert tool_form(**parameter(need="optional")).definition()["parameters"]["a"]["required"] is False


def test_a_default_that_does_not_fit_is_handed_on_for_the_service_to_refuse() -> None:
    assert (
        tool_form(**parameter(type="number", default="much")).definition()["parameters"]["a"]["default"]
        == "much"
    )


def test_what_the_editor_cannot_show_survives_an_edit() -> None:
    before = {"sql": "SELECT :a", "parameters": {"a": {"type": "integer", "maximum": 9, "enum": [1, 2]}}}
    [row] = parameters_of(before)
    form = tool_form(**parameter(type=row.type, need="required" if row.required else "optional"))
    assert form.definition(before)["parameters"]["a"] == {
        "type": "integer",
        "maximum": 9,
        "enum": [1, 2],
        "required": True,
    }


def test_a_services_faults_stand_beside_their_fields() -> None:
    form = SourceForm(FIELDS, kind=POSTGRES)
    assert form.is_valid()
    form.refuse(
        InvalidInput(
            "no",
            errors=[
                {"path": "settings.dsn", "message": "names no host"},
                {"path": "/other", "message": "odd"},
            ],
        )
    )
    assert form.errors["dsn"] == ["Names no host"]
    assert form.non_field_errors() == ["/other: odd"]


def test_tables_and_masks_are_lines_and_their_breaks_are_no_change() -> None:
    shown = {"tables": ["a.b", "a.c"], "masks": {"a.b.c": "hidden", "a.b.d": "partial"}}
    fields = {**FIELDS, "tables": "a.b\r\n\r\n a.c ", "masks": "a.b.c hidden\r\na.b.d  partial"}
    kind = replace(POSTGRES, schema={"properties": {"tables": {}, "masks": {}}})
    form = SourceForm(fields, kind=kind, shown=shown)
    assert form.is_valid()
    assert not {"tables", "masks"} & set(form.changed_data)
    assert {name: form.settings()[name] for name in shown} == shown
    bare = SourceForm({**FIELDS, "masks": "a.b.c"}, kind=POSTGRES)
    assert bare.is_valid()
    assert (bare.settings()["masks"], bare.settings()["tables"]) == ({"a.b.c": "hidden"}, [])


def test_the_form_of_postgresql_has_each_of_its_settings() -> None:
    names = set(SETTINGS_SCHEMA["properties"])
    form = SourceForm({**FIELDS, "functions": "similarity\r\nshop.net "}, kind=POSTGRES)
    assert form.is_valid(), form.errors
    assert names <= set(form.fields)
    assert form.settings()["functions"] == ["similarity", "shop.net"]
    defaults = {
        name: rule["default"] for name, rule in SETTINGS_SCHEMA["properties"].items() if "default" in rule
    }
    assert {name: form.fields[name].initial or False for name in defaults} == defaults
    numbers = {"max_bytes": "2048", "slow_query_seconds": "0.2", "pool_max": "7"}
    given = SourceForm({**FIELDS, **numbers}, kind=POSTGRES)
    assert given.is_valid(), given.errors
    assert set(given.settings()) == names
    assert {name: given.settings()[name] for name in numbers} == {
        "max_bytes": 2048,
        "slow_query_seconds": 0.2,
        "pool_max": 7,
    }


def test_a_taken_name_stands_beside_the_name() -> None:
    form = SourceForm(FIELDS, kind=POSTGRES)
    assert form.is_valid()
    form.refuse(Conflict("There is one already.", code="name_taken"))
    assert form.errors["name"] == ["There is one already."]


def test_arguments_get_the_control_of_their_type() -> None:
    schema = {
        "type": "object",
        "required": ["sql"],
        "properties": {
            "sql": {"type": "string"},
            "limit": {"type": ["integer", "null"], "default": 10},
            "order": {"enum": ["up", "down"], "type": "string"},
            "tags": {"type": "array"},
            "deep": {"type": "boolean", "default": False},
        },
    }
    fields = {field.name: field for field in argument_fields(schema)}
    assert fields["sql"].required
    assert fields["sql"].long
    assert (fields["limit"].type, fields["limit"].default) == ("integer", "10")
    assert fields["order"].choices == ("up", "down")
    assert fields["tags"].type == "json"
    assert fields["deep"].default == "false"


@pytest.mark.parametrize("schema", [{}, {"properties": []}, {"properties": {"a": True}}])
def test_a_schema_without_properties_gives_no_controls(schema: dict[str, object]) -> None:
    assert argument_fields(schema) == []


@pytest.mark.parametrize(
    ("microseconds", "words"),
    [(None, "-"), (145, "145 µs"), (1_234, "1.2 ms"), (328_000, "328 ms"), (2_500_000, "2.50 s")],
)
def test_durations_are_short(microseconds: int | None, words: str) -> None:
    assert duration(microseconds) == words


@pytest.mark.parametrize(
    ("actor", "words"),
    [
        ("user:a@b.c", "a@b.c"),
        ("key:CI (prod) (mcp_live_12)", "CI (prod)"),
        ("anonymous", "anonymous"),
        ("", ""),
    ],
)
def test_actors_are_shown_by_name(actor: str, words: str) -> None:
    assert who(actor) == words


def test_every_tool_and_chosen_sources_at_once_is_a_contradiction() -> None:
    fields = {"title": "S", "slug": "s", "offers": "all", "sources": ["db"]}
    form = ServerForm(fields, sources=["db"])
    assert not form.is_valid()
    assert "untick them" in form.errors["offers"][0]
    assert ServerForm({**fields, "offers": "chosen"}, sources=["db"]).is_valid()
    assert ServerForm({**fields, "sources": []}, sources=["db"]).is_valid()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (None, ""),
        ({"after": {"id": "1", "name": "laptop"}}, "laptop"),
        ({"before": {"name": "old"}, "after": {"name": "new"}}, "old → new"),
        ({"after": {"email": "a@b.c", "role": "viewer"}}, "a@b.c as viewer"),
        (
            {"before": {"email": "a@b.c", "role": "viewer"}, "after": {"email": "a@b.c", "role": "admin"}},
            "a@b.c: viewer → admin",
        ),
        ({"before": {"email": "a@b.c", "role": "viewer"}}, "a@b.c"),
        ({"after": {"slug": "sales", "title": "Sales"}}, "sales"),
        ({"after": "cut"}, ""),
    ],
)
def test_a_change_names_what_it_changed(arguments: dict[str, object] | None, words: str) -> None:
    assert changed(SimpleNamespace(arguments=arguments)) == words  # type: ignore[arg-type]


def test_a_failure_is_called_by_its_code() -> None:
    assert failure(SourceError("no", code="query_refused")) == "Refused by a rule"
    assert failure(SourceError("no", code="query_invalid")) == "The query is wrong"
    assert failure(SourceError("no", code="source_odd")) == SourceError.title
