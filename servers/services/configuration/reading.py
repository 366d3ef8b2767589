"""Reads a configuration file, and says of each fault where in it that is. Knows nothing of what a team has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import jsonschema_rs

from core.errors import InvalidInput
from core.strictjson import BadJson, read_json
from core.strictyaml import BadYaml, Place, YamlText, read_yaml
from servers.execution.schemas import compile_schema, faults_of
from servers.services.configuration.form import MAX_BYTES, SCHEMA, SECTIONS, VERSION, Section
from servers.services.schemas import describe_fault

MAX_FAULTS: Final = 50
"""Faults that one answer names."""

_SLASHES: Final = re.compile(rb"(?m)(?:^|\s)//")
_INDEX: Final = re.compile(r"\[([0-9]{1,9})\]")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong. ``rest`` is what the one who found it calls the place below ``steps``: dotted."""

    steps: tuple[str | int, ...]
    message: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read and has the form of one."""

    value: Mapping[str, Any]
    place: Place = field(repr=False)

    def section(self, name: Section) -> Mapping[str, Mapping[str, Any]] | None:
        """The entries of a section; ``None`` where the file has none, and so says nothing of it."""
        return self.value.get(name)

    def entries(self, name: Section) -> Mapping[str, Mapping[str, Any]]:
        """The entries of a section, however many."""
        return self.section(name) or {}

    def refusal(self, faults: Sequence[Fault]) -> InvalidInput:
        """The error that names each fault with its path and line."""
        return _refusal([self._placed(fault) for fault in faults[:MAX_FAULTS]], len(faults))

    def _placed(self, fault: Fault) -> dict[str, str]:
        value: Any = self.value
        for step in fault.steps:
            value = _below(value, step)
        steps = [*fault.steps, *_steps_of(value, fault.rest)]
        path = ".".join(map(str, [*fault.steps, *([fault.rest] if fault.rest else [])]))
        return {"path": path, "message": f"Line {self.place.line_of(steps)}: {fault.message}"}


def read_text(text: str | bytes) -> YamlText:
    """What a text says, YAML or JSON, whatever it is. Raises ``InvalidInput``."""
    whole = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(whole) > MAX_BYTES:
        message = f"The file has {len(whole)} bytes; at most {MAX_BYTES} are read."
        raise _refusal([{"path": "", "message": message}])
    try:
        return read_yaml(whole)
    except BadYaml as fault:
        # JSON has escapes that YAML has not; who writes it that way gets no lines.
        if whole.lstrip()[:1] == b"{":
            with suppress(BadJson):
                return YamlText(read_json(whole), Place(1))
        where = f"Line {fault.line}: " if fault.line else ""
        hint = " Comments that begin with // are not read: take them out." if _SLASHES.search(whole) else ""
        raise _refusal([{"path": "", "message": f"{where}{fault}.{hint}"}]) from None


def check_form(found: YamlText) -> File:
    """What was read as a file. Raises ``InvalidInput`` where it has not the form of one."""
    value = found.value
    if not isinstance(value, dict) or "marina" not in value:
        message = f"Line 1: this is no configuration: it begins with marina: {VERSION}."
        raise _refusal([{"path": "marina", "message": message}])
    if value["marina"] != VERSION or isinstance(value["marina"], bool):
        message = f"Line {found.place.line_of(['marina'])}: this Marina reads version {VERSION}."
        raise _refusal([{"path": "marina", "message": message}])
    # A section without entries reads as nothing at all.
    value = {name: {} if each is None and name in SECTIONS else each for name, each in value.items()}
    file = File(value, found.place)
    if _validator().is_valid(value):
        return file
    faults = [
        Fault(tuple(steps), f"{message}.")
        for error in faults_of(_validator(), value)
        for steps, message in describe_fault(error, "is not known here")
    ]
    raise file.refusal(faults or [Fault((), "It is too large to say where it is wrong. Give it in parts.")])


@cache
def _validator() -> jsonschema_rs.Validator:
    return compile_schema(SCHEMA)


def _refusal(errors: list[dict[str, str]], count: int = 1) -> InvalidInput:
    first = errors[0]
    what = f"{first['path']}: {first['message']}" if first["path"] else first["message"]
    more = f" There are {count - 1} more faults." if count > 1 else ""
    return InvalidInput(f"{what}{more} Nothing was changed.", errors=errors, code="configuration_invalid")


def _steps_of(value: Any, rest: str) -> list[str | int]:
    """The steps that a dotted path means in this value, as far as it goes. Names may hold dots themselves."""
    steps: list[str | int] = []
    rest = _INDEX.sub(r".\1", rest).strip(".")
    while rest:
        step: str | int | None
        if isinstance(value, dict):
            named = [name for name in value if rest == name or rest.startswith(f"{name}.")]
            step = max(named, key=len, default=None)
        else:
            index = rest.partition(".")[0]
            step = (
                int(index)
                if isinstance(value, list) and index.isdecimal() and int(index) < len(value)
                else None
            )
        if step is None:
            break
        steps.append(step)
        rest = rest[len(str(step)) :].lstrip(".")
        value = value[step]
    return steps


def _below(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None
