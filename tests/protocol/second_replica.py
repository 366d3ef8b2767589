"""Marina's application with the tests' own kinds of data sources, for a second web process beside the tests' own."""

from __future__ import annotations

from django.conf import settings

from config.asgi import application
from core.outbound import AddressRule
from servers.execution.backends import build_backends
from servers.execution.engine import Engine
from servers.services.runtime import get_runtime
from tests.protocol import probe, talker

__all__ = ["application"]

get_runtime().engine = Engine(
    backends={
        **build_backends(allow_address=AddressRule(settings.ENV.outbound_allow).allows),
        probe.KIND: probe.ProbeBackend(),
        talker.KIND: talker.TalkerBackend(),
    }
)
