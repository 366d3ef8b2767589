"""Documents for the tests: one in the shape that FastAPI gives, and the pieces to make others of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.execution.backends.http.openapi.documents import read_document
from servers.execution.backends.http.openapi.operations import Imported, read_operations


def document(version: str = "3.1.0", **parts: Any) -> dict[str, Any]:
    return {"openapi": version, "info": {"title": "Shop", "version": "1"}, "paths": {}, **parts}


def operations(given: Mapping[str, Any]) -> dict[str, Imported]:
    """The operations of a document by the names of their tools."""
    return {each.name: each for each in read_operations(read_document(given))}


def only(given: Mapping[str, Any]) -> Imported:
    (operation,) = read_operations(read_document(given))
    return operation


def taking(schema: Any, version: str = "3.1.0", **schemas: Any) -> Imported:
    """The one operation of a document whose JSON body has this schema."""
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    paths = {"/a": {"post": {"operationId": "a", "requestBody": body, "responses": {}}}}
    return only(document(version, paths=paths, components={"schemas": schemas}))


def answering(schema: Any, version: str = "3.1.0", **schemas: Any) -> Imported:
    """The one operation of a document that answers JSON of this schema."""
    answer = {"200": {"description": "", "content": {"application/json": {"schema": schema}}}}
    paths = {"/a": {"get": {"operationId": "a", "responses": answer}}}
    return only(document(version, paths=paths, components={"schemas": schemas}))


def schema_of(imported: Imported) -> dict[str, Any]:
    """The input schema of an operation that is a tool."""
    assert imported.tool is not None, imported.problem
    return dict(imported.tool.input_schema)


def answer_of(imported: Imported) -> dict[str, Any]:
    assert imported.tool is not None, imported.problem
    assert imported.tool.output_schema is not None, imported.notes
    return dict(imported.tool.output_schema)


FASTAPI_LIKE: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Orders", "version": "0.1.0"},
    "servers": [{"url": "https://orders.example.com/api"}],
    "paths": {
        "/items/{item_id}": {
            "get": {
                "tags": ["items"],
                "summary": "Read Item",
                "operationId": "read_item_items__item_id__get",
                "parameters": [
                    {
                        "name": "item_id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "integer", "title": "Item Id"},
                    },
                    {
                        "name": "q",
                        "in": "query",
                        "required": False,
                        "schema": {
                            "anyOf": [{"type": "string", "maxLength": 50}, {"type": "null"}],
                            "title": "Q",
                        },
                    },
                    {
                        "name": "x-token",
                        "in": "header",
                        "required": True,
                        "schema": {"type": "string", "title": "X-Token"},
                    },
                ],
                "responses": {
                    "200": {
                        "description": "Successful Response",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}},
                    },
                    "422": {
                        "description": "Validation Error",
                        "content": {
                            "application/json": {
                                "schema": {"$ref": "#/components/schemas/HTTPValidationError"}
                            }
                        },
                    },
                },
            },
            "put": {
                "tags": ["items"],
                "summary": "Update Item",
                "description": "Replaces all of it.",
                "operationId": "update_item_items__item_id__put",
                "deprecated": True,
                "security": [{"OAuth2PasswordBearer": []}],
                "parameters": [
                    {
                        "name": "item_id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "integer", "title": "Item Id"},
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}},
                },
                "responses": {"204": {"description": "Successful Response"}},
            },
        },
        "/files": {
            "post": {
                "summary": "Upload",
                "operationId": "upload_files_post",
                "requestBody": {
                    "required": True,
                    "content": {
                        "multipart/form-data": {
                            "schema": {"$ref": "#/components/schemas/Body_upload_files_post"}
                        }
                    },
                },
                "responses": {"200": {"description": "", "content": {"application/json": {"schema": {}}}}},
            }
        },
        "/token": {
            "post": {
                "summary": "Login",
                "operationId": "login_token_post",
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {
                                "type": "object",
                                "required": ["username", "password"],
                                "properties": {
                                    "username": {"type": "string"},
                                    "password": {"type": "string", "format": "password"},
                                },
                            }
                        }
                    },
                    "required": True,
                },
                "responses": {
                    "200": {
                        "description": "",
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}}
                            }
                        },
                    }
                },
            }
        },
    },
    "components": {
        "schemas": {
            "Body_upload_files_post": {
                "type": "object",
                "required": ["file"],
                "title": "Body_upload_files_post",
                "properties": {
                    "file": {"type": "string", "format": "binary", "title": "File"},
                    "more": {
                        "type": "array",
                        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                    },
                    "note": {"type": "string"},
                },
            },
            "Item": {
                "type": "object",
                "required": ["id", "name", "price"],
                "title": "Item",
                "properties": {
                    "id": {"type": "integer", "readOnly": True},
                    "name": {"type": "string", "minLength": 1},
                    "secret": {"type": "string", "writeOnly": True},
                    "price": {"type": "number", "exclusiveMinimum": 0},
                    "tags": {
                        "type": "array",
                        "items": {"type": "string"},
                        "uniqueItems": True,
                        "default": [],
                    },
                    "parent": {"anyOf": [{"$ref": "#/components/schemas/Item"}, {"type": "null"}]},
                },
            },
            "HTTPValidationError": {
                "type": "object",
                "properties": {"detail": {"type": "array", "items": {}}},
            },
        },
        "securitySchemes": {
            "OAuth2PasswordBearer": {
                "type": "oauth2",
                "flows": {"password": {"scopes": {}, "tokenUrl": "token"}},
            }
        },
    },
}
