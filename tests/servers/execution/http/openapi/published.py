"""Documents of real APIs, as they were published: of npm packages, FastAPI's and Marina's own."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from servers.execution.backends.http.openapi.imports import ImportedDocument, import_document
from tests.servers.execution.http.openapi.boatyard import make_boatyard

PACKAGES = Path(__file__).resolve().parents[4] / "documents" / "node_modules"
DOCUMENTS = {
    "github": "@octokit/openapi/generated/api.github.com.json",
    "figma": "@figma/rest-api-spec/openapi/openapi.yaml",
    "directus": "@directus/specs/dist/openapi.json",
}


@cache
def imported(name: str) -> ImportedDocument:
    if name == "marina":
        generator: Any = SchemaGenerator
        schema = generator().get_schema(request=None, public=True)
        return import_document(
            json.dumps(schema, default=str), fetched_from="https://marina.example/api/v1/schema"
        )
    if name == "fastapi":
        return import_document(
            json.dumps(make_boatyard().openapi()), fetched_from="https://yard.example/openapi.json"
        )
    path = PACKAGES / DOCUMENTS[name]
    assert path.exists(), "The documents are not installed: make tests/documents/node_modules/.installed"
    return import_document(path.read_bytes())
