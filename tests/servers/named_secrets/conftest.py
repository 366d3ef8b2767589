"""A team, its REST, an API that knows two tokens, a store that speaks as Vault does, and where secrets lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings

from config.envparts import SecretPlaces
from tests.farside import Asked, FarSide, Send, far_side, reply
from tests.plugins.vault import VaultServer, running_vault
from tests.servers.named_secrets.desk import OTHER, VALUE


@pytest.fixture
def api() -> Iterator[FarSide]:
    """An API that says whose token it was shown, without saying it."""

    def answer(asked: Asked, send: Send) -> None:
        told = {f"Bearer {VALUE}": b"first", f"Bearer {OTHER}": b"second"}
        send(reply(told.get(asked.headers.get("authorization", ""), b"nobody")))

    with far_side() as side:
        side.serve("/who", answer)
        side.serve("/", reply(b"ok"))
        yield side


@pytest.fixture
def vault() -> Iterator[VaultServer]:
    with running_vault() as server:
        yield server


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets where secrets may come from."""

    def put(**changes: Any) -> None:
        secrets = replace(SecretPlaces(), **changes)
        monkeypatch.setattr(settings, "ENV", replace(settings.ENV, secrets=secrets))

    return put
