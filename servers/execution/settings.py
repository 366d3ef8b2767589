"""Reads single settings by the rule that a kind's schema has for them, with a fault a path. Knows no kind, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.execution.parameters import Faults


def read_number(settings: Mapping[str, Any], name: str, rule: Mapping[str, Any], faults: Faults) -> float:
    """A number between its rule's ``minimum`` and ``maximum``; its ``default`` where none is given, or a wrong one."""
    value = settings.get(name)
    if value is None:
        value = rule["default"]
    whole = rule["type"] == "integer"
    if (
        isinstance(value, bool)
        or not isinstance(value, int if whole else int | float)
        or not rule["minimum"] <= value <= rule["maximum"]
    ):
        article = "a whole number" if whole else "a number"
        message = f"Give {article} from {rule['minimum']} to {rule['maximum']}."
        faults.append({"path": name, "message": message})
        return float(rule["default"])
    return value


def read_text(
    settings: Mapping[str, Any], name: str, rule: Mapping[str, Any], faults: Faults, *, secret: bool = False
) -> str:
    """A text within its rule's ``maxLength``, without spaces around it unless it is ``secret``; empty where none is
    given, or a wrong one.
    """
    value = settings.get(name)
    if value is None:
        return ""
    most = rule["maxLength"]
    if not isinstance(value, str) or len(value) > most:
        faults.append({"path": name, "message": f"Give a text of at most {most} characters."})
        return ""
    return value if secret else value.strip()


def read_flag(settings: Mapping[str, Any], name: str, faults: Faults) -> bool:
    """Whether a setting is true; one that is not given is not."""
    value = settings.get(name)
    if value is not None and not isinstance(value, bool):
        faults.append({"path": name, "message": "Give true or false."})
    return value is True
