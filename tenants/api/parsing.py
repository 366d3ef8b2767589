"""Reads JSON request bodies: bounded, and strictly, so that a body has one meaning or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from core.errors import InvalidInput, TooLarge
from core.strictjson import BadJson, read_json


class StrictJsonParser(BaseParser):
    """``application/json`` as ``core.strictjson`` has it: what could be read in two ways is refused."""

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
            return read_json(body)
        except BadJson as fault:
            raise InvalidInput(f"The body is not valid JSON: {fault}.", code="malformed_json") from None
