"""The form of a schedule of a tool: which, with what, when, as whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from django import forms

from core.crontimes import zones
from frontend.forms.base import ObjectField, ServiceForm, mono
from frontend.forms.running import PRIORITY_WORDS
from servers.services.tool_schedules import ScheduleView
from tenants.models import ApiKey

_OVERLAP: Final = (("skip", "It is skipped"), ("queue", "It waits for the end of that one"))
_MISSED: Final = (("once", "One run makes up for them"), ("skip", "They are left out"))
_KEPT: Final = "Empty: they stay as they are. What looks like a secret in them is not shown."


class ToolScheduleForm(ServiceForm):
    """A schedule. Arguments with secrets are not shown, and stay where nothing is entered."""

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs={"placeholder": "Weekly report"}))
    tool = forms.CharField(
        max_length=140, widget=forms.TextInput(attrs=mono(list="known-tools", placeholder="report"))
    )
    server = forms.CharField(
        max_length=40, initial="default", widget=forms.TextInput(attrs=mono(list="known-servers"))
    )
    arguments = ObjectField(example='{"days": 7}', rows=4, required=False)
    cron = forms.CharField(
        label="When (cron)",
        max_length=120,
        initial="0 6 * * 1",
        help_text="Minute, hour, day of the month, month, day of the week. 0 6 * * 1 is every Monday at 06:00.",
        widget=forms.TextInput(attrs=mono()),
    )
    time_zone = forms.ChoiceField(choices=[], initial="UTC")
    overlap = forms.ChoiceField(label="If the last run has not ended when one is due", choices=_OVERLAP)
    missed = forms.ChoiceField(label="Runs that were due while Marina was down", choices=_MISSED)
    priority = forms.ChoiceField(
        label="Among the team's tasks its own are", choices=PRIORITY_WORDS, initial="normal"
    )
    key = forms.ChoiceField(label="It runs as", required=False, choices=[])

    def __init__(
        self,
        *args: Any,
        found: ScheduleView | None = None,
        keys: Iterable[ApiKey] = (),
        **kwargs: Any,
    ) -> None:
        self._hidden = False
        if found is not None:
            row = found.row
            self._hidden = "[masked]" in str(found.arguments)
            kwargs["initial"] = {
                "name": row.name,
                "tool": row.tool,
                "server": row.server,
                "arguments": {} if self._hidden else found.arguments,
                "cron": row.cron,
                "time_zone": row.zone,
                "overlap": row.overlap,
                "missed": row.missed,
                "priority": found.priority,
                "key": "" if row.credential_id is None else str(row.credential_id),
            }
        super().__init__(*args, **kwargs)
        if self._hidden:
            self.fields["arguments"].help_text = _KEPT
        zone: Any = self.fields["time_zone"]
        zone.choices = [(name, name) for name in zones()]
        named = [(str(key.pk), f"the key {key.name} ({key.public_part})") for key in keys]
        chooser: Any = self.fields["key"]
        chooser.choices = [("", "me, as long as I am a member"), *named]
        if not named:
            del self.fields["key"]

    def given(self) -> dict[str, Any]:
        """What was entered, as the service takes it."""
        data = dict(self.cleaned_data)
        if self._hidden and not data["arguments"]:
            del data["arguments"]
        if "key" in data:
            data["key"] = UUID(data["key"]) if data["key"] else None
        return data
