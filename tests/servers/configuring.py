"""A team's configuration as a file, as the tests change it and look at what comes of that."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import InvalidInput
from core.strictyaml import read_yaml
from core.yamltext import write_yaml
from servers.services.configuration.changes import Plan
from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.importing import apply_configuration, plan_configuration
from tenants.access import Caller
from tests.factories import Team


def fields(plan: Plan) -> dict[str, tuple[Any, Any]]:
    """What each change makes of each field: before and after."""
    return {f"{c.name}:{each.path}": (each.before, each.after) for c in plan.changes for each in c.fields}


def faults(text: str, caller: Caller, **more: Any) -> dict[str, str]:
    """What is wrong with a file, by path; a plan and an application say the same."""
    with pytest.raises(InvalidInput) as caught:
        plan_configuration(text, caller=caller, **more)
    with pytest.raises(InvalidInput) as again:
        apply_configuration(text, caller=caller, **more)
    assert again.value.errors == caught.value.errors
    return {each["path"]: each["message"] for each in caught.value.errors}


def edited(team: Team, change: Any) -> str:
    """The team's file with a change made to what it says."""
    value = read_yaml(export_configuration(caller=team.owner)).value
    change(value)
    return write_yaml(value)
