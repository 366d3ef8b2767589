"""The validators of tools: compiled when a tool is first called, kept within a bound of memory. Judges no arguments.

They take twice the memory of all else that a snapshot holds, and of a large server most tools are never called.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from typing import Final

import orjson
from jsonschema_rs import Validator

from core.errors import InvalidInput, SourceError
from servers.execution.schemas import compile_schema
from servers.services.surfaces import SurfaceTool

MAX_BYTES: Final = 64 * 1024 * 1024
"""Memory that all validators of a process may take together, roughly; those compiled first make room."""

_FACTOR: Final = 16
"""Bytes of memory for each byte of a schema as JSON. Measured: 13."""
_LEAST_BYTES: Final = 4_096

_FAULT: Final = "A schema of the tool is not valid. Ask an editor of the team to change the tool."

logger = logging.getLogger(__name__)


class Validators:
    """What was compiled, oldest first, and the bytes that it takes."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: deque[tuple[weakref.ref[SurfaceTool], int]] = deque()

    def compile(self, tool: SurfaceTool) -> Validator:
        """Compile the tool's schemas and keep what comes of it with the tool. Raises ``SourceError``."""
        try:
            output = None if tool.output_schema is None else compile_schema(tool.output_schema)
            validator = compile_schema(tool.input_schema)
        except InvalidInput as fault:
            logger.warning("a stored schema does not compile", extra={"tool": tool.name, "fault": fault.code})
            raise SourceError(_FAULT, code="tool_unusable") from None
        # A snapshot says what is offered, which stays as it is: this only spares its next call the same work.
        object.__setattr__(tool, "validator", validator)
        object.__setattr__(tool, "output_validator", output)
        size = _LEAST_BYTES + _FACTOR * len(orjson.dumps((tool.input_schema, tool.output_schema)))
        self._kept.append((weakref.ref(tool), size))
        self._bytes += size
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            oldest, freed = self._kept.popleft()
            self._bytes -= freed
            forgotten = oldest()
            if forgotten is not None:
                object.__setattr__(forgotten, "validator", None)
                object.__setattr__(forgotten, "output_validator", None)
        return validator


VALIDATORS: Final = Validators()
"""Those of this process."""


def find_fault(tool: SurfaceTool) -> str:
    """Why no call of the tool can run, in a sentence; empty where nothing is known to be wrong. Keeps nothing."""
    if tool.fault or tool.validator is not None:
        return tool.fault
    try:
        compile_schema(tool.input_schema)
        if tool.output_schema is not None:
            compile_schema(tool.output_schema)
    except InvalidInput:
        return _FAULT
    return ""
