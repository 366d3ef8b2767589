"""A data source's settings: sealed to be stored, and opened for execution. In memory only: never logs or sends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from core.crypto import Sealer
from servers.execution.contract import Source
from servers.models import DataSource


def seal_settings(row: DataSource, settings: Mapping[str, Any], sealer: Sealer) -> bytes:
    """The whole settings, secrets included, as they are stored."""
    return sealer.seal(orjson.dumps(dict(settings)), context=row.seal_context)


def open_source(row: DataSource, sealer: Sealer) -> Source:
    """A stored source as execution sees it. Raises ``SealError`` where its settings do not open."""
    return Source(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        kind=row.kind,
        version=row.version,
        settings=orjson.loads(sealer.open(bytes(row.sealed), context=row.seal_context)),
    )
