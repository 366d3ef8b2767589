"""A program that reads one OpenAPI document and ends: text on standard input, what was made of it on standard output.

It runs beside Marina, with bounds on its memory and its processor time and without Marina's environment, so that a
document can keep nobody but itself busy. It opens nothing and connects to nothing.

In: a line of JSON, the address that the document came from; then the document. Out, in lines of JSON: what the document
says of itself, or its ``fault``; then each operation.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson

from core.errors import InvalidInput
from servers.execution.backends.http.openapi.documents import refuse_document
from servers.execution.backends.http.openapi.imports import ImportedDocument, import_document
from servers.execution.backends.http.openapi.needs import SignIn
from servers.execution.backends.http.openapi.operations import Imported
from servers.execution.contract import Offered, Operation

MEMORY_BYTES: Final = 1_536 * 1024 * 1024
PROCESSOR_SECONDS: Final = 30


def write_lines(document: ImportedDocument) -> Iterator[bytes]:
    """A document that was read, as lines of JSON."""
    head = {
        "title": document.title,
        "version": document.version,
        "description": document.description,
        "base_url": document.base_url,
        "sign_ins": [asdict(each) for each in document.sign_ins],
        "digest": document.digest,
    }
    yield orjson.dumps(head)
    for each in document.operations:
        yield orjson.dumps(each, default=dict)


def read_head(head: Mapping[str, Any], operations: Iterable[Imported]) -> ImportedDocument:
    """The document again, of its first line and its operations."""
    sign_ins = [SignIn(**{**each, "scopes": tuple(each["scopes"])}) for each in head["sign_ins"]]
    return ImportedDocument(**{**head, "sign_ins": sign_ins}, operations=list(operations))


def read_operation(line: bytes) -> Imported:
    """An operation again, of its line."""
    given = orjson.loads(line)
    tool = given["tool"]
    if tool is not None:
        tool = Offered(**{**tool, "operation": Operation(**tool["operation"])})
    return Imported(**{**given, "tool": tool, "tags": tuple(given["tags"]), "notes": tuple(given["notes"])})


def _lines(given: bytes) -> Iterable[bytes]:
    address, _, text = given.partition(b"\n")
    try:
        return list(write_lines(import_document(text, fetched_from=orjson.loads(address))))
    except InvalidInput as caught:
        fault = caught
    except (MemoryError, RecursionError):
        fault = refuse_document("The document takes more memory to read than there is for one. Split it.")
    told = {"message": fault.message, "errors": fault.errors, "code": fault.code}
    return [orjson.dumps({"fault": told})]


def main() -> None:
    """Read the document, within bounds."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in _lines(sys.stdin.buffer.read()):
        sys.stdout.buffer.write(line + b"\n")


if __name__ == "__main__":
    main()
