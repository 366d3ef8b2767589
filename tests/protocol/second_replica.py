"""Marina's application with the tests' own kinds of data sources, for a second web process beside the tests' own."""

from __future__ import annotations

from config.asgi import application
from tests.plainkind import add_kinds
from tests.protocol.lasting import LastingBackend
from tests.protocol.probe import ProbeBackend
from tests.protocol.talker import TalkerBackend
from tests.protocol.tally import TallyBackend

__all__ = ["application"]

add_kinds(ProbeBackend(), TalkerBackend(), TallyBackend(), LastingBackend())
