"""The form for where a tool's calls run."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from frontend.forms.base import ServiceForm
from servers.models import MAX_DEADLINE, Tool
from servers.services.tasks.plans import INLINE_SECONDS
from servers.services.tool_running import ToolRunning

_WORDS: Final = (
    (Tool.Runs.AUTOMATIC.value, "Automatic: at a worker where it takes long"),
    (Tool.Runs.INLINE.value, "Within the request"),
    (Tool.Runs.WORKER.value, "At a worker, as a task"),
)

PRIORITY_WORDS: Final = (("low", "less urgent"), ("normal", "as urgent as most"), ("high", "more urgent"))


class RunningForm(ServiceForm):
    """Within the request or at a worker, and how long a run may take."""

    runs = forms.ChoiceField(label="Calls run", choices=_WORDS)
    deadline = forms.IntegerField(
        label="A run may take so many seconds",
        min_value=1,
        max_value=MAX_DEADLINE,
        required=False,
        help_text=f"Empty: no deadline of its own. Automatic, over {INLINE_SECONDS:g} seconds is at a worker.",
    )

    priority = forms.ChoiceField(
        label="Among the team's tasks its own are",
        choices=PRIORITY_WORDS,
        required=False,
        help_text="Of those that wait for a worker. No team comes before another one by it.",
    )

    def __init__(self, *args: Any, running: ToolRunning, **kwargs: Any) -> None:
        initial = {"runs": running.runs, "deadline": running.deadline, "priority": running.priority}
        super().__init__(*args, initial=initial, **kwargs)
