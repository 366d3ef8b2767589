"""Marina's own ASGI application with the bench's kind of data source added to it. Changes nothing else."""

from __future__ import annotations

from config.asgi import application
from tests.bench.echo_kind import add_echo_kind
from tests.bench.long_kind import add_long_kind

__all__ = ["application"]

add_echo_kind()
add_long_kind()
