"""Annotations as JSON Schema 2020-12, and pydantic's faults in words, alike for arguments, settings and forms."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

MAX_FAULTS: Final = 10
"""Faults named at once. More would not help whoever mends them one by one."""


class SchemaWriter(GenerateJsonSchema):
    """Without the titles that pydantic makes of names: they tell a model nothing that the name does not."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def faults_of(error: ValidationError) -> list[tuple[str, str]]:
    """Path and message of each fault, without the values: those may be secret, and messages go into logs."""
    listed = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]
    return [(".".join(str(step) for step in each["loc"]), each["msg"]) for each in listed]
