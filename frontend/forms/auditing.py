"""Forms of the auditors' area: why to reveal, what to confirm, how much of results to keep."""

from __future__ import annotations

from django import forms

from frontend.forms.base import ObjectField, ServiceForm
from tenants.models import MAX_PREVIEW
from tenants.services.log import MAX_REASON


class RevealForm(ServiceForm):
    """Why somebody wants to see what a call was given and gave."""

    reason = forms.CharField(label="Reason", max_length=MAX_REASON)


class ConfirmForm(ServiceForm):
    """Arguments that somebody says a call was given."""

    arguments = ObjectField(
        label="Arguments as you were told them",
        help_text="All of them, as JSON, with what the record masks. They are compared and not kept.",
        example='{"iata": "FRA"}',
        rows=4,
    )


class KeepingForm(ServiceForm):
    """How much of a result's beginning the log keeps."""

    preview_characters = forms.IntegerField(
        label="Characters of each result",
        min_value=0,
        max_value=MAX_PREVIEW,
        help_text=f"From 0, which keeps nothing, to {MAX_PREVIEW:,}. Records that are there stay as they are.",
    )
