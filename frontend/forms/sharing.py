"""The form for how a tool's calls share results: of what can be set for this tool, and no more."""

from __future__ import annotations

from typing import Any

from django import forms

from frontend.forms.base import ServiceForm
from servers.models import MAX_CACHE_SECONDS
from servers.services.caching import Caching


class SharingForm(ServiceForm):
    """For how long results are kept, and whether the same call, made several times at once, runs once."""

    seconds = forms.IntegerField(
        label="Keep results for so many seconds",
        min_value=0,
        max_value=MAX_CACHE_SECONDS,
        help_text=f"0 keeps none. A day ({MAX_CACHE_SECONDS}) is the most. A shorter time clears what is kept.",
    )
    collapses = forms.BooleanField(
        label="Run the same call once when it is made several times at once",
        required=False,
        help_text="All who make it get that run's result.",
    )

    def __init__(self, *args: Any, caching: Caching, **kwargs: Any) -> None:
        initial = {"seconds": caching.seconds, "collapses": caching.collapses}
        super().__init__(*args, initial=initial, **kwargs)
        if caching.why_not_collapsed:
            del self.fields["collapses"]
