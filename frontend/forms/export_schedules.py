"""The form of a scheduled export: what, when, and which bucket it is put into."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from frontend.forms.base import ServiceForm, mono
from tenants.audit.query import OUTCOME_FILTERS
from tenants.models import ExportSchedule
from tenants.services.export_schedules import FIELDS, MAX_SECRET
from tenants.services.export_times import DAYS

FORMATS: Final = (
    ("jsonl", "JSON Lines, which can be verified"),
    ("csv", "CSV, for spreadsheets"),
    ("parquet", "Parquet, for analysis"),
)
_EVERY: Final = (("hourly", "hour"), ("daily", "day"), ("weekly", "week"), ("monthly", "month"))


class ScheduleForm(ServiceForm):
    """A scheduled export. An empty secret key leaves the stored one as it is."""

    field_of_path = {"prefix": "folder"}

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs={"placeholder": "Archive"}))
    format = forms.ChoiceField(choices=FORMATS)
    tool = forms.CharField(
        label="Only the tool", required=False, max_length=140, widget=forms.TextInput(attrs=mono())
    )
    kind = forms.CharField(
        label="Only the kind",
        required=False,
        max_length=40,
        help_text="Such as tools/call. With nothing chosen it is every record.",
        widget=forms.TextInput(attrs=mono()),
    )
    outcome = forms.ChoiceField(
        label="Only the outcome",
        required=False,
        choices=[("", "any"), *((each, each) for each in OUTCOME_FILTERS)],
    )
    every = forms.ChoiceField(choices=_EVERY, initial="daily")
    hour = forms.IntegerField(
        label="Hour (UTC)",
        min_value=0,
        max_value=23,
        initial=2,
        help_text="Of hourly ones it does not count.",
    )
    minute = forms.IntegerField(min_value=0, max_value=59, initial=0)
    weekday = forms.TypedChoiceField(
        label="Day of the week",
        coerce=int,
        choices=list(enumerate(DAYS)),
        initial=0,
        help_text="Of weekly ones.",
    )
    day = forms.IntegerField(
        label="Day of the month", min_value=1, max_value=28, initial=1, help_text="Of monthly ones, 1 to 28."
    )
    endpoint = forms.CharField(
        label="Endpoint of the storage",
        required=False,
        max_length=300,
        help_text="Empty: Amazon's, of the region.",
        widget=forms.TextInput(attrs=mono(placeholder="https://minio.example.com:9000", inputmode="url")),
    )
    region = forms.CharField(
        required=False, max_length=64, initial="us-east-1", widget=forms.TextInput(attrs=mono())
    )
    bucket = forms.CharField(max_length=63, widget=forms.TextInput(attrs=mono()))
    folder = forms.CharField(
        label="Prefix",
        required=False,
        max_length=512,
        help_text="What the names of its objects begin with, such as audit/marina.",
        widget=forms.TextInput(attrs=mono()),
    )
    access_key = forms.CharField(max_length=128, widget=forms.TextInput(attrs=mono(autocomplete="off")))
    secret_key = forms.CharField(
        label="Secret access key",
        required=False,
        max_length=MAX_SECRET,
        strip=False,
        widget=forms.PasswordInput(attrs=mono(autocomplete="new-password")),
    )
    enabled = forms.BooleanField(label="It runs", required=False, initial=True)

    def __init__(self, *args: Any, row: ExportSchedule | None = None, **kwargs: Any) -> None:
        if row is not None:
            kept = {name: getattr(row, name) for name in FIELDS}
            kwargs["initial"] = {**kept.pop("filters"), **kept, "folder": kept["prefix"]}
        super().__init__(*args, **kwargs)
        self.fields["secret_key"].help_text = (
            "Stored, and not shown. Empty: it stays; give it again for another endpoint, bucket or access key."
            if row is not None
            else "Kept sealed, and never shown again. It needs s3:PutObject and s3:AbortMultipartUpload in the bucket."
        )

    def given(self, kept: dict[str, str]) -> dict[str, Any]:
        """What was entered, as the service takes it. ``kept`` are filters that the form has no field for."""
        data = dict(self.cleaned_data)
        data["prefix"] = data.pop("folder")
        chosen = {name: data.pop(name) for name in ("tool", "kind", "outcome")}
        rest = {name: value for name, value in kept.items() if name not in chosen}
        data["filters"] = {**rest, **{name: value for name, value in chosen.items() if value}}
        return data
