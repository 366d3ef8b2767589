"""Compiles JSON Schemas. Fetches no remote one.

The dialect is JSON Schema 2020-12 unless ``$schema`` names another. Patterns run on a linear-time engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs

from core.errors import InvalidInput

HIDDEN: Final = "the value"
"""Stands in messages for what the caller sent: a message goes into the log, and the value may be secret."""


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """A validator for arguments or results. Raises ``InvalidInput`` when this is no valid schema."""
    try:
        return jsonschema_rs.validator_for(
            dict(schema), pattern_options=jsonschema_rs.RegexOptions(), mask=HIDDEN, offline=True
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as fault:
        raise InvalidInput(
            "The schema is not valid JSON Schema 2020-12.",
            errors=[{"path": "$", "message": str(fault).partition("\n")[0][:300]}],
            code="schema_invalid",
        ) from fault
