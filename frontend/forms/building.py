"""Forms about what a team builds: data sources, SQL tools, servers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.http import QueryDict

from core.strictjson import BadJson, read_json
from frontend.forms.base import ServiceForm, mono
from frontend.forms.settings import TWICE, secret_choice
from frontend.forms.tools import ToolFields
from servers.services.kinds import Kind
from servers.services.sealed import REFERENCE, references_in

PARAMETER_TYPES: Final = ("string", "integer", "number", "boolean")
_NUMBERS: Final = ("row_limit", "max_bytes", "statement_timeout", "slow_query_seconds", "pool_max")
_EDITED_KEYS: Final = frozenset({"type", "description", "default", "required"})


class LinesField(forms.CharField):
    """A text of lines, without empty ones: how a browser breaks lines is no change."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False, max_length=40_000, widget=forms.Textarea(attrs=mono(rows="3")), **kwargs
        )

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


class SourceForm(ServiceForm):
    """A PostgreSQL database. Settings are always given whole: a stored password is never reused.

    ``shown`` are the stored settings that may be shown, when a source is changed. Each has a field here.
    """

    name = forms.CharField(
        max_length=64,
        help_text="Letters, digits, dots, hyphens and underscores.",
        widget=forms.TextInput(attrs=mono(placeholder="warehouse")),
    )
    dsn = forms.CharField(
        label="Connection string",
        max_length=2048,
        help_text="Use a role that may only read. It is encrypted, and never shown again.",
        widget=forms.TextInput(
            attrs=mono(placeholder="postgresql://reader:password@db.example.com:5432/sales")
        ),
    )
    schemas = forms.CharField(
        required=False,
        max_length=2000,
        help_text="Separated by spaces. Empty: every schema that the role may read.",
        widget=forms.TextInput(attrs=mono(placeholder="public")),
    )
    tables = LinesField(
        help_text="One a line, as schema.table: only these may be read. Empty: every table of the schemas."
    )
    masks = LinesField(
        label="Masked columns",
        help_text="One a line, such as public.customer.iban hidden (always NULL) or public.customer.email partial (at "
        "most the last four characters).",
    )
    functions = LinesField(
        label="Functions",
        help_text="One a line, as name or schema.name: functions of this database that queries may call, besides "
        "PostgreSQL's safe ones. Empty: none.",
    )
    allow_writes = forms.BooleanField(
        label="Allow writes",
        required=False,
        help_text="Offers execute_transaction, which runs INSERT, UPDATE, DELETE and MERGE: for it the role needs more "
        "rights. Queries never write.",
    )
    row_limit = forms.IntegerField(label="Most rows in a result", initial=1000, min_value=1)
    max_bytes = forms.IntegerField(
        label="Most bytes in a result", required=False, initial=1_048_576, min_value=1
    )
    statement_timeout = forms.FloatField(label="Time limit of a query, seconds", initial=10, min_value=0)
    slow_query_seconds = forms.FloatField(
        label="A query is slow from, seconds",
        required=False,
        initial=1,
        min_value=0,
        help_text="Slow queries are shown on the source's page, without values.",
    )
    pool_max = forms.IntegerField(
        label="Most connections, for each process", required=False, initial=4, min_value=1
    )

    def __init__(
        self,
        *args: Any,
        kind: Kind,
        shown: Mapping[str, Any] | None = None,
        offered: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._new = shown is None
        if offered:
            named = references_in(shown or {}).get("dsn")
            self.fields["dsn_secret"] = secret_choice("Connection string: a named secret", offered, named)
            self.fields["dsn"].required = False
        if shown is None:
            return
        for name in self.fields.keys() & shown.keys() - kind.secrets:
            self.fields[name].initial = _as_typed(name, shown[name])
        self.fields["dsn"].required = False
        self.fields[
            "dsn"
        ].help_text = "Leave empty to keep the stored one. To change any setting below, enter it again."

    def clean(self) -> dict[str, Any]:
        """Ask for the connection string where only other settings were changed: nothing is dropped unsaid."""
        data = super().clean() or self.cleaned_data
        if data.get("dsn_secret"):
            if data.get("dsn"):
                self.add_error("dsn_secret", TWICE)
        elif data.get("dsn") == "" and self._new:
            self.add_error("dsn", "Enter it, or choose a named secret below.")
        elif data.get("dsn") == "" and set(self.changed_data) - {self.name_field}:
            self.add_error(
                "dsn",
                "Settings below were changed, and they are stored with the connection string: enter it again, or "
                "leave them as they were.",
            )
        return data

    def settings(self) -> dict[str, Any]:
        """The settings as the kind ``postgres`` takes them. A number that was left out is as by default."""
        data = self.cleaned_data
        return {
            "dsn": {REFERENCE: data["dsn_secret"]} if data.get("dsn_secret") else data["dsn"],
            "schemas": data["schemas"].replace(",", " ").split(),
            "tables": data["tables"].splitlines(),
            "masks": _read_masks(data["masks"]),
            "functions": data["functions"].splitlines(),
            "allow_writes": data["allow_writes"],
            **{name: data[name] for name in _NUMBERS if data[name] is not None},
        }

    def replacement(self) -> dict[str, Any] | None:
        """The settings to store instead of those that are; ``None`` without a connection string, or any change."""
        if self.cleaned_data.get("dsn_secret"):
            return self.settings() if set(self.changed_data) - {self.name_field} else None
        return self.settings() if self.cleaned_data["dsn"] else None


def _as_typed(name: str, stored: Any) -> Any:
    """A stored setting as its control takes it."""
    if name == "masks":
        return "\n".join(f"{column} {how}" for column, how in stored.items())
    if isinstance(stored, list):
        return (" " if name == "schemas" else "\n").join(stored)
    return stored


def _read_masks(text: str) -> dict[str, str]:
    """Columns and how each is shown, as typed; one without a word is hidden."""
    lines = [line.partition(" ") for line in text.splitlines()]
    return {column: how or "hidden" for column, _, how in lines}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the parameter editor, as typed."""

    name: str
    type: str
    description: str
    default: str
    required: bool


class ToolForm(ToolFields):
    """A tool made of a team's own SQL. Its parameters are rows beside the form's fields."""

    field_of_path = {"definition": "sql", "parameters": "sql"}

    sql = forms.CharField(
        label="SQL",
        max_length=60_000,
        strip=False,
        help_text="One SELECT. Name parameters with a colon, like :customer.",
        widget=forms.Textarea(attrs=mono(rows="9")),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parameters = self._read_parameters()

    def _read_parameters(self) -> list[Parameter]:
        if not isinstance(self.data, QueryDict):
            return []
        columns = [
            self.data.getlist(f"parameter-{part}")
            for part in ("name", "type", "description", "default", "need")
        ]
        rows = zip(*columns, strict=False)
        return [
            Parameter(name.strip(), kind, words.strip(), default, need == "required")
            for name, kind, words, default, need in rows
            if name.strip()
        ]

    def definition(self, previous: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The definition of kind ``sql``. A default that does not fit its type is handed on as typed.

        What the editor has no control for (limits, choices) is taken over from ``previous`` where a
        parameter keeps its name and type.
        """
        before = (previous or {}).get("parameters") or {}
        parameters: dict[str, dict[str, Any]] = {}
        for row in self.parameters:
            old = before.get(row.name, {})
            entry: dict[str, Any] = {"type": row.type}
            if old.get("type") == row.type:
                entry.update({key: value for key, value in old.items() if key not in _EDITED_KEYS})
            if row.description:
                entry["description"] = row.description
            if row.default != "":
                entry["default"] = _typed(row.default, row.type)
            entry["required"] = row.required
            parameters[row.name] = entry
        return {"sql": self.cleaned_data["sql"], "parameters": parameters}


def parameters_of(definition: Mapping[str, Any]) -> list[Parameter]:
    """A stored definition's parameters as rows of the editor."""
    rows = []
    for name, entry in definition.get("parameters", {}).items():
        default = entry.get("default")
        text = "" if default is None else default if isinstance(default, str) else json.dumps(default)
        rows.append(
            Parameter(
                name=name,
                type=entry.get("type", "string"),
                description=entry.get("description", ""),
                default=text,
                required=bool(entry.get("required", "default" not in entry)),
            )
        )
    return rows


def _typed(text: str, kind: str) -> Any:
    if kind == "string":
        return text
    try:
        return read_json(text.encode("utf-8", "surrogatepass"))
    except BadJson:
        return text


class ServerForm(ServiceForm):
    name_field = "slug"

    title = forms.CharField(max_length=120, widget=forms.TextInput(attrs={"placeholder": "Sales analysts"}))
    slug = forms.CharField(
        max_length=40,
        help_text="Stands in the URL. Lower-case letters, digits and hyphens.",
        widget=forms.TextInput(attrs=mono(placeholder="sales")),
    )
    offers = forms.ChoiceField(
        label="Offers",
        choices=[("all", "Everything of this team"), ("chosen", "What comes of chosen data sources")],
        initial="all",
        widget=forms.RadioSelect,
    )
    sources = forms.MultipleChoiceField(
        label="Data sources", required=False, widget=forms.CheckboxSelectMultiple
    )
    instructions = forms.CharField(
        required=False,
        max_length=8000,
        help_text="Sent to clients when they connect: what this server is for.",
        widget=forms.Textarea(attrs={"rows": "3"}),
    )

    def __init__(self, *args: Any, sources: list[str], fixed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["sources"]
        assert isinstance(choice, forms.MultipleChoiceField)  # noqa: S101 - declared above
        choice.choices = [(name, name) for name in sources]
        if fixed:
            # A server's slug is its URL, which clients keep.
            del self.fields["slug"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("offers") == "all" and data.get("sources"):
            self.add_error(
                "offers",
                "Data sources are ticked below, yet everything is chosen here. Choose “What comes of chosen data "
                "sources”, or untick them.",
            )
        return data

    @property
    def offers_all(self) -> bool:
        """Whether the server offers everything of the team."""
        return bool(self.cleaned_data["offers"] == "all")
