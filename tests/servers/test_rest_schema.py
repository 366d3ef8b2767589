"""The OpenAPI description is complete: it says what every route takes and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator

from tests.rest import Rest


def test_the_schema_is_valid_and_generates_without_a_warning(tmp_path: Path) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


def test_every_operation_documents_problems() -> None:
    generator: Any = SchemaGenerator
    schema = generator().get_schema(request=None, public=True)
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"]
            assert "application/problem+json" in answers["401"]["content"], (method, path)
            assert operation["description"], (method, path)


def test_anybody_reads_the_schema() -> None:
    response = Rest().client.get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.status_code == 200
