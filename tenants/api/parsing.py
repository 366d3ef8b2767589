"""Reads JSON request bodies strictly: bounded, no doubled keys, no NaN, no depth that ends a process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.parsers import BaseParser

from core.errors import InvalidInput, TooLarge


class StrictJsonParser(BaseParser):
    """``application/json`` as RFC 8259 has it, where a doubled key is refused rather than guessed about."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Raises ``TooLarge`` and ``InvalidInput`` (which says where)."""
        largest: int = settings.ENV.max_body_bytes
        body = stream.read(largest + 1)
        if len(body) > largest:
            raise TooLarge(f"The body is over {largest} bytes. Send less at once.")
        try:
            return json.loads(body, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise InvalidInput(
                f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
                code="malformed_json",
            ) from None
        except UnicodeDecodeError:
            raise InvalidInput("The body is not UTF-8. Encode it so.", code="malformed_json") from None
        except RecursionError:
            raise InvalidInput("The body nests too deeply.", code="malformed_json") from None
        except ValueError:  # a whole number of thousands of digits
            raise InvalidInput("The body holds a number that is too long.", code="malformed_json") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(
            f"The body has the key {doubled[:80]!r} twice in one object.", code="malformed_json"
        )
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidInput(f"The body holds {constant}, which is not JSON.", code="malformed_json")
