"""Forms about streams of the log: where one goes and what it gets, by its kind; and the roll of a secret."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from frontend.forms.base import ServiceForm, mono
from tenants.audit.query import OUTCOME_FILTERS, UNKNOWN
from tenants.models import LogStream
from tenants.services.stream_settings import (
    MAX_AUTHORITIES,
    MAX_URL,
    SYSLOG_PORT,
    shown_settings,
)
from tenants.streams.syslog import ENDS, EXAMPLE_ID

KIND_WORDS: Final = {
    "webhook": "JSON over HTTPS, signed. For SIEMs with an HTTP collector, and for programs of your own.",
    "syslog": "RFC 5424 over TLS. For rsyslog, syslog-ng, Splunk Connect, QRadar and their like.",
    "otlp": "OpenTelemetry logs over HTTPS. For collectors, and for what speaks OTLP itself.",
}
OVERLAPS: Final = ((0, "At once"), (1, "After an hour"), (24, "After a day"), (168, "After a week"))
ENDS_WORDS: Final = (
    (ENDS[0], "Its close_notify (TLS)"),
    (ENDS[1], "The end of the connection"),
)
NO_HEADERS: Final = "-"

_FILTERS: Final = ("tool", "outcome", "kind", "member", "credential_id", "text")


class StreamForm(ServiceForm):
    """What every stream has: a name, and filters. ``begin`` is for a new one."""

    field_of_path = {name: f"filter_{name}" for name in _FILTERS}

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs={"placeholder": "SIEM"}))
    filter_tool = forms.CharField(
        label="Only this tool", required=False, max_length=140, widget=forms.TextInput(attrs=mono())
    )
    filter_outcome = forms.ChoiceField(
        label="Only this outcome",
        required=False,
        choices=[("", "any"), *((name, name) for name in OUTCOME_FILTERS if name != UNKNOWN)],
    )
    filter_kind = forms.CharField(
        label="Only this kind of record", required=False, max_length=40, widget=forms.TextInput(attrs=mono())
    )
    filter_member = forms.CharField(
        label="Only of this member",
        required=False,
        max_length=200,
        help_text="An e-mail address: what the person did, and what apps did for them.",
    )
    filter_credential_id = forms.CharField(
        label="Only this credential",
        required=False,
        max_length=36,
        help_text="The id of an API key or connected app.",
        widget=forms.TextInput(attrs=mono()),
    )
    filter_text = forms.CharField(label="Only records that contain", required=False, max_length=200)
    begin = forms.IntegerField(
        label="Begin with record number",
        required=False,
        min_value=1,
        help_text="Empty: whatever comes from now on. 1: the whole log.",
        widget=forms.NumberInput(attrs=mono()),
    )

    def __init__(self, *args: Any, row: LogStream | None = None, **kwargs: Any) -> None:
        if row is not None:
            kwargs.setdefault("initial", entered(row))
        super().__init__(*args, **kwargs)
        if row is not None:
            del self.fields["begin"]
        first = [name for name in self.fields if name != "begin" and not name.startswith("filter_")]
        self.order_fields(first)

    def given(self) -> dict[str, Any]:
        """What was entered, as the service takes it."""
        data = dict(self.cleaned_data)
        data.pop("begin", None)
        filters = {name: data.pop(f"filter_{name}") for name in _FILTERS}
        return {**data, "filters": {name: value for name, value in filters.items() if value}}


class HttpStreamForm(StreamForm):
    """A webhook, or a receiver of OTLP. No headers leave the stored ones as they are."""

    url = forms.CharField(
        label="Address",
        max_length=MAX_URL,
        help_text="https. A query is kept sealed and shown as ?…; the path is shown to everybody who may see the log.",
        widget=forms.TextInput(attrs=mono(placeholder="https://siem.example.com/marina", inputmode="url")),
    )
    headers = forms.CharField(
        required=False,
        max_length=20_000,
        strip=False,
        widget=forms.Textarea(attrs=mono(rows="3", placeholder="Authorization: Bearer …")),
    )

    def __init__(self, *args: Any, row: LogStream | None = None, **kwargs: Any) -> None:
        super().__init__(*args, row=row, **kwargs)
        stored = row.settings.get("headers") if row is not None else None
        self.fields["headers"].help_text = (
            f"Stored: {', '.join(stored)}. Empty: they stay; a single {NO_HEADERS} takes them away. "
            "Give them again for another host."
            if stored
            else "A line each. Kept sealed, and never shown again."
        )

    def given(self) -> dict[str, Any]:
        data = super().given()
        text = data.pop("headers").strip()
        if text == NO_HEADERS:
            data["headers"] = {}
        elif text:
            parts = [line.partition(":") for line in text.splitlines() if line.strip()]
            data["headers"] = {name.strip(): value.strip() for name, _, value in parts}
        return data


class SyslogStreamForm(StreamForm):
    """A receiver of syslog over TLS."""

    host = forms.CharField(max_length=253, widget=forms.TextInput(attrs=mono(placeholder="logs.example.com")))
    port = forms.IntegerField(
        min_value=1, max_value=65_535, initial=SYSLOG_PORT, widget=forms.NumberInput(attrs=mono())
    )
    server_name = forms.CharField(
        label="Name in its certificate",
        required=False,
        max_length=253,
        help_text="Empty: the host.",
        widget=forms.TextInput(attrs=mono()),
    )
    authorities = forms.CharField(
        label="Certificates of its authority",
        required=False,
        max_length=MAX_AUTHORITIES,
        help_text="PEM, believed in place of the public ones. Empty: the public ones.",
        widget=forms.Textarea(attrs=mono(rows="4", placeholder="-----BEGIN CERTIFICATE-----")),
    )
    sd_id = forms.CharField(
        label="SD-ID of the structured data",
        max_length=32,
        initial=EXAMPLE_ID,
        help_text="32473 is the number kept for examples; put your enterprise number there if you have one.",
        widget=forms.TextInput(attrs=mono()),
    )
    ends = forms.ChoiceField(
        label="A batch was taken when there is (ends)",
        choices=ENDS_WORDS,
        initial=ENDS[0],
        help_text="rsyslog closes without close_notify with its gtls driver, and with one with ossl.",
    )


class RollForm(ServiceForm):
    """Until when the old secret of a webhook signs, too."""

    overlap_hours = forms.TypedChoiceField(
        label="The old secret stops signing", choices=OVERLAPS, coerce=int, initial=24
    )


def form_of(kind: str) -> type[StreamForm]:
    """The form of a kind of stream."""
    return SyslogStreamForm if kind == LogStream.Kind.SYSLOG else HttpStreamForm


def entered(row: LogStream) -> dict[str, Any]:
    """A stored stream as its form shows it: without its headers."""
    filters = {f"filter_{name}": value for name, value in row.filters.items()}
    return {"name": row.name, **shown_settings(row), "headers": "", **filters}
