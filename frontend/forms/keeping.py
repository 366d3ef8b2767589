"""Forms about how long the log is kept: the policy, and a legal hold."""

from __future__ import annotations

from django import forms

from frontend.forms.base import ServiceForm, mono
from tenants.models_retention import MAX_DAYS, MIN_DAYS


class RetentionForm(ServiceForm):
    """How many days records are kept; empty: for ever."""

    days = forms.IntegerField(
        label="Keep records for so many days",
        required=False,
        min_value=MIN_DAYS,
        max_value=MAX_DAYS,
        help_text=f"{MIN_DAYS} at least. Empty: for ever.",
        widget=forms.NumberInput(attrs=mono()),
    )


class HoldForm(ServiceForm):
    """A legal hold: why, and of what time. Times are UTC."""

    field_of_path = {"from": "from_at", "to": "to_at"}

    reason = forms.CharField(
        max_length=500, widget=forms.TextInput(attrs={"placeholder": "Case, matter, or who asked for it"})
    )
    from_at = forms.DateTimeField(
        label="Records from (UTC)",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    to_at = forms.DateTimeField(
        label="Until (UTC)",
        required=False,
        help_text="Both empty: the whole log, and whatever comes.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
